package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const challenge = `Bearer realm="mollymawk"`

// TestRefusals uses curl to provoke every refusal that doesn't involve limits.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tmax_body 1KiB\n\t\t\tmax_upload 1MiB", 1),
		mollymawktest.Options{})
	full := s.token("--preset", "full")
	reader := s.token("--preset", "read")
	admin := s.token("--kind", "admin")
	elsewhere := s.token("--preset", "full", "--allowed-ip", "192.0.2.0/24")
	later := s.token("--preset", "full", "--not-before", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	unknown := s.token("--preset", "full")
	if _, stderr, code := s.run("api-token", "delete", tokenID(unknown), "--yes"); code != 0 {
		t.Fatal(stderr)
	}
	malformed := full[:54] + string('0'+(full[54]-'0'+1)%10)

	invalidToken := challenge + `, error="invalid_token", error_description="`
	invalidRequest := challenge + `, error="invalid_request", error_description="`
	for name, test := range map[string]struct {
		args      []string
		path      string
		status    int
		code      string
		challenge string // the start of WWW-Authenticate, or empty for none
		token     string // set if the secret matches
		member    [2]string
	}{
		"no credential": {nil, "/api/unikernels", 401, "missing_token", challenge, "", [2]string{}},
		"empty header": {[]string{"-H", "Authorization;"}, "/api/unikernels", 401, "missing_token", challenge, "",
			[2]string{}},
		"basic": {[]string{"-u", "a:b"}, "/api/unikernels", 401, "missing_token", challenge, "",
			[2]string{}},
		"scheme and colon": {[]string{"-H", "Authorization: Bearer: " + full}, "/api/unikernels", 401, "missing_token",
			challenge, "", [2]string{}},
		"two headers": {append(bearer(full), bearer(full)...), "/api/unikernels", 400, "invalid_request",
			invalidRequest, "", [2]string{}},
		"scheme alone": {[]string{"-H", "Authorization: Bearer"}, "/api/unikernels", 400, "invalid_request",
			invalidRequest, "", [2]string{}},
		"two spaces": {[]string{"-H", "Authorization: Bearer  " + full}, "/api/unikernels", 400,
			"invalid_request", invalidRequest, "", [2]string{}},
		"tab": {[]string{"-H", "Authorization: Bearer\t" + full}, "/api/unikernels", 400,
			"invalid_request", invalidRequest, "", [2]string{}},
		"list": {[]string{"-H", "Authorization: Bearer " + full + ", Bearer " + full}, "/api/unikernels",
			400, "invalid_request", invalidRequest, "", [2]string{}},
		"token in query": {bearer(full), "/api/unikernels?token=" + full, 400, "token_in_url", invalidRequest, "",
			[2]string{}},
		"token in path": {nil, "/anything/" + full, 400, "token_in_url", invalidRequest, "", [2]string{}},
		"escaped in query": {nil, "/anything?x=" + strings.ReplaceAll(full, "_", "%5f"), 400, "token_in_url",
			invalidRequest, "", [2]string{}},
		"checksum": {bearer(malformed), "/api/unikernels", 401, "malformed_token", invalidToken, "",
			[2]string{}},
		"token from another system": {bearer("glpat-0123456789"), "/api/unikernels", 401, "malformed_token",
			invalidToken, "", [2]string{}},
		"deleted":       {bearer(unknown), "/api/unikernels", 401, "unknown_token", invalidToken, "", [2]string{}},
		"admin token":   {bearer(admin), "/api/unikernels", 403, "wrong_kind", "", admin, [2]string{}},
		"not yet valid": {bearer(later), "/api/unikernels", 401, "not_yet_valid", invalidToken, later, [2]string{}},
		"scope": {append(bearer(reader), "-d", "{}"), "/api/unikernel/destroy", 403, "insufficient_scope",
			challenge + `, error="insufficient_scope", scope="unikernel:destroy"`, reader,
			[2]string{"required_scope", "unikernel:destroy"}},
		"unlisted": {bearer(full), "/api/tokens/create", 403, "route_not_allowed", "", full, [2]string{}},
		"address": {bearer(elsewhere), "/api/unikernels", 403, "ip_denied", "", elsewhere,
			[2]string{"client_ip", "127.0.0.1"}},
		"method": {append(bearer(full), "-X", "DELETE"), "/api/unikernels", 405, "method_not_allowed", "", full,
			[2]string{}},
		"OPTIONS": {append(bearer(full), "-X", "OPTIONS"), "/api/unikernels", 405, "method_not_allowed", "", full,
			[2]string{}},
		"two slashes": {bearer(full), "//api/unikernels", 400, "invalid_path", "", "", [2]string{}},
		"dots":        {bearer(full), "/api/../api/unikernels", 400, "invalid_path", "", "", [2]string{}},
		"escape":      {bearer(full), "/api/%75nikernels", 400, "invalid_path", "", "", [2]string{}},
		"declared body": {append(bearer(full), "-d", strings.Repeat("x", 1025)), "/api/unikernel/destroy", 413,
			"body_too_large", "", full, [2]string{}},
		"chunked body": {append(bearer(full), "-H", "Transfer-Encoding: chunked", "-d", strings.Repeat("x", 1025)),
			"/api/unikernel/destroy", 413, "body_too_large", "", full, [2]string{}},
		"upload": {append(bearer(full), "-F", "binary=@"+s.write("large", strings.Repeat("x", 1<<20))),
			"/api/unikernel/create", 413, "body_too_large", "",
			full, [2]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, body := curl(t, append(test.args, s.url(test.path))...)
			var problem map[string]any
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Fatalf("got status %d and body %q: %v", status, body, err)
			}
			if status != test.status || problem["code"] != test.code {
				t.Errorf("got %d %v, want %d %s", status, problem["code"], test.status, test.code)
			}
			if problem["status"] != float64(test.status) || problem["success"] != false ||
				problem["data"] != problem["detail"] ||
				problem["detail"] == "" || problem["title"] == "" || problem["type"] == "" {
				t.Errorf("got body %s", body)
			}
			for name, want := range map[string]string{"Content-Type": "application/problem+json",
				"Cache-Control": "no-store"} {
				if got := header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := header.Get("WWW-Authenticate"); !strings.HasPrefix(got, test.challenge) ||
				(test.challenge == "") != (got == "") ||
				(test.challenge == challenge && got != challenge) {
				t.Errorf("WWW-Authenticate is %q, want %q", got, test.challenge)
			}
			if test.status == http.StatusMethodNotAllowed && header.Get("Allow") != "GET" {
				t.Errorf("Allow is %q", header.Get("Allow"))
			}
			var want any // for when no secret matches
			if test.token != "" {
				want = tokenID(test.token)
			}
			if got := problem["token_id"]; got != want {
				t.Errorf("token_id is %v, want %v", got, want)
			}
			if test.member[0] != "" && problem[test.member[0]] != test.member[1] {
				t.Errorf("%s is %v, want %s", test.member[0], problem[test.member[0]], test.member[1])
			}
			checkNoSecret(t, "the body", body, full)
		})
	}
	if n := len(s.backend.Requests()); n != 0 {
		t.Errorf("the backend saw %d requests", n)
	}
	s.checkLogs(full, reader, admin, elsewhere, later, unknown)
}
