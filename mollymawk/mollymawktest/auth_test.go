package mollymawktest

import (
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	token := s.AddToken("alice", "gate", time.Minute)
	inactive := s.AddToken("bob", "gate", time.Hour)
	s.SetActive("bob", false)
	session := "Cookie: " + s.Session("alice")

	const none = `"No molly-session in cookie header. User not found"`
	for name, test := range map[string]struct {
		headers []string
		data    string // empty if the token is accepted
	}{
		"token":              {[]string{bearer(token)}, ""},
		"unknown":            {[]string{bearer("x-y")}, `"Failed to find user with token x-y"`},
		"unknown with quote": {[]string{bearer(`a"b\c`)}, `"Failed to find user with token a\"b\\c"`},
		// The server trims the trailing space, so the value doesn't start with "Bearer ".
		"empty": {[]string{"Authorization: Bearer "}, none},
		"token in upper case": {[]string{bearer(strings.ToUpper(token))},
			`"Failed to find user with token ` + strings.ToUpper(token) + `"`},
		"two spaces": {[]string{"Authorization: Bearer  " + token},
			`"Failed to find user with token  ` + token + `"`},
		"inactive":                    {[]string{bearer(inactive)}, `"User account is deactivated"`},
		"no header":                   {nil, none},
		"scheme in lower case":        {[]string{"Authorization: bearer " + token}, none},
		"other scheme":                {[]string{"Authorization: Basic " + token}, none},
		"last token bad":              {[]string{bearer(token), bearer("bad")}, `"Failed to find user with token bad"`},
		"last token good":             {[]string{bearer("bad"), bearer(token)}, ""},
		"cookie":                      {[]string{session}, ""},
		"cookie among others":         {[]string{"Cookie: a=b; " + strings.TrimPrefix(session, "Cookie: ")}, ""},
		"last cookie header counts":   {[]string{session, "Cookie: a=b"}, none},
		"cookie and other scheme":     {[]string{session, "Authorization: Basic x"}, ""},
		"cookie and bad token":        {[]string{session, bearer("bad")}, `"Failed to find user with token bad"`},
		"unknown cookie":              {[]string{"Cookie: molly_session=abc"}, `"Failed to find user with cookie"`},
		"cookie with two equal signs": {[]string{"Cookie: molly_session=abc="}, none},
	} {
		a := fetch(t, s, "/api/unikernels", test.headers...)
		if test.data == "" {
			if a.status != 200 {
				t.Errorf("%s: got %d %s, want 200", name, a.status, a.body)
			}
			continue
		}
		if want := envelope(400, "", test.data); a.status != 400 || a.body != want {
			t.Errorf("%s: got %d %s\nwant %s", name, a.status, a.body, want)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	token := s.AddToken("alice", "gate", time.Minute)
	clock.add(time.Minute - time.Nanosecond)
	if a := fetch(t, s, "/api/unikernels", bearer(token)); a.status != 200 {
		t.Errorf("just before expiry: got %s, want status 200", a.body)
	}
	clock.add(time.Nanosecond)
	wantEnvelope(t, fetch(t, s, "/api/unikernels", bearer(token)), 400, "", `"Token value is not valid `+token+`"`)
	if n := usageCount(s, token); n != 1 {
		t.Errorf("got usage count %d, want 1", n)
	}
	for _, expiry := range []time.Duration{0, -time.Hour} {
		if a := fetch(t, s, "/api/unikernels", bearer(s.AddToken("alice", "", expiry))); a.status != 400 {
			t.Errorf("token with expiry %v: got status %d, want 400", expiry, a.status)
		}
	}
}

// TestUsageCount checks that every authenticated request counts, even if it fails, and that
// requests refused for their token or method don't count.
func TestUsageCount(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	postJSON(t, s, token, "/api/unikernel/destroy", `{"name":"x","albatross_instance":"nowhere"}`)
	fetch(t, s, "/api/unikernel/console?instance=default", bearer(token))
	if n := usageCount(s, token); n != 2 {
		t.Errorf("got usage count %d after two uses, want 2", n)
	}
	fetch(t, s, "/api/unikernel/destroy", bearer(token))
	fetch(t, s, "/nowhere", bearer(token))
	fetch(t, s, "/tokens", bearer(token))
	s.SetActive("alice", false)
	fetch(t, s, "/api/unikernels", bearer(token))
	s.SetActive("alice", true)
	if n := usageCount(s, token); n != 2 {
		t.Errorf("got usage count %d after refusals, want 2", n)
	}
	s.RevokeToken(token)
	wantEnvelope(t, fetch(t, s, "/api/unikernels", bearer(token)), 400, "",
		`"Failed to find user with token `+token+`"`)
	if n := usageCount(s, token); n != -1 {
		t.Errorf("got usage count %d for a deleted token, want -1", n)
	}
}

// TestSessionRoutes checks that routes for sessions refuse tokens and that routes for
// administrators refuse other users' sessions.
func TestSessionRoutes(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	session := "Cookie: " + s.Session("alice")
	const none = `"No molly-session in cookie header. User not found"`
	for _, path := range []string{"/api/tokens/create", "/api/tokens/update", "/api/tokens/delete",
		"/api/admin/user/admin/toggle"} {
		wantEnvelope(t, postJSON(t, s, token, path, "{}"), 400, "", none)
	}
	for _, path := range []string{"/dashboard", "/tokens", "/account", "/blocks", "/usage", "/select/instance",
		"/admin/users", "/unikernel/info"} {
		a := fetch(t, s, path, bearer(token))
		const flash = "flash_msg=error: No%20molly-session%20in%20cookie%20header.%20User%20not%20found;Path=/;"
		if a.status != 302 || a.header("location") != "/sign-in" ||
			!strings.Contains(a.head, "Set-Cookie: molly_session=; Path=/; HttpOnly=true;\r\nSet-Cookie: "+flash+
				"\r\n") ||
			!strings.Contains(a.body, "<title>Redirecting</title>") {
			t.Errorf("%s: got %s, want a redirect to the sign-in page", path, a.head)
		}
	}
	const forbidden = "You don't have the necessary permissions to access this service."
	wantEnvelope(t, roundTrip(t, s, message("POST", "/api/admin/user/admin/toggle", "{}", session)), 400, "",
		`"`+forbidden+`"`)
	if a := fetch(t, s, "/admin/users", session); a.status != 302 {
		t.Errorf("GET /admin/users as a user: got status %d, want 302", a.status)
	}
	s.SetAdmin("alice", true)
	if a := fetch(t, s, "/admin/users", session); a.status != 200 {
		t.Errorf("GET /admin/users as an administrator: got status %d, want 200", a.status)
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	session := "Cookie: " + s.Session("alice")
	clock.add(7*24*time.Hour - time.Second)
	if a := fetch(t, s, "/api/unikernels", session); a.status != 200 {
		t.Errorf("in the session's last second: got %s, want status 200", a.body)
	}
	clock.add(time.Second)
	wantEnvelope(t, fetch(t, s, "/api/unikernels", session), 400, "", `"Session value doesn't match user session"`)
}

// TestCSRF checks that changes made with a session require a valid CSRF value.
func TestCSRF(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	session := "Cookie: " + s.Session("alice")
	destroy := func(csrf string) response {
		return roundTrip(t, s,
			message("POST", "/api/unikernel/destroy", `{`+csrf+`"name":"x","albatross_instance":"default"}`, session))
	}
	wantEnvelope(t, destroy(""), 400, "", `"Couldn't find CSRF token"`)
	wantEnvelope(t, destroy(`"molly_csrf":"x",`), 400, "Missing CSRF Token",
		`"Missing CSRF token. Please refresh and try again."`)
	bobs := s.CSRF("bob")
	wantEnvelope(t, destroy(`"molly_csrf":"`+bobs+`",`), 400, "Missing CSRF Token",
		`"Missing CSRF token. Please refresh and try again."`)
	csrf := s.CSRF("alice")
	wantEnvelope(t, destroy(`"molly_csrf":"`+csrf+`",`), 500, "", `"failure: destroy: not found"`)
	clock.add(time.Hour)
	wantEnvelope(t, destroy(`"molly_csrf":"`+csrf+`",`), 400, "CSRF Token Mismatch",
		`"Invalid CSRF token error. Please refresh and try again."`)
}
