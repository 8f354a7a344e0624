package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// problem decodes the body of an application/problem+json response.
func problem(t *testing.T, body string) map[string]any {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return members
}

// expectProblem makes a call and checks the refusal's status and code.
func (s *site) expectProblem(t *testing.T, token, path string, status int, code string, args ...string) (http.Header,
	map[string]any) {
	t.Helper()
	got, header, body := curl(t, append(append(bearer(token), args...), s.url(path))...)
	members := problem(t, body)
	if got != status || members["code"] != code {
		t.Errorf("%s: got %d %v, want %d %s", path, got, members["code"], status, code)
	}
	checkNoSecret(t, "the response", fmt.Sprint(header)+body, s.upstream)
	return header, members
}

// TestBackendResponses checks how the gate replaces certain backend responses. Each of these
// requests counts as allowed.
func TestBackendResponses(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tanswer_timeout 300ms", 1), mollymawktest.Options{})
	token := s.token("--preset", "full")

	header, _ := s.expectProblem(t, token, "/api/unikernel/restart", 400, "backend_redirect", "-d", "{}")
	if header.Get("Location") != "" || header.Get("Set-Cookie") != "" {
		t.Errorf("the client got the redirect's headers: %v", header)
	}
	// The refusals contain Mollymawk's own messages, taken from pages, fragments and JSON, and
	// have the matching status.
	for _, said := range []struct {
		path, body, detail, backendCode string
		status                          int
	}{
		{"/api/unikernel/restart?instance=default", "{}", "Couldn't find unikernel in query params",
			"missing_parameter", 400},
		{"/api/unikernel/restart?instance=nowhere&unikernel=x", "{}",
			"Couldn't find albatross instance with name: nowhere", "not_found", 404},
		{"/api/unikernel/restart?instance=default&unikernel=x", "{}", "failure: destroy: not found", "not_found", 404},
		{"/api/unikernel/destroy", `{"name":"x","albatross_instance":"default"}`, "failure: destroy: not found",
			"not_found", 404},
		{"/api/unikernel/destroy", `{"name":"x","albatross_instance":"away"}`, "Error finding albatross instance: away",
			"not_found", 404},
	} {
		_, members := s.expectProblem(t, token, said.path, said.status, "backend_error", "-d", said.body)
		if members["detail"] != said.detail || members["data"] != said.detail ||
			members["backend_code"] != said.backendCode {
			t.Errorf("%s: %v", said.path, members)
		}
	}
	_, members := s.expectProblem(t, token, "/api/unikernel/scaling/update?instance=default&unikernel=x", 400,
		"backend_error", "-F", "should_scale=on")
	if _, known := members["backend_code"]; known || members["detail"] != "Missing max number of clones to spawn." {
		t.Errorf("scaling: got refusal %v", members)
	}
	status, _, body := curl(t, append(bearer(token), "-d", "{}", s.url("/api/unikernel/destroy"))...)
	if status != 400 || !strings.Contains(body, "Couldn't find unikernel name in json") {
		t.Errorf("the backend's own error arrived with status %d: %s", status, body)
	}

	s.backend.SetFaults(mollymawktest.Faults{Silent: []string{"/api/unikernel/destroy"}})
	header, _ = s.expectProblem(t, token, "/api/unikernel/destroy", 504, "backend_timeout", "-d", "{}")
	if header.Get("Api-Key-Expires") == "" {
		t.Error("the response lacks Api-Key-Expires")
	}
	checkBackend := func(want string) {
		t.Helper()
		if health := s.getAdmin("/api_tokens/v1/healthz"); !strings.Contains(health, `"backend":{"status":"`+want+`"`) {
			t.Errorf("got health %s, want the backend's status %s", health, want)
		}
	}
	checkBackend("warning")
	// The connection must still work and the counts must be right.
	s.expect(token, http.StatusOK)
	checkBackend("ok")
	if allowed, denied := s.usage(token); allowed != 10 || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied, want 10 and 0", allowed, denied)
	}

	s.backend.Close()
	s.expectProblem(t, token, "/api/unikernels", 502, "backend_unreachable")
	checkBackend("warning")
	if allowed, _ := s.usage(token); allowed != 11 {
		t.Errorf("the server counted %d, want 11: an allowed request counts even if the backend is down", allowed)
	}
	s.checkLogs(token)
}

// TestUpstreamCredential makes the backend refuse the account's upstream token in every
// possible way.
func TestUpstreamCredential(t *testing.T) {
	t.Parallel()
	withFile := strings.Replace(plainSite, "{env.UPSTREAM}", "{file.{$DIR}/upstream}", 1)
	backend := mollymawktest.New(t, mollymawktest.Options{})
	old, fresh := backend.AddToken("alice", "old", time.Hour), backend.AddToken("alice", "fresh", time.Hour)
	c := newCaddy(t, map[string]string{"BACKEND": backend.Addr()})
	c.write("upstream", old+"\n")
	c.start(withFile)
	s := &site{caddy: c, backend: backend, upstream: old}
	token := s.token("--preset", "full")
	s.expect(token, http.StatusOK)

	backend.SetActive("alice", false)
	s.expectProblem(t, token, "/api/unikernels", 502, "upstream_credential")
	backend.SetActive("alice", true)
	s.expect(token, http.StatusOK)
	s.eventually("the log says that the upstream token works again", func() bool {
		return strings.Contains(s.output.String(), "accepts an account's upstream token again")
	})

	backend.RevokeToken(old)
	_, members := s.expectProblem(t, token, "/api/unikernels", 502, "upstream_credential")
	if members["token_id"] != tokenID(token) {
		t.Errorf("got token_id %v", members["token_id"])
	}
	s.expectProblem(t, token, "/api/unikernel/destroy", 502, "upstream_credential", "-d", "{}")
	if log := s.output.String(); !strings.Contains(log, `"account":"default"`) || !strings.Contains(log, `"since":`) {
		t.Error("the log doesn't name the refused account or when the refusals started")
	}
	if err := os.WriteFile(s.path("upstream"), []byte(fresh), 0o600); err != nil {
		t.Fatal(err)
	}
	// The refusal makes the gate reread the file.
	s.expectProblem(t, token, "/api/unikernels", 502, "upstream_credential")
	s.expect(token, http.StatusOK)
	s.checkLogs(token, old, fresh)
}

// TestAccounts removes a token's account, then uses an account that has no upstream token.
func TestAccounts(t *testing.T) {
	t.Parallel()
	withAlice := strings.Replace(plainSite, "account default {", "account nobody\n\t\taccount alice {", 1)
	s := startSite(t, withAlice, mollymawktest.Options{})
	alice, nobody := s.token("--preset", "full", "--account", "alice"),
		s.token("--preset", "full", "--account", "nobody")
	s.expect(alice, http.StatusOK)
	s.checkBackend(alice)
	if got := s.backend.Requests()[0].Values("X-Token-Account"); len(got) != 1 || got[0] != "alice" {
		t.Errorf("the backend got X-Token-Account %q", got)
	}
	s.backend.Reset()
	curl(t, append(bearer(nobody), s.url("/api/unikernels"))...)
	if got := s.backend.Requests()[0].Values("Authorization"); len(got) != 0 {
		t.Errorf("a request for an account without a credential reached the backend with one")
	}
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	s.expectProblem(t, alice, "/api/unikernels", 502, "account_not_configured")
	if _, denied := s.usage(alice); denied != 1 {
		t.Errorf("the server counted %d denied requests, want 1", denied)
	}
}

// TestExpiry uses a token until it expires. Responses must carry a warning during the last
// quarter of its lifetime.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read", "--expires-in", "8s")
	status, header, _ := curl(t, append(bearer(token), s.url("/api/unikernels"))...)
	if status != http.StatusOK || header.Get("Api-Key-Warning") != "" {
		t.Errorf("a new token got status %d and Api-Key-Warning %q", status, header.Get("Api-Key-Warning"))
	}
	s.eventually("responses carry a warning", func() bool {
		status, header, _ = curl(t, append(bearer(token), s.url("/api/unikernels"))...)
		want := "expires-soon; at=" + header.Get("Api-Key-Expires")
		return status == http.StatusOK && header.Get("Api-Key-Warning") == want
	})
	s.eventually("the token expires", func() bool {
		status, _, body := curl(t, append(bearer(token), s.url("/api/unikernels"))...)
		if status != http.StatusUnauthorized {
			return false
		}
		members := problem(t, body)
		if members["code"] != "expired_token" || members["expired_at"] != header.Get("Api-Key-Expires") ||
			members["token_id"] != tokenID(token) {
			t.Errorf("got refusal %s", body)
		}
		return true
	})
}

// TestBrowserSessions checks that requests with a browser session reach only the web UI.
func TestBrowserSessions(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tbrowser_sessions molly_session", 1), mollymawktest.Options{})
	token := s.token("--preset", "full")
	session := s.backend.Session("alice")
	for name, test := range map[string]struct {
		args   []string
		path   string
		status int
		passed bool
	}{
		"page":                         {nil, "/", 200, true},
		"page with session":            {[]string{"-H", "Cookie: " + session}, "/dashboard", 200, true},
		"page without session":         {nil, "/dashboard", 302, true},
		"unknown page":                 {nil, "/nowhere", 400, true},
		"API call with session":        {[]string{"-H", "Cookie: " + session}, "/api/unikernels", 200, true},
		"API call without session":     {nil, "/api/unikernels", 401, false},
		"API call with another cookie": {[]string{"-H", "Cookie: x=y"}, "/api/unikernels", 401, false},
		"API call with empty cookie":   {[]string{"-H", "Cookie: molly_session="}, "/api/unikernels", 401, false},
		"API call with another method": {[]string{"-X", "PUT", "-H", "Cookie: " + session}, "/api/unikernels",
			405, false},
		"basic auth is removed": {[]string{"-u", "a:b", "-H", "Cookie: " + session}, "/api/unikernels",
			200, true},
		"bad token with session": {append(bearer("mmk_nonsense"), "-H", "Cookie: "+session), "/api/unikernels",
			401, false},
		"bad token on a page":        {bearer("mmk_nonsense"), "/", 401, false},
		"token on a page":            {bearer(token), "/", 403, false},
		"token in the URL of a page": {nil, "/?x=" + token, 400, false},
		"token and session": {append(bearer(token), "-H", "Cookie: "+session), "/api/unikernels",
			200, true},
	} {
		s.backend.Reset()
		status, _, _ := curl(t, append(test.args, s.url(test.path))...)
		requests := s.backend.Requests()
		if status != test.status || (len(requests) == 1) != test.passed {
			t.Errorf("%s: got status %d, want %d; the backend saw %d requests", name, status, test.status,
				len(requests))
		}
		for _, request := range requests {
			authorization, cookies := request.Values("Authorization"), request.Values("Cookie")
			if name == "token and session" {
				if len(authorization) != 1 || len(cookies) != 0 {
					t.Errorf("%s: %d Authorization headers and %d cookies reached the backend", name,
						len(authorization), len(cookies))
				}
			} else if len(authorization) != 0 || len(request.Values("X-Token-Id")) != 0 {
				t.Errorf("%s: the gate added a credential or identity", name)
			}
		}
	}
	s.checkLogs(token)
}

// TestAccessLog checks that the access log contains the token's ID, and that a token in a URL
// is redacted.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	s.expect(token, http.StatusOK)
	s.expectProblem(t, token, "/api/unikernel/destroy", 403, "insufficient_scope", "-d", "{}")
	s.expectProblem(t, token, "/api/unikernels?token="+token, 400, "token_in_url")
	s.expectProblem(t, token, "/api/unikernels?token="+strings.ReplaceAll(token, "_", "%5F"), 400, "token_in_url")
	curl(t, s.url("/last"))
	s.eventually("the last request is logged", func() bool {
		lines := s.accessLog()
		return len(lines) > 0 && lines[len(lines)-1].Request.URI == "/last"
	})
	lines := s.accessLog()
	if len(lines) != 5 || lines[0].UserID != tokenID(token) || lines[1].UserID != "" || lines[1].Status != 403 {
		t.Fatalf("got access log %+v", lines)
	}
	for _, line := range lines[2:4] {
		if want := "/api/unikernels?token=mmk_" + tokenID(token) + "_…REDACTED"; line.Status != 400 ||
			line.Request.URI != want {
			t.Errorf("the access log entry is %+v, want status 400 for %s", line, want)
		}
	}
	s.checkLogs(token)
}

// TestOtherBackend uses route lines to protect a backend other than Mollymawk.
func TestOtherBackend(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s?%s %s", r.Method, r.URL.EscapedPath(), r.URL.RawQuery,
			r.Header.Get("X-Token-Name"))
	}))
	defer backend.Close()
	c := startCaddy(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"route GET /files/*/meta file:read\n\t\t\troute PUT /files/* file:write {\n\t\t\t\tupload\n\t\t\t}", 1),
		map[string]string{"BACKEND": strings.TrimPrefix(backend.URL, "http://"), "UPSTREAM": "abc"})
	s := &site{caddy: c, upstream: "abc-not-in-any-answer"}
	token := s.token("--scope", "file:*", "--name", "Käthe 100%")
	for path, want := range map[string]string{
		"/files/a/meta?x=1":     "GET /files/a/meta?x=1 K%C3%A4the 100%25",
		"/files/%C3%A9(1)/meta": "GET /files/%C3%A9(1)/meta? K%C3%A4the 100%25",
	} {
		if status, _, body := curl(t, append(bearer(token), s.url(path))...); status != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	s.expectProblem(t, token, "/files/a/b/meta", 403, "route_not_allowed")
	s.expectProblem(t, token, "/files/meta", 405, "method_not_allowed")
	refuse.Store(true)
	s.expectProblem(t, token, "/files/a/meta", 502, "upstream_credential")
}
