package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const keysPage = "https://keys.molly.example.com/#keys"

var keysSite = strings.Replace(plainSite, "routes {$ROUTES:mollymawk}",
	"routes {$ROUTES:mollymawk}\n\t\t\tbrowser_sessions molly_session\n\t\t\tkeys_page "+keysPage, 1)

// ownKey creates a key on Mollymawk's page, at Mollymawk's own address, as a user with the
// given session would.
func (s *site) ownKey(t *testing.T, session, name string) string {
	t.Helper()
	status, body := s.createOwnKey(t, s.backend.URL(), session, name)
	var made struct{ Data struct{ Value string } }
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != http.StatusOK || made.Data.Value == "" {
		t.Fatalf("got status %d: %s", status, body)
	}
	return made.Data.Value
}

// createOwnKey sends base the request that Mollymawk's page uses to create a key.
func (s *site) createOwnKey(t *testing.T, base, session, name string) (status int, body string) {
	t.Helper()
	_, header, _ := curl(t, "-H", "Cookie: "+session, s.backend.URL()+"/tokens")
	status, _, body = curl(t, "-H", "Cookie: "+session, "-H", "Content-Type: application/json", "-H",
		"Sec-Fetch-Mode: cors",
		"-d", `{"token_name":"`+name+`","token_expiry":2419200,"molly_csrf":"`+header.Get("X-Molly-Csrf")+`"}`,
		base+"/api/tokens/create")
	return status, body
}

// TestKeysPage checks that the gate redirects browsers from Mollymawk's keys page to the
// operator's, and that the refusal of a key created by Mollymawk says what kind of key it is.
func TestKeysPage(t *testing.T) {
	t.Parallel()
	s := startSite(t, keysSite, mollymawktest.Options{})
	session := s.backend.Session("alice")
	cookie := []string{"-H", "Cookie: " + session}
	own := s.ownKey(t, session, "ci")
	token := s.token("--preset", "full")

	s.backend.Reset()
	for name, test := range map[string]struct {
		args   []string
		path   string
		status int
		code   string
	}{
		"a browser": {[]string{"-H", "Accept: text/html,application/xhtml+xml;q=0.9"}, "/tokens",
			303, ""},
		"a modern browser": {[]string{"-H", "Accept: */*", "-H", "Sec-Fetch-Mode: navigate"}, "/tokens?x=y",
			303, ""},
		"a browser, escaped":        {[]string{"-H", "Accept: text/html"}, "/%74okens", 303, ""},
		"a browser calling the API": {[]string{"-H", "Accept: text/html"}, "/api/tokens/create", 303, ""},
		"a script":                  {nil, "/tokens", 403, "route_not_allowed"},
		"a page's script": {[]string{"-H", "Accept: text/html", "-H", "Sec-Fetch-Mode: cors"}, "/tokens",
			403, "route_not_allowed"},
		"a form": {[]string{"-H", "Accept: text/html", "-H", "Sec-Fetch-Mode: navigate", "-d",
			"x"}, "/api/tokens/create", 403, "route_not_allowed"},
		"another method": {[]string{"-X", "PUT"}, "/api/tokens/update", 403, "route_not_allowed"},
		"a token": {append(bearer(token), "-H", "Accept: text/html"), "/tokens", 403,
			"route_not_allowed"},
		"a token that creates a token": {append(bearer(token), "-d", "{}"), "/api/tokens/create", 403,
			"route_not_allowed"},
		"a Mollymawk key": {bearer(own), "/api/unikernels", 401, "unknown_token"},
		"a Mollymawk key in a POST": {append(bearer(own), "-d", "{}"), "/api/unikernel/destroy", 401,
			"unknown_token"},
	} {
		status, header, body := curl(t, append(append(test.args, cookie...), s.url(test.path))...)
		if status != test.status {
			t.Errorf("%s: got status %d, want %d: %s", name, status, test.status, body)
			continue
		}
		if status == http.StatusSeeOther {
			if header.Get("Location") != keysPage || header.Get("Cache-Control") != "no-store" || body != "" {
				t.Errorf("%s: %v %s", name, header, body)
			}
			continue
		}
		members := problem(t, body)
		if detail, _ := members["detail"].(string); members["code"] != test.code ||
			!strings.Contains(detail, keysPage) {
			t.Errorf("%s: %s", name, body)
		}
		if status == http.StatusUnauthorized && !strings.Contains(body, "looks like one of Mollymawk's own keys") {
			t.Errorf("%s: %s", name, body)
		}
	}
	status, body := s.createOwnKey(t, s.url(""), session, "another")
	if members := problem(t, body); status != http.StatusForbidden || members["data"] != members["detail"] ||
		members["status"] != 403.0 {
		t.Errorf("Mollymawk's page got %d %s", status, body)
	}
	for _, request := range s.backend.Requests() {
		if request.Target != "/tokens" || request.Method != http.MethodGet { // sent by createOwnKey itself
			t.Errorf("the backend saw %s %s", request.Method, request.Target)
		}
	}
	// The rest of the web UI must work, including deleting the keys created in the meantime.
	for _, path := range []string{"/dashboard", "/style.css"} {
		if status, _, body := curl(t,
			append(cookie, "-H", "Accept: text/html", s.url(path))...); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, body := curl(t,
		append(cookie, "-d", "{}", s.url("/api/tokens/delete"))...); status != http.StatusBadRequest ||
		strings.Contains(body, `"code"`) {
		t.Errorf("deleting a key: got status %d: %s", status, body)
	}
	s.checkLogs(token, own)
}

// TestUnknownUUID checks that without keys_page, the refusal refers users to the operator. It
// also checks that the gate mentions Mollymawk keys only when it refuses a token that is
// formatted like one.
func TestUnknownUUID(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	own := s.backend.AddToken("alice", "ci", 1e12)
	_, members := s.expectProblem(t, own, "/api/unikernels", 401, "unknown_token")
	const want = "This looks like one of Mollymawk's own keys, which do not work here. Ask the operator for an API key."
	if members["detail"] != want {
		t.Errorf("%v", members)
	}
	token := s.token("--preset", "read")
	if _, stderr, code := s.run("api-token", "delete", tokenID(token), "--yes"); code != 0 {
		t.Fatal(stderr)
	}
	_, members = s.expectProblem(t, token, "/api/unikernels", 401, "unknown_token")
	if detail, _ := members["detail"].(string); strings.Contains(detail, "Mollymawk") {
		t.Errorf("%v", members)
	}
}

// TestImportAgainAfterNewKeys checks that keys created on Mollymawk's page after the first
// import work once the record is imported again, and that previously imported keys are
// unchanged.
func TestImportAgainAfterNewKeys(t *testing.T) {
	t.Parallel()
	s := startSite(t, keysSite, mollymawktest.Options{})
	session := s.backend.Session("alice")
	before := s.ownKey(t, session, "before")
	signIn := func() string {
		file := s.path("user.json")
		status, _, _ := curl(t, "-d", `{"email":"alice@example.com","password":"`+mollymawktest.Password+`"}`, "-H",
			"Content-Type: application/json", "-o", file, s.backend.URL()+"/api/login")
		if status != http.StatusOK {
			t.Fatal(status)
		}
		return file
	}
	imported := func(want string) {
		t.Helper()
		if _, stderr, code := s.run("api-token", "import", signIn()); code != 0 || !strings.Contains(stderr, want) {
			t.Fatalf("%d %s, want %q", code, stderr, want)
		}
	}
	imported("Imported 1 of 2 keys.") // the other is the gate's own key
	s.expect(before, http.StatusOK)

	meanwhile := s.ownKey(t, session, "meanwhile")
	s.expectProblem(t, meanwhile, "/api/unikernels", 401, "unknown_token")
	imported("Imported 1 of 3 keys.")
	s.expect(before, http.StatusOK)
	s.expect(meanwhile, http.StatusOK)
	s.checkLogs(before, meanwhile)
}
