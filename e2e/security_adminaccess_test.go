package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// halfSent is a call for which the client has sent only the head and part of the body.
type halfSent struct {
	conn *h1Conn
	rest string
}

// sendHalf begins an admin API call. It returns once the API has accepted the credential. It
// can tell by the 100 Continue that the server sends when a handler reads the body.
func (s *site) sendHalf(t *testing.T, path, body string, header ...string) *halfSent {
	t.Helper()
	conn, err := dialH1("127.0.0.1:" + s.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.close)
	half := len(body) / 2
	_, _ = fmt.Fprintf(conn,
		"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
			"Expect: 100-continue\r\n%s\r\n\r\n",
		path, s.env["HTTP"], len(body), strings.Join(header, "\r\n"))
	line, err := conn.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%s: %q, %v", path, line, err)
	}
	if line, err := conn.r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("%s: %q, %v", path, line, err)
	}
	_, _ = io.WriteString(conn, body[:half])
	return &halfSent{conn, body[half:]}
}

func (h *halfSent) finish() wireResponse {
	_, _ = io.WriteString(h.conn, h.rest)
	return h.conn.readResponse(http.MethodPost)
}

// TestAdminTokenEndsDuringCall checks that calls begun before an admin token ends can't change
// anything afterwards, so that revoking a leaked token locks the attacker out.
func TestAdminTokenEndsDuringCall(t *testing.T) {
	t.Parallel()
	s := startSite(t, adminSite, mollymawktest.Options{})
	for name, end := range map[string]struct {
		method, path string
		body         any
		status       int
	}{
		"revoked":                  {"POST", "/revoke", nil, 200},
		"disabled":                 {"POST", "/disable", nil, 200},
		"deleted":                  {"DELETE", "", nil, 204},
		"rotated":                  {"POST", "/rotate", map[string]string{"grace": "0s"}, 200},
		"bound to another address": {"PATCH", "", map[string]any{"allowed_ips": []string{"203.0.113.9"}}, 200},
	} {
		token := s.token("--kind", "admin", "--name", name)
		victim := s.token("--name", "victim", "--scope", "admin:list")
		by := "Authorization: Bearer " + token
		calls := map[string]*halfSent{
			"POST tokens": s.sendHalf(t, "/api/v1/tokens",
				`{"kind":"admin","name":"successor","expires_in":"90d"}`, by),
			"rotate": s.sendHalf(t, "/api/v1/tokens/"+tokenID(victim)+"/rotate", `{"grace":"0s"}`, by),
			"import": s.sendHalf(t, "/api/v1/import",
				`{"format":"mollymawk","data":{"tokens":[{"name":"i","value":"0f9c8b7a-6d5e-4c3b-a291-807f6e5d4c3b",`+
					`"expires_in":315360000,"created_at":"2026-03-01 00:00:00-00:00"}]}}`, by),
			"lookup": s.sendHalf(t, "/api/v1/lookup", `{"token":"`+victim+`"}`, by),
			"Mollymawk update": s.sendHalf(t, "/keys/api/tokens/update",
				`{"token_value":"`+tokenID(victim)+`","token_name":"successor"}`, by),
		}
		s.caddy.call(end.method, "tokens/"+tokenID(token)+end.path, end.body, end.status)
		for call, half := range calls {
			if response := half.finish(); response.status != 401 && response.status != 403 {
				t.Errorf("%s, %s: %d %v %s", name, call, response.status, response.err, shortened(response.body))
			}
		}
		if status, _, _ := curl(t,
			append(bearer(victim), s.url("/behind/api/v1/tokens"))...); status == http.StatusUnauthorized {
			t.Errorf("%s: a call rotated the victim's token", name)
		}
	}
	if list := s.getAdmin("/api_tokens/v1/tokens?limit=100"); strings.Contains(list, "successor") ||
		strings.Contains(list, `"imported"`) {
		t.Errorf("a call changed tokens: %s", list)
	}
	// A call whose token remains valid must succeed, and its connection must stay open.
	token := s.token("--kind", "admin")
	half := s.sendHalf(t, "/api/v1/tokens", `{"kind":"admin","name":"made","expires_in":"90d"}`,
		"Authorization: Bearer "+token)
	if response := half.finish(); response.status != http.StatusCreated || response.closed {
		t.Errorf("%d %v %s", response.status, response.err, shortened(response.body))
	}
	_, _ = fmt.Fprintf(half.conn,
		"GET /api/v1/healthz HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAuthorization: Bearer %s\r\n\r\n", s.env["HTTP"], token)
	if response := half.conn.readResponse(http.MethodGet); response.status != http.StatusOK {
		t.Errorf("the next call on the connection got status %d, error %v", response.status, response.err)
	}
}

// TestTrustedUserAfterReload checks that the admin API refuses a trusted user's call that
// began before a reload and ends after it, whether or not the user is still trusted.
func TestTrustedUserAfterReload(t *testing.T) {
	t.Parallel()
	s := startSite(t, adminSite, mollymawktest.Options{})
	const carol = "Authorization: Basic Y2Fyb2w6aGljY3Vw"
	const body = `{"kind":"admin","name":"successor","expires_in":"90d"}`
	kept := s.sendHalf(t, "/trusting/api/v1/tokens", body, carol)
	if response := kept.finish(); response.status != http.StatusCreated {
		t.Errorf("without a reload: got status %d, error %v: %s", response.status, response.err,
			shortened(response.body))
	}
	half := s.sendHalf(t, "/trusting/api/v1/tokens", body, carol)
	reloaded := make(chan error, 1)
	changed := strings.Replace(adminSite, "trust_user carol", "trust_user dave", 1) +
		"http://localhost:{$HTTP} {\nrespond /marker changed\n}\n"
	go func() { reloaded <- s.reload(changed) }() // the reload may wait for the call
	eventually(t, "the other configuration serves", func() bool {
		_, _, text := curl(t, "-H", "Host: localhost:"+s.env["HTTP"], s.url("/marker"))
		return text == "changed"
	}, s.output)
	// The new configuration starts serving before Caddy reports it as the current one.
	deadline := time.Now().Add(exchangeTimeout)
	for !strings.Contains(s.getAdmin("/config/"), "dave") {
		if time.Now().After(deadline) {
			t.Fatal("the other configuration isn't active")
		}
		time.Sleep(10 * time.Millisecond)
	}
	response := half.finish()
	if response.status != http.StatusServiceUnavailable ||
		problem(t, response.body)["code"] != "configuration_changed" ||
		response.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", response.status, response.err, shortened(response.body))
	}
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if list := s.getAdmin("/api_tokens/v1/tokens"); strings.Count(list, "successor") != 1 {
		t.Errorf("got tokens %s, want exactly one successor", list)
	}
}

// TestSecurityAdminEarlyData checks that a call in early data, which an attacker on the
// network can replay, doesn't change anything.
func TestSecurityAdminEarlyData(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, adminConfig(), nil)
	early := h3Early{caddy: a.caddy, address: "127.0.0.1:" + a.env["HTTPS"], sessions: newSessions()}
	victim := tokensURL + "/" + tokenID(a.names.Replace("$A"))
	for _, action := range []string{"/rotate", "/disable", "/enable"} {
		request := calling(keysHost, "POST", victim+action, "", by("$M")...).expand(a.names.Replace)
		responses := early.exchange(request, 2)
		if responses[0].status != http.StatusTooEarly || responses[1].status != http.StatusOK {
			t.Errorf("%s: got status %d, then %d, error %v", action, responses[0].status,
				responses[1].status, responses[0].err)
		}
	}
	// The client's Connection header can't remove a proxy's Early-Data header.
	for _, w := range a.wires()[:1] {
		for _, header := range [][]string{{"Early-Data: 1"}, {"Early-Data: 1", "Connection: Early-Data"},
			{"early-data: 1", "Connection: close, early-data"}} {
			response := w.exchange(calling(keysHost, "POST", victim+"/rotate", "",
				by("$M", header...)...).expand(a.names.Replace), 1)[0]
			if response.status != http.StatusTooEarly {
				t.Errorf("%s, %q: %d %v", w, header, response.status, response.err)
			}
		}
	}
	if response := early.exchange(calling(keysHost, "GET", tokensURL, "", by("$M")...).expand(a.names.Replace),
		1)[0]; response.status != http.StatusOK {
		t.Errorf("GET in early data: got status %d, error %v", response.status, response.err)
	}
}
