package mollymawktest

import (
	"strings"
	"testing"
)

func post(t *testing.T, s *Server, target, body string, headers ...string) response {
	t.Helper()
	return roundTrip(t, s, message("POST", target, body, headers...))
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	for body, data := range map[string]string{
		`{"email":"","password":"x"}`:                              "All fields must be filled.",
		`{"email":"alice","password":"mollymawk"}`:                 "Invalid email address.",
		`{"email":"alice@example.com","password":"short"}`:         "Password must be at least 8 characters long.",
		`{"email":"nobody@example.com","password":"mollymawk"}`:    "This account does not exist.",
		`{"email":"alice@example.com","password":"wrongpassword"}`: "Invalid email or password.",
		`[]`:            "Update password: expected a dictionary",
		`{"email":"x"}`: `Update password: Unexpected fields. Got {\\\"email\\\":\\\"x\\\"}`,
	} {
		wantEnvelope(t, post(t, s, "/api/login", body), 400, "", `"`+data+`"`)
	}
	const good = `{"email":"alice@example.com","password":"` + Password + `"}`
	a := post(t, s, "/api/login", good, "User-Agent: test")
	cookie, isCookie := strings.CutSuffix(a.header("Set-Cookie"), ";Path=/;HttpOnly=true")
	if a.status != 200 || !isCookie || a.header("location") != "/dashboard" {
		t.Fatalf("got response head %s, want status 200, a session cookie and a redirect to /dashboard", a.head)
	}
	// The response contains the user's complete record.
	for _, secret := range []string{token, strings.TrimPrefix(cookie, "molly_session="), `"password":"`,
		`"super_user":false`} {
		if !strings.Contains(a.body, secret) {
			t.Errorf("body %s doesn't contain %s", a.body, secret)
		}
	}
	if a := fetch(t, s, "/dashboard", "Cookie: "+cookie); a.status != 200 || !strings.Contains(a.body, "alice") {
		t.Errorf("GET /dashboard: got status %d, want 200 and the user's name", a.status)
	}
	s.SetActive("alice", false)
	wantEnvelope(t, post(t, s, "/api/login", good), 400, "", `"This account is not active"`)
}

// TestTokenRoutes creates a token as a script would, with a session and a page's CSRF
// value.
func TestTokenRoutes(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	session := "Cookie: " + s.Session("alice")
	csrf := fetch(t, s, "/tokens", session).header("X-MOLLY-CSRF")
	a := post(t, s, "/api/tokens/create", `{"token_name":"ci","token_expiry":60,"molly_csrf":"`+csrf+`"}`, session)
	value, rest, _ := strings.Cut(strings.TrimPrefix(a.body,
		`{"status":200,"title":"200","success":true,"data":{"token_type":"Bearer","value":"`), `"`)
	const fields = `,"expires_in":60,"created_at":"2026-08-21 12:00:00-00:00",` +
		`"last_access":"2026-08-21 12:00:00-00:00","name":"ci","usage_count":0}}`
	if len(value) != 36 || value[14] != '4' || rest != fields {
		t.Fatalf("creating a token: got %s, want a UUID followed by %s", a.body, fields)
	}
	if a := fetch(t, s, "/api/unikernels", bearer(value)); a.status != 200 {
		t.Errorf("using the new token: got %s, want status 200", a.body)
	}
	wantEnvelope(t, post(t, s, "/api/tokens/create", `{"token_expiry":1.5,"token_name":"","molly_csrf":"`+csrf+`"}`,
		session), 400, "",
		`"Create token: Unexpected fields. Got {\\\"token_expiry\\\":1.5,\\\"token_name\\\":\\\"\\\",`+
			`\\\"molly_csrf\\\":\\\"`+csrf+`\\\"}"`)
	wantEnvelope(t, post(t, s, "/api/tokens/create", `{"token_name":"ci","token_expiry":60}`, session), 400, "",
		`"Couldn't find CSRF token"`)
}

// TestBrowserCalls checks that the server authenticates the caller and reads the body for
// calls that only browsers make.
func TestBrowserCalls(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.SetAdmin("root", true)
	root, alice := "Cookie: "+s.Session("root"), "Cookie: "+s.Session("alice")
	csrf := func(user string) string { return `"molly_csrf":"` + s.CSRF(user) + `"` }
	wantEnvelope(t, post(t, s, "/api/register", `{"name":"x"}`), 400, "",
		`"Register: Unexpected fields. Got {\\\"name\\\":\\\"x\\\"}"`)
	wantEnvelope(t, post(t, s, "/api/admin/user/admin/toggle", `{`+csrf("root")+`}`, root), 200, "", `"done"`)
	wantEnvelope(t, post(t, s, "/api/admin/user/admin/toggle", `{}`, root), 400, "", `"Couldn't find CSRF token"`)
	wantEnvelope(t, fetch(t, s, "/api/admin/albatross/retry", root), 200, "", `"done"`)
	wantEnvelope(t, post(t, s, "/api/account/session/close", `{"session_value":"x",`+csrf("alice")+`}`, alice), 200, "",
		`"done"`)
	a := post(t, s, "/api/account/session/close", `{`+csrf("alice")+`}`, alice)
	if a.status != 400 || !strings.Contains(a.body, "Close session: Unexpected fields") {
		t.Errorf("closing a session: got %s, want an error about unexpected fields", a.body)
	}
	if a := post(t, s, "/logout", `{}`); a.status != 302 {
		t.Errorf("logout without a session: got status %d, want 302", a.status)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.SetAdmin("alice", true)
	session := "Cookie: " + s.Session("alice")
	for _, path := range []string{"/dashboard", "/tokens", "/blocks", "/unikernel/info", "/admin/users"} {
		a := fetch(t, s, path, session)
		if a.status != 200 || a.header("content-type") != "text/html" || len(a.header("X-MOLLY-CSRF")) != 48 ||
			!strings.Contains(a.body, `<p id="user">alice</p>`) {
			t.Errorf("GET %s: got %s\n%s\nwant a page with the user's name and a CSRF value", path, a.head, a.body)
		}
	}
}
