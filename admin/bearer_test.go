package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// newSite returns a handler that authenticates admin tokens, and a handler without
// authentication for the same store.
func newSite(t *testing.T) (site, console *fixture) {
	console = newFixture(t)
	sessions := new(Sessions)
	site = newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return console.store, nil }
		c.Bearer = &Bearer{
			Store:    c.Store,
			Prefixes: c.Policy.Prefixes,
			Realm:    "mollygate admin",
			ClientIP: func(r *http.Request) netip.Addr { return netip.MustParseAddrPort(r.RemoteAddr).Addr() },
			Sessions: func() *Sessions { return sessions },
			Secure:   func(r *http.Request) bool { return r.TLS != nil },
			Failures: gate.NewFailureLimit(40, time.Hour),
		}
		c.Authenticate = BearerAuthenticator(*c.Bearer)
	})
	return site, console
}

func TestBearerAcceptsAdminTokens(t *testing.T) {
	t.Parallel()
	site, console := newSite(t)
	id, secret := console.create(`{"kind":"admin","allowed_ips":["192.0.2.0/24"]}`)
	console.pass(time.Minute)
	for range 2 {
		w := site.do(http.MethodGet, "/tokens/"+id, "", "Authorization: bEaReR "+secret, "User-Agent: curl/8.9")
		if w.Code != http.StatusOK {
			t.Fatalf("got status %d and body %s", w.Code, w.Body)
		}
	}
	w := site.do(http.MethodPost, "/tokens", goodBody, "Authorization: Bearer "+secret)
	if w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"created_by":"`+id+`"`) {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
	// Each call counts as a use of the token.
	want := `"usage_count":3,"denied_count":0,"last_used_at":"2026-03-01T12:01:00Z","last_used_ip":"192.0.2.1",` +
		`"last_used_user_agent":`
	if got := console.do(http.MethodGet, "/tokens/"+id, "").Body.String(); !strings.Contains(got, want) ||
		!strings.Contains(got, `"last_used_route":"POST /tokens"`) {
		t.Errorf("got %s", got)
	}
}

func TestBearerRefuses(t *testing.T) {
	t.Parallel()
	site, console := newSite(t)
	adminID, admin := console.create(`{"kind":"admin","expires_in":"1h"}`)
	apiID, api := console.create(`{}`)
	elsewhereID, elsewhere := console.create(`{"kind":"admin","allowed_ips":["10.0.0.0/8"]}`)
	laterID, later := console.create(`{"kind":"admin","not_before":"2026-04-01T00:00:00Z"}`)
	_, deleted := console.create(`{"kind":"admin"}`)
	if err := console.store.Delete(token.ID([]byte(deleted[4:16])), token.AnyVersion, tokenstore.Actor{}); err != nil {
		t.Fatal(err)
	}
	test := func(headers []string, status int, code, challenge string, members ...string) {
		t.Helper()
		for _, target := range []string{"/tokens", "/nothing", "/healthz"} {
			w := site.do(http.MethodGet, target, "", headers...)
			site.refused(w, status, code, members...)
			if got := w.Header().Get("WWW-Authenticate"); !strings.Contains(got, challenge) ||
				(challenge == "") != (got == "") {
				t.Errorf("%v: got WWW-Authenticate %q", headers, got)
			}
		}
	}
	test(nil, 401, "missing_token", `Bearer realm="mollygate admin"`)
	test([]string{"Authorization: Basic YTpi"}, 401, "missing_token", `realm`)
	test([]string{"Cookie: token=" + admin}, 401, "missing_token", `realm`)
	test([]string{"X-Api-Key: " + admin}, 401, "missing_token", `realm`)
	test([]string{"Proxy-Authorization: Bearer " + admin}, 401, "missing_token", `realm`)
	test([]string{"Authorization: Bearer " + admin, "Authorization: Bearer " + admin}, 400, "invalid_request",
		`error="invalid_request"`)
	test([]string{"Authorization: Bearer  " + admin}, 400, "invalid_request", `error="invalid_request"`)
	test([]string{"Authorization: Bearer " + admin + "x"}, 401, "malformed_token", `error="invalid_token"`)
	test([]string{"Authorization: Bearer " + vector}, 401, "unknown_token", `error="invalid_token"`)
	test([]string{"Authorization: Bearer " + deleted}, 401, "unknown_token", `error="invalid_token"`)
	test([]string{"Authorization: Bearer " + api}, 403, "wrong_kind", "", "token_id="+apiID)
	test([]string{"Authorization: Bearer " + later}, 401, "not_yet_valid", `error="invalid_token"`, "token_id="+laterID)
	test([]string{"Authorization: Bearer " + elsewhere}, 403, "ip_denied", "", "token_id="+elsewhereID,
		"client_ip=192.0.2.1")
	console.pass(time.Hour)
	test([]string{"Authorization: Bearer " + admin}, 401, "expired_token", `error="invalid_token"`, "token_id="+adminID)

	// Each token has three refusals and no uses.
	for _, id := range []string{adminID, apiID, elsewhereID, laterID} {
		if got := console.do(http.MethodGet, "/tokens/"+id, "").Body.String(); !strings.Contains(got,
			`"usage_count":0,"denied_count":3,"last_used_at":null`) {
			t.Errorf("got %s", got)
		}
	}
}

func TestBearerWithoutStore(t *testing.T) {
	t.Parallel()
	errNotOpen := errors.New("not open yet")
	f := newFixture(t, func(c *Config) {
		c.Authenticate = BearerAuthenticator(Bearer{
			Store: func(context.Context) (*tokenstore.Store, error) { return nil, errNotOpen },
		})
	})
	w := f.do(http.MethodGet, "/scopes", "", "Authorization: Bearer "+vector)
	f.refused(w, 503, "store_unavailable")
	if w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got headers %v", w.Header())
	}
	if f.logs.FilterField(zap.Error(errNotOpen)).Len() != 1 {
		t.Error("the error wasn't logged")
	}
}

// TestBearerRefusesBeforeTheBody verifies that a refusal doesn't wait for the body.
func TestBearerRefusesBeforeTheBody(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t)
	r := httptest.NewRequest(http.MethodPost, "/tokens", new(failing))
	r.ContentLength = 1 << 30
	w := site.serve(r)
	site.refused(w, 401, "missing_token")
	if w.Header().Get("Connection") != "close" {
		t.Error("the connection stayed open with an unread body")
	}
}
