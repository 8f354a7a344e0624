package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

const (
	secureCookie = "__Host-mollygate_session"
	plainCookie  = "mollygate_session"
)

// signIn signs in to a site and returns the response and the session cookie, if any.
func (f *fixture) signIn(site, secret string, headers ...string) (*httptest.ResponseRecorder, *http.Cookie) {
	f.t.Helper()
	w := f.do(http.MethodPost, site+"/session", `{"token":"`+secret+`"}`, headers...)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK {
		if len(cookies) > 0 {
			f.t.Errorf("the refusal set a cookie: %v", cookies)
		}
		return w, nil
	}
	if len(cookies) != 1 {
		f.t.Fatalf("got %d cookies, want 1", len(cookies))
	}
	return w, cookies[0]
}

func with(cookie *http.Cookie) string { return "Cookie: " + cookie.Name + "=" + cookie.Value }

// TestSession signs in, makes calls, and signs out. Calls with the cookie are refused if
// they come from pages on other sites.
func TestSession(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	id, secret := console.create(`{"kind":"admin","name":"carol"}`)
	f.refused(f.do(http.MethodGet, site+"/session", ""), 401, "missing_token")
	w, cookie := f.signIn(site, secret)
	if want := `{"actor":"` + id + `","name":"carol","expires_at":"2026-03-02T00:00:00Z"}`; w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	if cookie.Name != secureCookie || !cookie.Secure || !cookie.HttpOnly ||
		cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" ||
		cookie.MaxAge != 12*60*60 {
		t.Errorf("got cookie %s", cookie)
	}
	if len(cookie.Value) < 26 || strings.Contains(secret, cookie.Value) ||
		strings.Contains(w.Body.String(), cookie.Value) {
		t.Errorf("got cookie %s", cookie)
	}
	if got := f.do(http.MethodGet, site+"/session", "", with(cookie)); got.Body.String() != w.Body.String() {
		t.Errorf("got response %s", got.Body)
	}
	if got := f.do(http.MethodPost, site+"/tokens", goodBody, with(cookie)); got.Code != http.StatusCreated ||
		!strings.Contains(got.Body.String(), `"created_by":"`+id+`"`) {
		t.Errorf("got status %d and body %s", got.Code, got.Body)
	}
	// Browsers without SameSite support send the cookie with forms from other sites.
	for _, header := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site",
		"Sec-Fetch-Site: same-site"} {
		f.refused(f.do(http.MethodPost, site+"/tokens", goodBody, with(cookie), header), 403, "cross_site")
		f.refused(f.do(http.MethodDelete, site+"/session", "", with(cookie), header), 403, "cross_site")
		if w, _ := f.signIn(site, secret, header); w.Code != http.StatusForbidden {
			t.Errorf("%s: the sign-in succeeded", header)
		}
	}
	// Over TLS, a cookie without the __Host- prefix is ignored: an attacker could have set it
	// over plain HTTP.
	f.refused(f.do(http.MethodGet, site+"/session", "", "Cookie: "+plainCookie+"="+cookie.Value), 401, "missing_token")
	// An Authorization header takes precedence over the session.
	f.refused(f.do(http.MethodGet, site+"/session", "", with(cookie), "Authorization: Bearer x"), 401,
		"malformed_token")
	// The session survives a configuration reload.
	again := newFixture(t, func(c *Config) { *c = f.config })
	if got := again.do(http.MethodGet, site+"/session", "", with(cookie)); got.Code != http.StatusOK {
		t.Errorf("after a reload: got status %d", got.Code)
	}
	for _, bad := range []string{"", "x", cookie.Value + "x", strings.ToLower(cookie.Value), secret} {
		if got := f.do(http.MethodGet, site+"/session", "",
			"Cookie: "+secureCookie+"="+bad); got.Code != http.StatusUnauthorized {
			t.Errorf("%q: got status %d", bad, got.Code)
		}
	}

	out := f.do(http.MethodDelete, site+"/session", "", with(cookie))
	if out.Code != http.StatusNoContent ||
		!strings.Contains(out.Header().Get("Set-Cookie"), secureCookie+"=; Path=/; Max-Age=0") {
		t.Errorf("signing out: got status %d and headers %s", out.Code, out.Header())
	}
	f.refused(f.do(http.MethodGet, site+"/session", "", with(cookie)), 401, "missing_token")
	for _, line := range f.logs.All() {
		if text := line.Message + " " + strings.Join(fieldTexts(line.ContextMap()), " "); strings.Contains(text,
			cookie.Value) || strings.Contains(text, secret) {
			t.Errorf("the log contains a secret: %s", line.Message)
		}
	}
}

func fieldTexts(fields map[string]any) (texts []string) {
	for _, value := range fields {
		if text, ok := value.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// TestSessionEnds verifies that a session ends when its lifetime expires and when its token
// becomes invalid.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	for name, end := range map[string]func(console *fixture, id string){
		"twelve hours": func(console *fixture, _ string) { console.pass(12 * time.Hour) },
		"revoked":      func(console *fixture, id string) { console.do(http.MethodPost, "/tokens/"+id+"/revoke", "") },
		"disabled":     func(console *fixture, id string) { console.do(http.MethodPost, "/tokens/"+id+"/disable", "") },
		"deleted":      func(console *fixture, id string) { console.do(http.MethodDelete, "/tokens/"+id, "") },
		"rotated": func(console *fixture, id string) {
			console.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"0s"}`)
		},
		"address": func(console *fixture, id string) {
			console.do(http.MethodPatch, "/tokens/"+id, `{"allowed_ips":["203.0.113.1"]}`)
		},
	} {
		f, console := newSite(t)
		id, secret := console.create(`{"kind":"admin","expires_in":"1d"}`)
		_, cookie := f.signIn(site, secret)
		console.pass(12*time.Hour - time.Second)
		if got := f.do(http.MethodGet, site+"/tokens", "", with(cookie)); got.Code != http.StatusOK {
			t.Errorf("%s: got status %d before the session ended", name, got.Code)
		}
		console.pass(-12*time.Hour + time.Second)
		end(console, id)
		for range 2 {
			if got := f.do(http.MethodGet, site+"/tokens", "", with(cookie)); got.Code != http.StatusUnauthorized &&
				got.Code != http.StatusForbidden {
				t.Errorf("%s: got status %d after the session ended", name, got.Code)
			}
		}
	}
}

// TestSignInRefuses verifies that a sign-in is refused for the same reasons as a bearer
// token, and also if it arrives over plain HTTP from another machine.
func TestSignInRefuses(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	_, api := console.create(`{}`)
	for _, test := range []struct {
		site, body string
		status     int
		code       string
	}{
		{site, `{}`, 400, "invalid_field"},
		{site, `{"token":null}`, 400, "invalid_field"},
		{site, `{"token":1}`, 400, "invalid_field"},
		{site, `{"token":"` + secret + `","remember":true}`, 400, "invalid_field"},
		{site, `{"token":" "}`, 400, "invalid_field"},
		{site, `{"token":"a b"}`, 400, "invalid_request"},
		{site, `{"token":"x"}`, 401, "malformed_token"},
		{site, `{"token":"` + api + `"}`, 403, "wrong_kind"},
		{"http://keys.example.com", `{"token":"` + secret + `"}`, 403, "insecure_connection"},
		{"http://192.0.2.1:8080", `{"token":"` + secret + `"}`, 403, "insecure_connection"},
		{"http://localhost.example.com", `{"token":"` + secret + `"}`, 403, "insecure_connection"},
	} {
		w := f.do(http.MethodPost, test.site+"/session", test.body)
		f.refused(w, test.status, test.code)
		if test.code == "insecure_connection" && !strings.Contains(w.Body.String(), "trusted_proxies") {
			t.Errorf("%s: the detail doesn't mention trusted_proxies: %s", test.site, w.Body)
		}
		if w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: got headers %v and body %s", test.body, w.Header(), w.Body)
		}
	}
	for _, site := range []string{"http://localhost:8080", "http://keys.localhost", "http://127.0.0.1:8080",
		"http://[::1]:8080", "https://keys.example.com"} {
		_, cookie := f.signIn(site, " "+secret+" ") // pasted with spaces
		if cookie == nil || cookie.Secure != strings.HasPrefix(site, "https") ||
			(cookie.Name == secureCookie) != cookie.Secure {
			t.Errorf("%s: got %v", site, cookie)
		} else if got := f.do(http.MethodGet, site+"/tokens", "", with(cookie)); got.Code != http.StatusOK {
			t.Errorf("%s: got status %d", site, got.Code)
		}
	}
	// Guessing is throttled, as with bearer tokens.
	for range 40 {
		f.do(http.MethodPost, site+"/session", `{"token":"x"}`)
	}
	f.refused(f.do(http.MethodPost, site+"/session", `{"token":"x"}`), 429, "too_many_failures")
	// Without sessions, there is no sign-in.
	f.refused(console.do(http.MethodPost, "/session", `{"token":"`+secret+`"}`), 404, "not_found")
	away := newFixture(t, func(c *Config) {
		*c = f.config
		c.Store = func(context.Context) (*tokenstore.Store, error) { return nil, tokenstore.ErrUnavailable }
		c.Bearer.Store = c.Store
		c.Authenticate = BearerAuthenticator(*c.Bearer)
	})
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		body := ""
		if method == http.MethodPost {
			body = `{"token":"` + secret + `"}`
		}
		away.refused(away.do(method, site+"/session", body, "Cookie: "+secureCookie+"=x"), 503, "store_unavailable")
	}
}

// TestSessionOutlivesStoreErrors verifies that a store error doesn't end a session.
func TestSessionOutlivesStoreErrors(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	_, secret := console.create(`{"kind":"admin"}`)
	_, cookie := f.signIn(site, secret)
	closed := newFixture(t)
	console.store.Values().Each(sessionKey, func(key string, value []byte) bool {
		if err := closed.store.Values().Put(t.Context(), key, value, sessionLifetime); err != nil {
			t.Error(err)
		}
		return true
	})
	if err := closed.store.Close(); err != nil {
		t.Fatal(err)
	}
	away := newFixture(t, func(c *Config) {
		*c = f.config
		bearer := *f.config.Bearer
		c.Store = func(context.Context) (*tokenstore.Store, error) { return closed.store, nil }
		bearer.Store = c.Store
		c.Bearer, c.Authenticate = &bearer, BearerAuthenticator(bearer)
	})
	away.refused(away.do(http.MethodGet, site+"/tokens", "", with(cookie)), 503, "store_unavailable")
	if got := f.do(http.MethodGet, site+"/tokens", "", with(cookie)); got.Code != http.StatusOK {
		t.Errorf("got status %d and body %s", got.Code, got.Body)
	}
}

// TestSessionsAreLimited verifies that new sessions, like new links, replace those that would
// expire first.
func TestSessionsAreLimited(t *testing.T) {
	t.Parallel()
	const most = 100
	values := new(tokenstore.MemoryValues)
	begin := func(now time.Time) string {
		t.Helper()
		value, _, err := put(t.Context(), values, sessionKey, owner{}, sessionLifetime, most, now)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	count := func() (n int) {
		eachSession(values, sessionKey, func(string, session) { n++ })
		return n
	}
	var begun []string
	for i := range most + 5 {
		begun = append(begun, begin(start.Add(time.Duration(i)*time.Second)))
	}
	for i, want := range map[int]bool{0: false, 4: false, 5: true, most + 4: true} {
		if exists := values.Get(valueKey(sessionKey, begun[i])) != nil; exists != want {
			t.Errorf("session %d exists: got %v, want %v", i, exists, want)
		}
	}
	if n := count(); n != most {
		t.Errorf("got %d sessions", n)
	}
	begin(start.Add(24 * time.Hour))
	if n := count(); n != 1 {
		t.Errorf("%d expired sessions remain", n-1)
	}
}

// TestSignOutEverywhere verifies that all sessions of the caller's token end, and no others.
func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	f, console := newSite(t)
	_, carol := console.create(`{"kind":"admin","name":"carol"}`)
	_, dave := console.create(`{"kind":"admin","name":"dave"}`)
	_, one := f.signIn(site, carol)
	_, two := f.signIn(site, carol)
	_, other := f.signIn(site, dave)
	f.refused(f.do(http.MethodDelete, site+"/session?everywhere=yes", "", with(one)), 400, "invalid_parameter",
		"parameter=everywhere")
	f.do(http.MethodDelete, site+"/session?everywhere=false", "", with(two))
	_, two = f.signIn(site, carol)
	if w := f.do(http.MethodDelete, site+"/session?everywhere=true", "", with(one)); w.Code != http.StatusNoContent {
		t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	for _, cookie := range []*http.Cookie{one, two} {
		f.refused(f.do(http.MethodGet, site+"/session", "", with(cookie)), 401, "missing_token")
	}
	if w := f.do(http.MethodGet, site+"/session", "", with(other)); w.Code != http.StatusOK {
		t.Errorf("another admin's session: got status %d", w.Code)
	}
}

// TestSharedSessions checks that a session that another gate has begun is found, that only texts
// that can be cookies are looked for, and that a session that can't be looked for isn't refused as
// ended.
func TestSharedSessions(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	var s Sessions
	begun := session{owner{name: "caddy-admin", operator: true}, start.Add(time.Hour)}
	cookie := strings.Repeat("A", len(rand.Text()))
	f.shared.Set(func(state *backendtest.SharedState) {
		state.OnSync = func() {
			value, err := begun.encode()
			if err == nil {
				err = f.store.Values().Put(t.Context(), valueKey(sessionKey, cookie), value, time.Hour)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	if _, ok, err := s.look(t.Context(), f.store, "x"); ok || err != nil || f.shared.Syncs() != 0 {
		t.Errorf("an invalid cookie: got %v, %v and %d Syncs", ok, err, f.shared.Syncs())
	}
	if found, ok, err := s.look(t.Context(), f.store, cookie); found != begun || !ok || err != nil {
		t.Errorf("another gate's session: got %+v, %v, %v", found, ok, err)
	}
	if n, err := s.endAll(t.Context(), f.store, "caddy-admin"); n != 1 || err != nil {
		t.Errorf("ended %d sessions, %v", n, err)
	}
	f.loseContact(time.Second)
	if _, ok, err := s.look(t.Context(), f.store, cookie); ok || !errors.Is(err, tokenstore.ErrBehind) {
		t.Errorf("without contact: got %v, %v", ok, err)
	}
	if _, err := s.endAll(t.Context(), f.store, "caddy-admin"); !errors.Is(err, tokenstore.ErrBehind) {
		t.Errorf("ending all sessions without contact: got %v", err)
	}
}

// TestSignInLinkLimits checks the number of sign-in links and how long they work.
func TestSignInLinkLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var s Sessions
	for range maxLinks + 1 {
		_, expires, err := s.addLink(t.Context(), f.store, owner{name: "x"})
		if want := start.Add(linkLifetime).Truncate(time.Second); err != nil || !expires.Equal(want) {
			t.Fatalf("got expiry %v, err %v, want %v", expires, err, want)
		}
	}
	n := 0
	eachSession(f.store.Values(), linkKey, func(string, session) { n++ })
	if n != maxLinks {
		t.Errorf("got %d links, want %d", n, maxLinks)
	}
}
