package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// twoGates is a site with two different gates. They share scopes and paths, but require
// different scopes for the same path. Only the first gate has a route table.
var twoGates = strings.Replace(plainSite, "routes {$ROUTES:mollymawk}", `routes {$ROUTES:mollymawk}
			route GET /custom/*/report custom:read
			failure_limit off`, 1) + `
http://second.test:{$HTTP} {
	bearer_auth {
		route GET  /api/unikernels                   custom:read
		route POST /api/unikernels                   unikernel:list
		route GET  /api/unikernel/monitoring/status  monitoring:read
		route POST /api/unikernel/monitoring/restart monitoring:restart
		route POST /api/block/delete                 block:delete
		route GET  /api/nothing                      custom:read
		failure_limit off
	}
	reverse_proxy {$BACKEND} {
		transport http {
			keepalive off
		}
	}
}
`

// TestExplainIsTrue sends thousands of random requests through two gates and compares the
// outcome of each with its explanation.
func TestExplainIsTrue(t *testing.T) {
	t.Parallel()
	s := startSite(t, twoGates, mollymawktest.Options{})
	gates := map[string]string{"127.0.0.1": "127.0.0.1", "second.test": "second.test"} // keyed by host
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	tokens := map[string]string{
		"all":        s.token("--scope", "*"),
		"list":       s.token("--scope", "unikernel:list", "--scope", "block:delete"),
		"monitoring": s.token("--scope", "monitoring:*"),
		"full":       s.token("--preset", "full"),
		"custom":     s.token("--scope", "custom:*"),
		"elsewhere":  s.token("--scope", "*", "--allowed-ip", "203.0.113.0/24"),
		"here":       s.token("--scope", "unikernel:list", "--allowed-ip", "127.0.0.0/8"),
		"limited":    s.token("--scope", "*", "--rate-limit", "10/1h", "--quota", "1000/day"),
		"used up":    s.token("--scope", "*", "--quota", "5/month"),
		"later":      s.token("--scope", "*", "--not-before", tomorrow),
		"admin":      s.token("--kind", "admin"),
		"other site": "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D",
		"cut":        "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7",
		"garbage":    "x",
	}
	names := []string{"all", "full", "monitoring", "list", "custom", "elsewhere", "here", "limited", "used up", "later",
		"admin", "other site", "cut", "garbage"}
	methods := []string{"GET", "GET", "GET", "POST", "DELETE", "PUT", "OPTIONS", "TRACE", "get"}
	targets := []string{
		"/api/unikernels", "/api/unikernels?instance=default", "/api/block/delete", "/custom/a/report",
		"/custom//report", "/custom/a/b/report",
		"/api/unikernel/monitoring/status", "/api/unikernel/monitoring/restart",
		"/api/unikernel/destroy", "/api/nothing", "/", "//api/unikernels", "/api/./unikernels", "/api/unikernels/",
		"/api/%75nikernels", "/api/unikernels;x",
		"/api/unikernels?t=" + tokens["list"], "/custom/%c3%a9/report", "/custom/%C3%A9/report",
	}
	random := rand.New(rand.NewPCG(3, 4))
	outcomes := make(map[string]int)
	differed := 0
	for range 3_000 {
		name := names[random.IntN(len(names))]
		method, target := methods[random.IntN(len(methods))], targets[random.IntN(len(targets))]
		host := []string{"127.0.0.1", "second.test"}[random.IntN(2)]
		question := map[string]string{"token": tokens[name], "method": method, "path": target, "ip": "127.0.0.1"}
		anywhere := s.explain(question)
		question["gate"] = gates[host]
		explained := s.explain(question)
		status, code := s.ask(host, method, target, tokens[name])
		if explained.Gate != gates[host] || explained.Code != code || (code != "ok" && explained.Status != status) {
			t.Fatalf("%s %s at %s with %q: the explanation is %d %s at %q, but the response was %d %s",
				method, target, host, name, explained.Status, explained.Code, explained.Gate, status, code)
		}
		outcomes[code]++

		// If the question doesn't name a gate, the explanation covers every gate whose route
		// is an equally good match but whose decision differs.
		for _, one := range append(anywhere.OtherGates, anywhere.atGate) {
			if one.Gate == gates[host] && one.Code != code {
				t.Fatalf("%s %s at %s with %q: the explanation is %s among other gates, but the response was %s",
					method, target, host, name, one.Code, code)
			}
		}
		if len(anywhere.OtherGates) > 0 {
			differed++
		}
	}
	if differed == 0 {
		t.Error("the two gates never decided differently")
	}
	for _, code := range []string{
		"ok", "insufficient_scope", "ip_denied", "not_yet_valid", "wrong_kind", "unknown_token", "malformed_token",
		"route_not_allowed", "method_not_allowed", "invalid_path", "token_in_url",
		"rate_limited", "quota_exceeded",
	} {
		if outcomes[code] == 0 {
			t.Errorf("no request had outcome %q: %v", code, outcomes)
		}
	}
	t.Logf("got outcomes %v", outcomes)

	// Explanations must not change counts.
	allowed, denied := s.usage(tokens["list"])
	for range 50 {
		s.explain(map[string]string{"token": tokens["list"], "method": "GET", "path": "/api/unikernels"})
		s.explain(map[string]string{"token": tokens["list"], "method": "POST", "path": "/api/unikernel/create"})
	}
	if a, d := s.usage(tokens["list"]); a != allowed || d != denied {
		t.Errorf("usage was %d allowed and %d denied, is now %d and %d", allowed, denied, a, d)
	}
	s.checkLogs(tokens["all"], tokens["list"], tokens["admin"])
}

// ask sends a request unchanged and returns the gate's error code, or "ok" if the gate allowed
// the request.
func (s *site) ask(host, method, target, token string) (status int, code string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.env["HTTP"])
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn,
		"%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}",
		method, target, host, token); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.Header.Get("Content-Type") == "application/problem+json" {
		code, _ = problem(s.t, string(body))["code"].(string)
	}
	switch code {
	case "", "backend_redirect", "backend_error": // forwarded to the backend
		return response.StatusCode, "ok"
	}
	return response.StatusCode, code
}

type explained struct {
	atGate
	OtherGates []atGate `json:"other_gates"`
}

// atGate is the outcome of a request at a single gate.
type atGate struct {
	Gate    string
	Allowed bool
	Status  int
	Code    string
}

// explain asks the admin API to explain a request.
func (s *site) explain(question map[string]string) (e explained) {
	s.t.Helper()
	text, err := json.Marshal(question)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := s.admin().Post("http://caddy/api_tokens/v1/explain", "application/json", bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&e); err != nil || response.StatusCode != http.StatusOK ||
		e.Allowed != (e.Code == "ok") {
		s.t.Fatalf("%d, %v, %+v", response.StatusCode, err, e)
	}
	return e
}
