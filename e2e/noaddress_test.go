package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestClientWithoutAddress checks how a client on a unix socket, which has no address, is
// shown: as null in JSON and as "-" in logs.
func TestClientWithoutAddress(t *testing.T) {
	t.Parallel()
	s := startSite(t, globals+`
http://gated.test {
	bind unix/{$DIR}/site.sock
	bearer_auth {
		route GET /read plain:read
	}
	respond "hello"
}

http://keys.test {
	bind unix/{$DIR}/site.sock
	api_tokens_admin
}

http://users.test {
	bind unix/{$DIR}/site.sock
	basic_auth {
		alice $2a$04$YqJfp0Ny8y7n7mdaaDgihuYmTqBefFWkvTzcEbqQUs0eSGC4g2.Fm
	}
	api_tokens_admin {
		trust_user
	}
}
`, mollymawktest.Options{})
	call := func(args ...string) (int, string) {
		status, _, body := curl(t, append([]string{"--unix-socket", s.dir + "/site.sock"}, args...)...)
		return status, body
	}
	key := s.mint(map[string]any{"scopes": []string{"plain:read"}})
	bound := s.mint(map[string]any{"scopes": []string{"plain:read"}, "allowed_ips": []string{"192.0.2.1"}})
	adminKey := s.mint(map[string]any{"kind": "admin"})
	if status, body := call(append(bearer(key), "http://gated.test/read")...); status != http.StatusOK {
		t.Fatalf("got status %d: %s", status, body)
	}
	_, body := call(append(bearer(bound), "http://gated.test/read")...)
	var refusal map[string]any
	s.decode(body, &refusal)
	if address, ok := refusal["client_ip"]; !ok || address != nil || refusal["code"] != "ip_denied" {
		t.Errorf("got refusal %s", body)
	}
	create := []string{"-H", "Content-Type: application/json", "-d",
		`{"name":"made","scopes":["plain:read"],"expires_in":"1d"}`}
	if status, body := call(append(append(bearer(adminKey), create...),
		"http://keys.test/api/v1/tokens")...); status != http.StatusCreated {
		t.Errorf("got status %d: %s", status, body)
	}
	if status, body := call(append([]string{"-u", "alice:hiccup", "-H", "Sec-Fetch-Site: same-origin"},
		append(create, "http://users.test/api/v1/tokens")...)...); status != http.StatusCreated {
		t.Errorf("got status %d: %s", status, body)
	}
	for _, token := range []string{key, adminKey} {
		var got map[string]any
		s.decode(s.getAdmin("/api_tokens/v1/tokens/"+tokenID(token)), &got)
		if address, ok := got["last_used_ip"]; !ok || address != nil || got["last_used_at"] == nil ||
			got["last_used_route"] == nil {
			t.Errorf("got token %v", got)
		}
	}
	var audit struct{ Data []map[string]any }
	s.decode(s.getAdmin("/api_tokens/v1/audit"), &audit)
	made := 0
	for _, entry := range audit.Data {
		if address, ok := entry["address"]; !ok || address != nil {
			t.Errorf("got audit entry %v", entry)
		}
		if entry["token_name"] == "made" {
			made++
		}
	}
	if made != 2 {
		t.Errorf("the audit log has %d creations, want 2", made)
	}
	s.stop()
	shown := 0
	for line := range strings.Lines(s.output.String()) {
		if strings.Contains(line, "invalid IP") {
			t.Errorf("got log line %s", line)
		}
		var entry struct {
			Message  string  `json:"msg"`
			ClientIP *string `json:"client_ip"`
			Address  *string
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		if entry.Message == "token created" && (entry.Address == nil || *entry.Address != "-") {
			t.Errorf("got log line %s", line)
		}
		if entry.Message == "refused request" && entry.ClientIP != nil {
			shown++
			if *entry.ClientIP != "-" {
				t.Errorf("got client_ip %q", *entry.ClientIP)
			}
		}
	}
	if shown == 0 {
		t.Error("Caddy logged no refusal, so this test checked nothing")
	}
}
