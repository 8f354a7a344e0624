package e2e

import (
	"net/http"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestTrustedUserNamedLikeAnother checks that the audit log and Idempotency-Keys distinguish a
// trusted user both from a token whose ID equals the user's name and from callers of Caddy's
// admin endpoint.
func TestTrustedUserNamedLikeAnother(t *testing.T) {
	t.Parallel()
	const id = "4fQ9Zt2LkVb7"
	s := startSite(t, globals+`
http://127.0.0.1:{$HTTP} {
	basic_auth {
		caddy-admin $2a$04$YqJfp0Ny8y7n7mdaaDgihuYmTqBefFWkvTzcEbqQUs0eSGC4g2.Fm
		`+id+` $2a$04$YqJfp0Ny8y7n7mdaaDgihuYmTqBefFWkvTzcEbqQUs0eSGC4g2.Fm
	}
	api_tokens_admin {
		trust_user
	}
}
`, mollymawktest.Options{})
	create := func(args ...string) {
		t.Helper()
		status, _, body := curl(t, append(args, "-H", "Content-Type: application/json", "-H", "Idempotency-Key: same",
			"-d", `{"name":"made","kind":"admin","expires_in":"1d"}`)...)
		if status != http.StatusCreated {
			t.Errorf("got status %d: %s", status, body)
		}
	}
	create("--unix-socket", s.dir+"/admin.sock", "http://caddy/api_tokens/v1/tokens")
	for _, user := range []string{"caddy-admin", id} {
		create("-u", user+":hiccup", s.url("/api/v1/tokens"))
	}
	var audit struct {
		Data []struct{ Actor, Action string }
	}
	s.decode(s.getAdmin("/api_tokens/v1/audit"), &audit)
	var actors [3]string
	if len(audit.Data) != 3 {
		t.Fatalf("the audit log has %d entries, want 3: two actors share an Idempotency-Key", len(audit.Data))
	}
	for i, entry := range audit.Data {
		actors[2-i] = entry.Actor
	}
	if want := [3]string{"caddy-admin", "user:caddy-admin", "user:" + id}; actors != want {
		t.Errorf("actors are %q, want %q", actors, want)
	}
}
