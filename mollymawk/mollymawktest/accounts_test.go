package mollymawktest

import (
	"strings"
	"testing"
	"time"
)

func post(t *testing.T, s *Server, target, body string, headers ...string) answer {
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
		t.Fatalf("got %s", a.head)
	}
	// The whole record comes along.
	for _, secret := range []string{token, strings.TrimPrefix(cookie, "molly_session="), `"password":"`, `"super_user":false`} {
		if !strings.Contains(a.body, secret) {
			t.Errorf("%s is not in %s", secret, a.body)
		}
	}
	if a := fetch(t, s, "/dashboard", "Cookie: "+cookie); a.status != 200 || !strings.Contains(a.body, "alice") {
		t.Errorf("dashboard: %d", a.status)
	}
	if a := fetch(t, s, "/sign-in", "Cookie: "+cookie); a.status != 302 || a.header("location") != "/dashboard" {
		t.Errorf("sign-in: %s", a.head)
	}
	s.SetActive("alice", false)
	wantEnvelope(t, post(t, s, "/api/login", good), 400, "", `"This account is not active"`)
}

// How a script gets a token: sign in, take a CSRF value off a page, create.
func TestTokenRoutes(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := New(t, Options{Clock: clock.Now})
	session := "Cookie: " + s.Session("alice")
	csrf := fetch(t, s, "/tokens", session).header("X-MOLLY-CSRF")
	a := post(t, s, "/api/tokens/create", `{"token_name":"ci","token_expiry":60,"molly_csrf":"`+csrf+`"}`, session)
	value, rest, _ := strings.Cut(strings.TrimPrefix(a.body, `{"status":200,"title":"200","success":true,"data":{"token_type":"Bearer","value":"`), `"`)
	const fields = `,"expires_in":60,"created_at":"2026-08-21 12:00:00-00:00","last_access":"2026-08-21 12:00:00-00:00","name":"ci","usage_count":0}}`
	if len(value) != 36 || value[14] != '4' || rest != fields {
		t.Fatalf("got %s", a.body)
	}
	if a := fetch(t, s, "/api/unikernels", bearer(value)); a.status != 200 {
		t.Errorf("new token: %s", a.body)
	}
	// An expired token comes back to life; its last access never moves.
	clock.add(time.Minute)
	if a := fetch(t, s, "/api/unikernels", bearer(value)); a.status != 400 {
		t.Errorf("expired token: %s", a.body)
	}
	a = post(t, s, "/api/tokens/update", `{"token_name":"ci2","token_expiry":600,"token_value":"`+value+`","molly_csrf":"`+csrf+`"}`, session)
	wantEnvelope(t, a, 200, "", `{"token_type":"Bearer","value":"`+value+`","expires_in":600,"created_at":"2026-08-21 12:00:00-00:00",`+
		`"last_access":"2026-08-21 12:00:00-00:00","name":"ci2","usage_count":1}`)
	if a := fetch(t, s, "/api/unikernels", bearer(value)); a.status != 200 {
		t.Errorf("revived token: %s", a.body)
	}
	clock.add(3 * time.Minute)
	page := fetch(t, s, "/tokens", session)
	row := `<td>ci2</td><td>Bearer ` + value + `</td><td>2</td><td>2026-08-21 12:00:00-00:00</td><td>2026-08-21 12:10:00-00:00</td><td>4 m ago</td>`
	if !strings.Contains(page.body, row) || !strings.Contains(page.body, "API Keys (1)") || !strings.Contains(page.body, "<title>Tokens | Mollymawk</title>") {
		t.Errorf("page %s", page.body)
	}

	wantEnvelope(t, post(t, s, "/api/tokens/update", `{"token_name":"","token_expiry":1,"token_value":"x","molly_csrf":"`+csrf+`"}`, session),
		404, "", `"Token not found"`)
	wantEnvelope(t, post(t, s, "/api/tokens/create", `{"token_expiry":1.5,"token_name":"","molly_csrf":"`+csrf+`"}`, session), 400, "",
		`"Create token: Unexpected fields. Got {\\\"token_expiry\\\":1.5,\\\"token_name\\\":\\\"\\\",\\\"molly_csrf\\\":\\\"`+csrf+`\\\"}"`)
	for range 2 { // the second time there is none
		wantEnvelope(t, post(t, s, "/api/tokens/delete", `{"token_value":"`+value+`","molly_csrf":"`+csrf+`"}`, session),
			200, "", `"Token deleted successfully"`)
	}
	if a := fetch(t, s, "/api/unikernels", bearer(value)); a.status != 400 {
		t.Errorf("deleted token: %s", a.body)
	}
	wantEnvelope(t, post(t, s, "/api/tokens/create", `{"token_name":"ci","token_expiry":60}`, session), 400, "", `"Couldn't find CSRF token"`)
	s.SetFaults(Faults{Storage: "full"})
	wantEnvelope(t, post(t, s, "/api/tokens/create", `{"token_name":"ci","token_expiry":60,"molly_csrf":"`+csrf+`"}`, session), 500, "", `"full"`)
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	page := fetch(t, s, "/sign-up")
	csrf := page.header("X-MOLLY-CSRF")
	cookie := "Cookie: molly_csrf=" + csrf
	if page.header("Set-Cookie") != "molly_csrf="+csrf+";Path=/;HttpOnly=true" {
		t.Errorf("head %s", page.head)
	}
	body := func(name, email, password, csrf string) string {
		return `{"name":"` + name + `","email":"` + email + `","password":"` + password + `","form_csrf":"` + csrf + `"}`
	}
	const mismatch = `"CSRF token mismatch error. Please referesh and try again."`
	wantEnvelope(t, post(t, s, "/api/register", body("molly", "m@x.y", "password", csrf)), 400, "", mismatch)
	wantEnvelope(t, post(t, s, "/api/register", body("molly", "m@x.y", "password", "x"), cookie), 400, "", mismatch)
	wantEnvelope(t, post(t, s, "/api/register", body("abc", "m@x.y", "password", csrf), cookie), 400, "", `"Name must be at least 3 characters long."`)
	wantEnvelope(t, post(t, s, "/api/register", body("mo_ly", "m@x.y", "password", csrf), cookie), 400, "", `"`+badLabel+`"`)
	a := post(t, s, "/api/register", body("Molly", "m@x.y", "password", csrf), cookie)
	if a.status != 200 || !strings.Contains(a.body, `"name":"molly"`) || !strings.Contains(a.body, `"active":true,"super_user":true`) {
		t.Errorf("first: %s", a.body)
	}
	wantEnvelope(t, post(t, s, "/api/register", body("molly", "n@x.y", "password", csrf), cookie), 400, "", `"A user with this name already exist."`)
	wantEnvelope(t, post(t, s, "/api/register", body("other", "m@x.y", "password", csrf), cookie), 400, "", `"A user with this email already exist."`)
	a = post(t, s, "/api/register", body("other", "o@x.y", "password", csrf), cookie)
	if a.status != 200 || !strings.Contains(a.body, `"active":false,"super_user":false`) {
		t.Errorf("second: %s", a.body)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	mine, other := s.Session("alice"), s.Session("alice")
	csrf := `"molly_csrf":"` + s.CSRF("alice") + `"`
	value := strings.TrimPrefix(other, "molly_session=")
	alive := func(session string) bool { return fetch(t, s, "/api/unikernels", "Cookie: "+session).status == 200 }

	wantEnvelope(t, post(t, s, "/api/account/session/close", `{"session_value":"`+value+`",`+csrf+`}`, "Cookie: "+mine), 200, "", `"Session closed successfully"`)
	if alive(other) || !alive(mine) {
		t.Error("the wrong session was closed")
	}
	other = s.Session("alice")
	wantEnvelope(t, post(t, s, "/api/account/sessions/close", `{`+csrf+`}`, "Cookie: "+mine), 200, "", `"Closed all sessions successfully"`)
	if alive(other) || !alive(mine) {
		t.Error("the wrong sessions were closed")
	}
	const change = `{"current_password":"` + Password + `","new_password":"longer than that","confirm_password":"longer than that",`
	wantEnvelope(t, post(t, s, "/account/password/update", change+csrf+`}`, "Cookie: "+mine), 200, "", `"Updated password successfully"`)
	wantEnvelope(t, post(t, s, "/account/password/update", change+csrf+`}`, "Cookie: "+mine), 400, "", `"The current password entered is wrong."`)
	wantEnvelope(t, post(t, s, "/logout", `{`+csrf+`}`, "Cookie: "+mine), 200, "", `"Logout successful"`)
	if alive(mine) {
		t.Error("still signed in")
	}
	if a := post(t, s, "/logout", `{}`, "Cookie: "+mine); a.status != 302 {
		t.Errorf("logout twice: %d", a.status)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Instances: []string{"one", "two"}})
	s.SetAdmin("alice", true)
	s.AddUnikernel("alice", "one", "hello")
	s.AddBlock("alice", "one", "v1", 4, nil)
	session := "Cookie: " + s.Session("alice")
	for target, text := range map[string]string{
		"/dashboard":                        "hello",
		"/account":                          "alice@example.com",
		"/tokens":                           "API Keys (0)",
		"/blocks?instance=one":              "4 MB",
		"/usage?instance=one":               "1 of 20 unikernels",
		"/select/instance?callback=/blocks": `/blocks?instance=two`,
		"/verify-email":                     "alice@example.com",
		"/unikernel/info?instance=one&unikernel=hello":   "cpuids",
		"/unikernel/update?instance=one&unikernel=hello": "cpuids",
		"/unikernel/deploy?instance=one":                 "unikernel_config",
		"/admin/users":                                   "alice@example.com",
		"/admin/settings/albatross":                      "two",
		"/admin/settings/email":                          "<pre>{}</pre>",
		"/admin/albatross/errors?instance=one":           "Albatross Errors",
	} {
		a := fetch(t, s, target, session)
		if a.status != 200 || a.header("content-type") != "text/html" || len(a.header("X-MOLLY-CSRF")) != 48 || !strings.Contains(a.body, text) {
			t.Errorf("%s: %s\n%s", target, a.head, a.body)
		}
	}
	a := fetch(t, s, "/unikernel/console?instance=one&unikernel=hello", session)
	if a.status != 200 || !strings.Contains(a.body, "console-output") {
		t.Errorf("console: %d", a.status)
	}
	a = fetch(t, s, "/blocks", session)
	if a.status != 302 || a.header("location") != "/select/instance?callback=%2Fblocks" {
		t.Errorf("blocks without instance: %s", a.head)
	}
	wantPage(t, fetch(t, s, "/unikernel/info?instance=one&unikernel=x", session), 500, "500",
		"An error "+occurred+" trying to fetch xfrom albatross: Expected one unikernel, but got 0")
	wantPage(t, fetch(t, s, "/admin/user/profile?uuid=x", session), 404, "404", "Couldn't find account with uuid: x")
	s.SetFaults(Faults{Storage: "full"})
	wantEnvelope(t, fetch(t, s, "/dashboard", session), 500, "", `"full"`)
}

func TestVerifyEmail(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	session := "Cookie: " + s.Session("alice")
	fetch(t, s, "/verify-email", session)
	s.mu.Lock()
	link := s.user("alice").verification
	s.mu.Unlock()
	if a := fetch(t, s, "/auth/verify?token=x", session); a.status != 302 || a.header("location") != "/sign-in" {
		t.Errorf("wrong link: %s", a.head)
	}
	for _, want := range []string{"/dashboard", "/sign-in"} { // a link works once
		if a := fetch(t, s, "/auth/verify?token="+link, session); a.status != 302 || a.header("location") != want {
			t.Errorf("link: %s, want %s", a.head, want)
		}
	}
}

func TestTimeAgo(t *testing.T) {
	t.Parallel()
	now := newClock().Now()
	for seconds, want := range map[int]string{
		-5: "-5 s ago", 0: "0 s ago", 59: "59 s ago", 60: "1 m ago", 3599: "59 m ago", 3600: "1 h ago", 86399: "23 h ago",
		259200: "3 d ago", 604799: "6 d ago", 604800: "1 w ago", 2591999: "4 w ago", 2592000: "1 mo ago", 4838400: "2 mo ago",
		31535999: "13 mo ago", 31536000: "1 y ago",
	} {
		if got := timeAgo(now, now.Add(-time.Duration(seconds)*time.Second)); got != want {
			t.Errorf("%d: got %s, want %s", seconds, got, want)
		}
	}
}
