package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// meanwhile is a backend that calls happens before its next change, to simulate an event
// while the change waits for the disk.
type meanwhile struct {
	tokenstore.Backend
	happens atomic.Pointer[func()]
}

func (m *meanwhile) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	if happens := m.happens.Swap(nil); happens != nil {
		(*happens)()
	}
	return m.Backend.Apply(id, now, change)
}

// slowBody is a body that calls happens before its second half arrives.
type slowBody struct {
	text    string
	happens func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.text == "" {
		return 0, io.EOF
	}
	half := (len(b.text) + 1) / 2
	if b.happens == nil {
		half = len(b.text)
	}
	n := copy(p, b.text[:half])
	b.text = b.text[n:]
	if b.happens != nil {
		b.happens()
		b.happens = nil
	}
	return n, nil
}

// endingSite is a site for tests that end the caller's authorization during a call.
type endingSite struct {
	*fixture          // the site
	console  *fixture // needs no authentication
	backend  *meanwhile
	compat   http.Handler
	// victim is the ID of a token to change, and secret is its secret.
	victim, secret string
}

func newEndingSite(t *testing.T) *endingSite {
	t.Helper()
	s := &endingSite{backend: new(meanwhile)}
	s.console = newFixtureOver(t, func(b tokenstore.Backend) tokenstore.Backend {
		s.backend.Backend = b
		return s.backend
	})
	open := s.console.config.Store
	sessions := new(Sessions)
	s.fixture = newFixture(t, func(c *Config) {
		c.Store = open
		c.Bearer = &Bearer{
			Store: open, Prefixes: c.Policy.Prefixes, Realm: "mollygate admin",
			ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
			Sessions: func() *Sessions { return sessions },
			Secure:   func(*http.Request) bool { return true },
		}
		c.Authenticate = BearerAuthenticator(*c.Bearer)
	})
	s.compat = NewMollymawk(s.config)
	s.victim, s.secret = s.console.create(`{"name":"victim"}`)
	return s
}

// send makes an API call and calls happens in the middle of it: between the halves of the
// body or, without a body, before the change.
func (s *endingSite) send(method, path, body, credential string, happens func()) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if body != "" {
		r.Body = io.NopCloser(&slowBody{body, happens})
		r.ContentLength = int64(len(body))
		r.Header.Set("Content-Type", "application/json")
		if path == "/introspect" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	} else {
		s.backend.happens.Store(&happens)
	}
	name, value, _ := strings.Cut(credential, ": ")
	r.Header.Set(name, value)
	if strings.HasPrefix(path, MollymawkPath) {
		w := httptest.NewRecorder()
		s.compat.ServeHTTP(w, r)
		return w
	}
	return s.serve(r)
}

// authEnds lists the ways to end an admin token's authorization.
var authEnds = map[string]struct {
	end  func(console *fixture, id string)
	code string
}{
	"revoked":  {func(c *fixture, id string) { c.do(http.MethodPost, "/tokens/"+id+"/revoke", "") }, "revoked_token"},
	"disabled": {func(c *fixture, id string) { c.do(http.MethodPost, "/tokens/"+id+"/disable", "") }, "disabled_token"},
	"deleted":  {func(c *fixture, id string) { c.do(http.MethodDelete, "/tokens/"+id, "") }, "unknown_token"},
	"expired":  {func(c *fixture, _ string) { c.pass(24 * time.Hour) }, "expired_token"},
	"rotated without grace": {func(c *fixture, id string) {
		c.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"0s"}`)
	}, "unknown_token"},
	"rotated twice": {func(c *fixture, id string) {
		c.do(http.MethodPost, "/tokens/"+id+"/rotate", `{}`)
		c.do(http.MethodPost, "/tokens/"+id+"/rotate", `{}`)
	}, "unknown_token"},
	"past its grace": {func(c *fixture, id string) {
		c.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`)
		c.pass(time.Hour)
	}, "revoked_token"},
	"restricted to another address": {func(c *fixture, id string) {
		c.do(http.MethodPatch, "/tokens/"+id, `{"allowed_ips":["203.0.113.1"]}`)
	}, "ip_denied"},
	"not valid yet": {func(c *fixture, id string) {
		c.do(http.MethodPatch, "/tokens/"+id, `{"not_before":"2026-03-02T00:00:00Z"}`)
	}, "not_yet_valid"},
}

// bodyCalls are calls with a body that must not be carried out once the caller's
// authorization has ended.
var bodyCalls = []struct{ method, path, body string }{
	{http.MethodPost, "/tokens", `{"kind":"admin","name":"successor","expires_in":"90d"}`},
	{http.MethodPost, "/tokens", `{"name":"successor","preset":"full","expires_in":"90d"}`},
	{http.MethodPatch, "/tokens/$ID", `{"name":"changed"}`},
	{http.MethodPost, "/tokens/$ID/rotate", `{"grace":"0s"}`},
	{http.MethodPost, "/tokens/$ID/revoke", `{}`},
	{http.MethodPost, "/tokens/$ID/disable", `{}`},
	{http.MethodPost, "/tokens/$ID/enable", `{}`},
	{http.MethodPost, "/clock", `{}`},
	{http.MethodPost, "/import",
		`{"format":"mollymawk","data":{"tokens":[{"name":"a","value":"0f9c8b7a-6d5e-4c3b-a291-807f6e5d4c3b",` +
			`"expires_in":8640000,"created_at":"2026-03-01 00:00:00-00:00"}]}}`},
	{http.MethodPost, "/lookup", `{"token":"$SECRET"}`},
	{http.MethodPost, "/introspect", `token=$SECRET`},
	{http.MethodPost, "/explain", `{"token":"$SECRET","method":"GET","path":"/"}`},
	{http.MethodPost, MollymawkPath + "create", `{"token_name":"successor","token_expiry":3600}`},
	{http.MethodPost, MollymawkPath + "update", `{"token_value":"$ID","token_name":"changed"}`},
	{http.MethodPost, MollymawkPath + "delete", `{"token_value":"$ID"}`},
}

// bareCalls are changes without a body that must not be carried out once the caller's
// authorization has ended.
var bareCalls = []struct{ method, path, body string }{
	{http.MethodDelete, "/tokens/$ID", ""},
	{http.MethodPost, "/tokens/$ID/rotate", ""},
	{http.MethodPost, "/tokens/$ID/revoke", ""},
	{http.MethodPost, "/tokens/$ID/disable", ""},
	{http.MethodPost, "/tokens/$ID/enable", ""},
}

// TestEndedAuthorization ends the caller's authorization during a call.
func TestEndedAuthorization(t *testing.T) {
	t.Parallel()
	for name, auth := range authEnds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, call := range append(bodyCalls[:len(bodyCalls):len(bodyCalls)], bareCalls...) {
				s := newEndingSite(t)
				id, secret := s.console.create(`{"kind":"admin","expires_in":"1d"}`)
				fill := strings.NewReplacer("$ID", s.victim, "$SECRET", s.secret)
				path, body := fill.Replace(call.path), fill.Replace(call.body)
				var before string
				w := s.send(call.method, path, body, "Authorization: Bearer "+secret, func() {
					auth.end(s.console, id)
					before = s.everything()
				})
				s.refused(w, w.Code, auth.code)
				if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
					t.Errorf("%s %s: got status %d and body %s", call.method, call.path, w.Code, w.Body)
				}
				if after := s.everything(); after != before {
					t.Errorf("%s %s changed something: got\n%s\nwant\n%s", call.method, call.path, after, before)
				}
			}
		})
	}
}

// everything returns all data that a call can change: the tokens, without usage, and the
// audit log.
func (s *endingSite) everything() string {
	s.t.Helper()
	var all strings.Builder
	err := s.console.store.Scan(context.Background(), func(found tokenstore.TokenUsage) bool {
		token := found.Token
		all.WriteString(strings.Join([]string{token.ID.String(), token.Name, token.Status(start).String(),
			token.SecretMadeAt.String(), "\n"}, " "))
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	all.WriteString(s.console.do(http.MethodGet, "/audit?limit=100", "").Body.String())
	return all.String()
}

// TestEndedSession ends the caller's session during a call, by invalidating its token, by
// expiry or by signing out.
func TestEndedSession(t *testing.T) {
	t.Parallel()
	const site = "https://keys.example.com"
	for name, end := range map[string]func(s *endingSite, id string, cookie *http.Cookie){
		"signed out": func(s *endingSite, _ string, cookie *http.Cookie) {
			s.do(http.MethodDelete, site+"/session", "", with(cookie))
		},
		"twelve hours": func(s *endingSite, _ string, _ *http.Cookie) { s.console.pass(12 * time.Hour) },
		"its key revoked": func(s *endingSite, id string, _ *http.Cookie) {
			s.console.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
		},
		"its key deleted": func(s *endingSite, id string, _ *http.Cookie) {
			s.console.do(http.MethodDelete, "/tokens/"+id, "")
		},
		"its key not allowed": func(s *endingSite, id string, _ *http.Cookie) {
			authEnds["restricted to another address"].end(s.console, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, call := range append(bodyCalls[:3:3], bareCalls...) {
				s := newEndingSite(t)
				id, secret := s.console.create(`{"kind":"admin"}`)
				_, cookie := s.signIn(site, secret)
				path := strings.ReplaceAll(call.path, "$ID", s.victim)
				var before string
				w := s.send(call.method, path, call.body, with(cookie), func() {
					end(s, id, cookie)
					before = s.everything()
				})
				if w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
					t.Errorf("%s %s: got status %d and body %s", call.method, call.path, w.Code, w.Body)
				}
				if after := s.everything(); after != before {
					t.Errorf("%s %s changed something: got\n%s\nwant\n%s", call.method, call.path, after, before)
				}
			}
		})
	}
}

// TestAuthorizationLasts verifies that a call is carried out if the caller's token changes
// but remains authorized.
func TestAuthorizationLasts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *fixture, id string){
		"rotated with grace": func(c *fixture, id string) {
			c.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`)
		},
		"renamed": func(c *fixture, id string) {
			c.do(http.MethodPatch, "/tokens/"+id, `{"name":"another"}`)
		},
		"restricted to the address": func(c *fixture, id string) {
			c.do(http.MethodPatch, "/tokens/"+id, `{"allowed_ips":["192.0.2.0/24"]}`)
		},
		"disabled temporarily": func(c *fixture, id string) {
			c.do(http.MethodPost, "/tokens/"+id+"/disable", "")
			c.do(http.MethodPost, "/tokens/"+id+"/enable", "")
		},
	} {
		s := newEndingSite(t)
		id, secret := s.console.create(`{"kind":"admin"}`)
		w := s.send(http.MethodPost, "/tokens", goodBody, "Authorization: Bearer "+secret,
			func() { change(s.console, id) })
		if w.Code != http.StatusCreated {
			t.Errorf("%s: got status %d and body %s", name, w.Code, w.Body)
		}
	}
}

// TestEndedAuthorizationIsCounted verifies that the refusal counts against the token
// exactly once.
func TestEndedAuthorizationIsCounted(t *testing.T) {
	t.Parallel()
	for _, body := range []string{goodBody, ""} {
		s := newEndingSite(t)
		id, secret := s.console.create(`{"kind":"admin"}`)
		method, path := http.MethodPost, "/tokens"
		if body == "" {
			method, path = http.MethodDelete, "/tokens/"+s.victim
		}
		s.send(method, path, body, "Authorization: Bearer "+secret,
			func() { s.console.do(http.MethodPost, "/tokens/"+id+"/disable", "") })
		if got := s.console.do(http.MethodGet, "/tokens/"+id, "").Body.String(); !strings.Contains(got,
			`"usage_count":1,"denied_count":1`) {
			t.Errorf("got %s", got)
		}
	}
}

// TestImportStopsWithAuthorization verifies that an import stops when its token is
// revoked, and that tokens imported earlier remain.
func TestImportStopsWithAuthorization(t *testing.T) {
	t.Parallel()
	s := newEndingSite(t)
	id, secret := s.console.create(`{"kind":"admin"}`)
	var tokens []string
	for _, digit := range "0123456789" {
		tokens = append(tokens, `{"name":"n","value":"`+strings.Repeat(string(digit), 8)+
			`-6d5e-4c3b-a291-807f6e5d4c3b","expires_in":8640000,"created_at":"2026-03-01 00:00:00-00:00"}`)
	}
	applied := 0
	var again func()
	again = func() {
		if applied++; applied == 4 {
			s.console.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
			return
		}
		s.backend.happens.Store(&again)
	}
	s.backend.happens.Store(&again)
	body := `{"format":"mollymawk","data":{"tokens":[` + strings.Join(tokens, ",") + `]}}`
	s.refused(s.do(http.MethodPost, "/import", body, "Authorization: Bearer "+secret), 401, "revoked_token")
	census, err := s.console.store.Census(context.Background())
	if err != nil || census.ByStatus[token.StatusActive] != 1+3 {
		t.Errorf("got %d active tokens, err %v", census.ByStatus[token.StatusActive], err)
	}
}

// TestUnauthorizedByAnotherError verifies the response when Authorize returns an error that
// isn't a refusal.
func TestUnauthorizedByAnotherError(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "carol", Authorize: func() error { return errors.New("gone") }}, nil
		}
	})
	if w := f.do(http.MethodPost, "/tokens", goodBody); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
}

// TestSignInWithRevokedKey verifies that a sign-in checks the key after reading the body.
func TestSignInWithRevokedKey(t *testing.T) {
	t.Parallel()
	s := newEndingSite(t)
	id, secret := s.console.create(`{"kind":"admin"}`)
	w := s.send(http.MethodPost, "https://keys.example.com/session", `{"token":"`+secret+`"}`, "X: y", func() {
		s.console.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
	})
	s.refused(w, 401, "revoked_token")
	if w.Header().Get("Set-Cookie") != "" {
		t.Error("a session was started")
	}
}
