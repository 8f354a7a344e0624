package e2e

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// adminSite serves the admin API in every way described in docs/admin.md. Both password hashes
// are low-cost bcrypt hashes of "hiccup".
const adminSite = globals + `
http://127.0.0.1:{$HTTP} {
	log
	handle_path /keys/* {
		api_tokens_admin
	}
	handle /api/v1/* {
		api_tokens_admin
	}
	handle /trusting/* {
		uri strip_prefix /trusting
		basic_auth {
			carol $2a$04$YqJfp0Ny8y7n7mdaaDgihuYmTqBefFWkvTzcEbqQUs0eSGC4g2.Fm
			mallory $2a$04$YqJfp0Ny8y7n7mdaaDgihuYmTqBefFWkvTzcEbqQUs0eSGC4g2.Fm
		}
		api_tokens_admin {
			trust_user carol
		}
	}
	handle /behind/* {
		bearer_auth {
			route GET /api/v1/tokens admin:list
		}
		uri strip_prefix /behind
		api_tokens_admin {
			trust_user
		}
	}
}
`

// TestAdminSite tests the admin API served by a site.
func TestAdminSite(t *testing.T) {
	t.Parallel()
	s := startSite(t, adminSite, mollymawktest.Options{})
	admin, api := s.token("--kind", "admin"), s.token("--scope", "admin:list")
	for name, test := range map[string]struct {
		args   []string
		path   string
		status int
		code   string
	}{
		"admin token":      {bearer(admin), "/keys/api/v1/tokens", 200, ""},
		"no credential":    {nil, "/keys/api/v1/tokens", 401, "missing_token"},
		"API token":        {bearer(api), "/keys/api/v1/tokens", 403, "wrong_kind"},
		"wrong path":       {bearer(admin), "/keys/tokens", 404, "not_found"},
		"token in the URL": {bearer(admin), "/api/v1/tokens?q=" + api, 400, "token_in_url"},
		"cross-site": {append(bearer(admin), "-X", "POST", "-H", "Sec-Fetch-Site: cross-site"),
			"/keys/api/v1/tokens", 403, "cross_site"},
		"form": {append(bearer(admin), "-d", "{}"), "/keys/api/v1/tokens", 415,
			"unsupported_media_type"},
		"trusted user": {[]string{"-u", "carol:hiccup"}, "/trusting/api/v1/tokens", 200, ""},
		"another user": {[]string{"-u", "mallory:hiccup"}, "/trusting/api/v1/tokens", 401,
			"missing_token"},
		"basic auth not configured": {[]string{"-u", "carol:hiccup"}, "/keys/api/v1/tokens", 401, "missing_token"},
		// The admin API receives the upstream credential and refuses it.
		"API token at a gate":   {bearer(api), "/behind/api/v1/tokens", 502, "upstream_credential"},
		"admin token at a gate": {bearer(admin), "/behind/api/v1/tokens", 403, "wrong_kind"},
		"no CORS headers": {append(bearer(admin), "-H", "Origin: https://evil.example"),
			"/keys/api/v1/tokens", 200, ""},
	} {
		status, header, body := curl(t, append(test.args, s.url(test.path))...)
		if status != test.status {
			t.Errorf("%s: got status %d, want %d: %s", name, status, test.status, body)
		}
		if test.code != "" {
			if got := problem(t, body)["code"]; got != test.code {
				t.Errorf("%s: code %v, want %s", name, got, test.code)
			}
		}
		if header.Get("Cache-Control") != "no-store" || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got headers %v", name, header)
		}
	}
	status, header, body := curl(t, append(bearer(admin), "-H", "Content-Type: application/json",
		"-d", `{"name":"made","expires_in":"90d","scopes":["admin:list"]}`, s.url("/keys/api/v1/tokens"))...)
	if status != http.StatusCreated {
		t.Fatalf("got status %d: %s", status, body)
	}
	made, _ := problem(t, body)["token"].(string)
	if want := "/keys/api/v1/tokens/" + tokenID(made); header.Get("Location") != want {
		t.Errorf("Location is %q, want %q", header.Get("Location"), want)
	}
	if got := problem(t, body)["created_by"]; got != tokenID(admin) {
		t.Errorf("got created_by %v", got)
	}
	s.checkLogs(admin, api, made)
}

// TestExposedEndpoint calls the admin endpoint at an address that other machines can reach.
func TestExposedEndpoint(t *testing.T) {
	t.Parallel()
	address := outside(t)
	port := freePort(t)
	s := startSite(t, strings.Replace(plainSite, "debug\n", "", 1), mollymawktest.Options{})
	exposed := strings.Replace(plainSite, "admin unix/{$DIR}/admin.sock", "admin :"+port, 1)
	if err := s.reload(exposed); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{"127.0.0.1": 200, "[::1]": 200, address: 403} {
		status, _, body := curl(t, "http://"+host+":"+port+"/api_tokens/v1/tokens")
		if status != want {
			t.Errorf("%s: got status %d, want %d", host, status, want)
		}
		if want == 403 && problem(t, body)["code"] != "admin_exposed" {
			t.Errorf("%s: %s", host, body)
		}
	}
}

// outside returns a non-loopback address of this machine.
func outside(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has only loopback addresses")
	return ""
}
