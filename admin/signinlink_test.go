package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

const linkSite = "https://keys.example.com"

// newLinkSite returns a site and Caddy's admin endpoint, which share sessions.
func newLinkSite(t *testing.T) (site, console *fixture) {
	t.Helper()
	site, console = newSite(t)
	console.config.OperatorSessions = site.config.Bearer.Sessions
	console.handler = New(console.config)
	return site, console
}

// link creates a sign-in link and returns its code.
func (f *fixture) link(headers ...string) string {
	f.t.Helper()
	w := f.do(http.MethodPost, "/sign-in-links", "", headers...)
	var link struct {
		Code    string
		Expires string `json:"expires_at"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &link); err != nil || w.Code != http.StatusCreated || len(link.Code) < 26 {
		f.t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	return link.Code
}

// useLink signs in with a code and returns the response and the session cookie, if any.
func (f *fixture) useLink(code string, headers ...string) (*httptest.ResponseRecorder, *http.Cookie) {
	f.t.Helper()
	w := f.do(http.MethodPost, linkSite+"/session", `{"code":"`+code+`"}`, headers...)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK {
		if len(cookies) > 0 {
			f.t.Errorf("the refusal set a cookie: %v", cookies)
		}
		return w, nil
	}
	return w, cookies[0]
}

// TestSignInLink verifies that a link from Caddy's admin endpoint works once, has full access,
// and is recorded, but not with its code.
func TestSignInLink(t *testing.T) {
	t.Parallel()
	f, console := newLinkSite(t)
	code := console.link()
	w, cookie := f.useLink(code)
	if want := `{"actor":"caddy-admin","name":null,"expires_at":"2026-03-02T00:00:00Z"}`; w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	if got := f.do(http.MethodGet, linkSite+"/session", "", with(cookie)); got.Body.String() != w.Body.String() {
		t.Errorf("got response %s", got.Body)
	}
	if got := f.do(http.MethodPost, linkSite+"/tokens", goodBody, with(cookie)); got.Code != http.StatusCreated ||
		!strings.Contains(got.Body.String(), `"created_by":"caddy-admin"`) {
		t.Errorf("got status %d and body %s", got.Code, got.Body)
	}
	second, _ := f.useLink(code)
	f.refused(second, 403, "sign_in_link_ended")
	audit := console.do(http.MethodGet, "/audit", "").Body.String()
	for _, action := range []string{"create", "use"} {
		if n := strings.Count(audit, `"actor":"caddy-admin","action":"`+action+` sign-in link"`); n != 1 {
			t.Errorf("the audit log has %d entries about %s: %s", n, action, audit)
		}
	}
	for _, line := range append(f.logs.All(), console.logs.All()...) {
		if strings.Contains(line.Message+strings.Join(fieldTexts(line.ContextMap()), " "), code) {
			t.Errorf("the log contains the code: %s", line.Message)
		}
	}
	if strings.Contains(audit+w.Body.String()+second.Body.String(), code) || strings.Contains(cookie.Value, code) {
		t.Error("the code appears in a response")
	}
	// The session ends like any other.
	f.pass(12 * time.Hour)
	console.pass(12 * time.Hour)
	f.refused(f.do(http.MethodGet, linkSite+"/tokens", "", with(cookie)), 401, "missing_token")
}

// TestSignInLinkEnds verifies when a link can't be used, and that nobody can tell a link that
// has ended from one that never existed.
func TestSignInLinkEnds(t *testing.T) {
	t.Parallel()
	f, console := newLinkSite(t)
	never, _ := f.useLink("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	f.refused(never, 403, "sign_in_link_ended")
	code := console.link()
	console.pass(10*time.Minute - time.Second)
	if w, _ := f.useLink(code); w.Code != http.StatusOK {
		t.Errorf("before ten minutes: got status %d and body %s", w.Code, w.Body)
	}
	code = console.link()
	console.pass(10 * time.Minute)
	late, _ := f.useLink(code)
	if late.Code != never.Code || late.Body.String() != never.Body.String() {
		t.Errorf("after ten minutes: got status %d and body %s", late.Code, late.Body)
	}
	for _, wrong := range []string{"", " ", code + "x", strings.ToLower(code)} {
		if w, _ := f.useLink(wrong); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%q: got status %d and body %s", wrong, w.Code, w.Body)
		}
	}
	// A code that was sent in plain text can't be used again.
	code = console.link()
	f.refused(f.do(http.MethodPost, "http://keys.example.com/session", `{"code":"`+code+`"}`), 403,
		"insecure_connection")
	again, _ := f.useLink(code)
	f.refused(again, 403, "sign_in_link_ended")
	// Pages on other sites can neither use a link nor use it up.
	code = console.link()
	cross, _ := f.useLink(code, "Origin: https://evil.example")
	f.refused(cross, 403, "cross_site")
	if w, _ := f.useLink(code); w.Code != http.StatusOK {
		t.Errorf("after a request from another site: got status %d", w.Code)
	}
	_, secret := console.create(`{"kind":"admin"}`)
	f.refused(f.do(http.MethodPost, linkSite+"/session", `{"token":"`+secret+`","code":"`+console.link()+`"}`), 400,
		"invalid_field", "field=code")
}

// TestSignInLinkOfToken verifies that a link from an admin token has the token's rights and
// restrictions, and ends with the token.
func TestSignInLinkOfToken(t *testing.T) {
	t.Parallel()
	f, console := newLinkSite(t)
	id, secret := console.create(`{"kind":"admin","name":"carol","expires_in":"1d"}`)
	bearer := "Authorization: Bearer " + secret
	w, cookie := f.useLink(f.link(bearer))
	if !strings.Contains(w.Body.String(), `"actor":"`+id+`","name":"carol"`) {
		t.Errorf("got %s", w.Body)
	}
	pending := f.link(bearer)
	console.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"0s"}`)
	f.refused(f.do(http.MethodGet, linkSite+"/tokens", "", with(cookie)), 401, "unknown_token")
	refused, _ := f.useLink(pending)
	f.refused(refused, 401, "unknown_token")
	for name, end := range map[string]func(id string){
		"revoked":  func(id string) { console.do(http.MethodPost, "/tokens/"+id+"/revoke", "") },
		"disabled": func(id string) { console.do(http.MethodPost, "/tokens/"+id+"/disable", "") },
		"deleted":  func(id string) { console.do(http.MethodDelete, "/tokens/"+id, "") },
		"address": func(id string) {
			console.do(http.MethodPatch, "/tokens/"+id, `{"allowed_ips":["203.0.113.1"]}`)
		},
	} {
		id, secret := console.create(`{"kind":"admin","expires_in":"1d"}`)
		code := f.link("Authorization: Bearer " + secret)
		end(id)
		for range 2 {
			if w, _ := f.useLink(code); w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
				t.Errorf("%s: got status %d", name, w.Code)
			}
		}
	}
}

// TestSignInLinkCallers verifies who can create links.
func TestSignInLinkCallers(t *testing.T) {
	t.Parallel()
	f, console := newLinkSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	_, session := f.signIn(linkSite, secret)
	_, operator := f.useLink(console.link())
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		f.refused(f.do(method, linkSite+"/sign-in-links", ""), 401, "missing_token")
		for _, cookie := range []*http.Cookie{session, operator} { // a session can't extend itself
			f.refused(f.do(method, linkSite+"/sign-in-links", "", with(cookie)), 403, "sign_in_link_not_allowed")
		}
		_, api := console.create(`{}`)
		f.refused(f.do(method, linkSite+"/sign-in-links", "", "Authorization: Bearer "+api), 403, "wrong_kind")
	}
	f.refused(f.do(http.MethodPost, linkSite+"/sign-in-links", `{"x":1}`, "Authorization: Bearer "+secret), 400,
		"invalid_field")
	// A user that the site trusts has no need for links.
	trusting := newFixture(t, func(c *Config) {
		*c = f.config
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) { return tokenstore.Actor{Name: "dave"}, nil }
	})
	trusting.refused(trusting.do(http.MethodPost, linkSite+"/sign-in-links", ""), 403, "sign_in_link_not_allowed")
	// Without sessions, there are no links.
	plain := newFixture(t)
	plain.refused(plain.do(http.MethodPost, "/sign-in-links", ""), 404, "not_found")
}

// TestEndSignInLinks verifies that a caller can end its links and sessions, and no others.
func TestEndSignInLinks(t *testing.T) {
	t.Parallel()
	f, console := newLinkSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	_, other := f.signIn(linkSite, secret)
	_, open := f.useLink(console.link())
	_, signsOut := f.useLink(console.link())
	code, kept := console.link(), f.link("Authorization: Bearer "+secret)
	if w := console.do(http.MethodDelete, "/sign-in-links", ""); w.Code != http.StatusNoContent {
		t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	for _, cookie := range []*http.Cookie{open, signsOut} {
		f.refused(f.do(http.MethodGet, linkSite+"/tokens", "", with(cookie)), 401, "missing_token")
	}
	ended, _ := f.useLink(code)
	f.refused(ended, 403, "sign_in_link_ended")
	if w := f.do(http.MethodGet, linkSite+"/tokens", "", with(other)); w.Code != http.StatusOK {
		t.Errorf("another session: got status %d", w.Code)
	}
	if w, _ := f.useLink(kept); w.Code != http.StatusOK {
		t.Errorf("another caller's link: got status %d", w.Code)
	}
	_, open = f.useLink(console.link())
	_, second := f.useLink(console.link())
	w := f.do(http.MethodDelete, linkSite+"/session?everywhere=true", "", with(open))
	if w.Code != http.StatusNoContent {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
	f.refused(f.do(http.MethodGet, linkSite+"/tokens", "", with(second)), 401, "missing_token")
}
