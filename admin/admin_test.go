package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func TestUnknownPathsAreNotFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	for _, path := range []string{
		"/", "/tokens/", "//tokens", "/tokens//", "/tokens/" + id + "/", "/tokens/" + id + "/rotat",
		"/tokens/" + id + "/rotate/", "/tokens//" + id,
		"/x/../tokens", "/./tokens", "/%74okens", "/tokens%2f" + id, "/Tokens", "/tokens;x", "/scopes/x", "/Stats",
		"/audit/", "/lookup/x", "/tokens/{id}", "/tokens/%7Bid%7D", "/tokens/{id}/rotate",
		// Malformed IDs and an ID that doesn't exist.
		"/tokens/..%2f..", "/tokens/..", "/tokens/%00", "/tokens/" + strings.Repeat("a", 300), "/tokens/" + id[:11],
		"/tokens/" + id + "x",
		"/tokens/%" + fmt.Sprintf("%x", id[0]) + id[1:], "/tokens/" + id + "%00", "/tokens/%c3%a9",
		"/tokens/aaaaaaaaaaa-",
		"/tokens/000000000000",
	} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			r := httptest.NewRequest(method, "http://example.com/", nil)
			u, err := url.ParseRequestURI("http://example.com" + path)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
			t.Log(method, path)
			f.refused(f.serve(r), 404, "not_found")
		}
	}
	if w := f.do(http.MethodGet, "/tokens/"+id, ""); w.Code != http.StatusOK {
		t.Errorf("the token was deleted: status %d", w.Code)
	}
	for _, path := range []string{"", "*"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path}
		f.refused(f.serve(r), 404, "not_found")
	}
}

func TestWrongMethods(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	for path, allow := range map[string]string{
		"/tokens":                   "GET, POST",
		"/tokens/" + id:             "GET, PATCH, DELETE",
		"/audit":                    "GET",
		"/lookup":                   "POST",
		"/tokens/" + id + "/rotate": "POST",
		"/scopes":                   "GET",
		"/accounts":                 "GET",
		"/healthz":                  "GET",
		"/tokens?_method=GET":       "GET, POST",
	} {
		for _, method := range []string{"HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE", "get", "TRACE", "FOO"} {
			if strings.Contains(allow, method) {
				continue
			}
			w := f.do(method, path, "")
			f.refused(w, 405, "method_not_allowed")
			if got := w.Header().Get("Allow"); got != allow {
				t.Errorf("%s %s: got Allow %q, want %q", method, path, got, allow)
			}
		}
	}
	f.refused(f.do(http.MethodPost, "/tokens?_method=DELETE", goodBody), 400, "invalid_parameter", "parameter=_method")
	f.refused(f.do(http.MethodGet, "/tokens?create=1", ""), 400, "invalid_parameter", "parameter=create")
	f.refused(f.do(http.MethodPut, "/tokens", goodBody, "X-HTTP-Method-Override: POST"), 405, "method_not_allowed")
}

func TestTokenInURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "caddy-admin"}, nil
		}
	})
	_, secret := f.create(`{}`)
	const imported = "d9428888-122b-41e1-b85c-61fa1f9d5c2e"
	for _, target := range []string{
		"/tokens/" + secret,
		"/tokens/" + vector,
		"/tokens/x" + vector + "x",
		"/tokens/%6dmk" + vector[3:],
		"/" + vector + "/tokens",
		"/tokens?q=" + vector,
		"/tokens?q=%6Dmk" + vector[3:],
		"/tokens?" + vector,
		"/tokens?cursor=" + vector + "&limit=0",
		"/scopes?access_token=" + vector,
		"/healthz?x=1&x=" + vector,
		"/tokens/" + imported,
		"/tokens?q=" + imported,
	} {
		for _, method := range []string{http.MethodGet, http.MethodDelete, "PATCH"} {
			if method != http.MethodGet && strings.Contains(target, "q="+imported) {
				continue // this call doesn't exist
			}
			w := f.do(method, target, "")
			t.Log(method, target)
			f.refused(w, 400, "token_in_url")
			for _, text := range []string{secret[20:], vector[20:], imported} {
				if strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), text) {
					t.Errorf("the response repeats the token: %s", w.Body)
				}
			}
		}
	}
	for _, entry := range f.logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, vector[20:]) ||
			strings.Contains(text, secret[20:]) {
			t.Errorf("the log contains a token: %s", text)
		}
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	for _, test := range []struct {
		headers []string
		allowed bool
	}{
		{nil, true},
		{[]string{"Origin: http://example.com"}, true},
		{[]string{"Sec-Fetch-Site: same-origin"}, true},
		{[]string{"Sec-Fetch-Site: none"}, true},
		{[]string{"Sec-Fetch-Site: cross-site"}, false},
		{[]string{"Sec-Fetch-Site: same-site"}, false},
		{[]string{"Origin: http://evil.example"}, false},
		{[]string{"Origin: http://example.com.evil.example"}, false},
		{[]string{"Origin: http://example.com:81"}, false},
		{[]string{"Origin: null"}, false},
	} {
		for _, call := range []struct{ method, target, body string }{
			{http.MethodPost, "http://example.com/tokens", goodBody},
			{http.MethodDelete, "http://example.com/tokens/000000000000", ""},
			{"PATCH", "http://example.com/tokens/" + id, "{}"},
		} {
			w := f.do(call.method, call.target, call.body, test.headers...)
			if test.allowed == (w.Code == http.StatusForbidden) {
				t.Errorf("%s with %v: got status %d and body %s", call.method, test.headers, w.Code, w.Body)
			}
			if !test.allowed {
				f.refused(w, 403, "cross_site")
			}
		}
		// Reads are allowed because, without CORS headers, browsers hide the responses
		// from other origins.
		if w := f.do(http.MethodGet, "http://example.com/tokens", "", test.headers...); w.Code != http.StatusOK {
			t.Errorf("GET with %v: got status %d", test.headers, w.Code)
		}
	}
}

func TestAuthenticateDecides(t *testing.T) {
	t.Parallel()
	refusal := &Refusal{
		Problem: problem.Problem{Status: 401, Code: "missing_token", Title: "t", Detail: "d"},
		Header:  http.Header{"Www-Authenticate": {`Bearer realm="x"`}},
	}
	opened := false
	f := newFixture(t, func(c *Config) {
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) { return tokenstore.Actor{}, refusal }
		store := c.Store
		c.Store = func(ctx context.Context) (*tokenstore.Store, error) {
			opened = true
			return store(ctx)
		}
	})
	for _, call := range []struct{ method, target string }{
		{http.MethodGet, "/tokens"},
		{http.MethodGet, "/healthz"},
		{http.MethodGet, "/nothing"},
		{http.MethodPost, "/healthz"},
		{http.MethodGet, "/tokens?limit=0"},
		{http.MethodPost, "/tokens"},
	} {
		body := ""
		if call.method == http.MethodPost {
			body = "not even JSON"
		}
		w := f.do(call.method, call.target, body)
		f.refused(w, 401, "missing_token")
		if got := w.Header().Get("WWW-Authenticate"); got != `Bearer realm="x"` {
			t.Errorf("%s %s: got WWW-Authenticate %q", call.method, call.target, got)
		}
		if closes := w.Header().Get("Connection") == "close"; closes != (body != "") {
			t.Errorf("%s %s: got Connection: close %v", call.method, call.target, closes)
		}
	}
	if opened {
		t.Error("the store was opened before the caller was authenticated")
	}
}

func TestRefuseExposed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) { return tokenstore.Actor{}, RefuseExposed() }
	})
	f.refused(f.do(http.MethodGet, "/tokens", ""), 403, "admin_exposed")
}

func TestStoreUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return nil, errors.New("the disk is on fire") }
	})
	for _, call := range []struct{ method, target, body string }{
		{http.MethodGet, "/tokens", ""},
		{http.MethodPost, "/tokens", goodBody},
		{http.MethodGet, "/tokens/000000000000", ""},
		{http.MethodDelete, "/tokens/000000000000", ""},
		{http.MethodGet, "/healthz", ""},
	} {
		w := f.do(call.method, call.target, call.body)
		f.refused(w, 503, "store_unavailable")
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%s %s: the response has no Retry-After header", call.method, call.target)
		}
		if strings.Contains(w.Body.String(), "fire") {
			t.Errorf("%s %s: the response contains the cause: %s", call.method, call.target, w.Body)
		}
	}
	if n := f.logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 5 {
		t.Errorf("got %d errors in the log, want 5", n)
	}
	// These calls don't need the store.
	for _, target := range []string{"/scopes", "/accounts"} {
		if w := f.do(http.MethodGet, target, ""); w.Code != http.StatusOK {
			t.Errorf("%s: got status %d", target, w.Code)
		}
	}
}

func TestClosedStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	f.refused(f.do(http.MethodGet, "/tokens", ""), 503, "store_unavailable")
	f.refused(f.do(http.MethodGet, "/tokens?sort=name", ""), 503, "store_unavailable")
	f.refused(f.do(http.MethodGet, "/tokens/"+id, ""), 503, "store_unavailable")
	f.refused(f.do(http.MethodPost, "/tokens", goodBody), 503, "store_unavailable")
	f.refused(f.do(http.MethodDelete, "/tokens/"+id, ""), 503, "store_unavailable")
	f.refused(f.do(http.MethodGet, "/healthz", ""), 503, "store_unavailable")
}

func TestScopesAndAccounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if got, want := f.do(http.MethodGet, "/scopes", "").Body.String(), `{"data":[`+
		`{"name":"monitoring:read","routes":["GET /api/monitoring"],"presets":[]},`+
		`{"name":"unikernel:create","routes":["POST /api/unikernel/create"],"presets":["full"]},`+
		`{"name":"unikernel:list","routes":["GET /api/unikernels"],"presets":["full","read"]},`+
		`{"name":"volume:list","routes":[],"presets":["full","read"]}]}`; got != want {
		t.Errorf("got scopes:\n%s", got)
	}
	if got, want := f.do(http.MethodGet, "/accounts", "").Body.String(),
		`{"data":[{"name":"default"},{"name":"alice"}]}`; got != want {
		t.Errorf("got accounts:\n%s", got)
	}
	empty := newFixture(t, func(c *Config) { c.Policy = token.Policy{Prefixes: c.Policy.Prefixes} })
	for _, target := range []string{"/scopes", "/accounts"} {
		if got := empty.do(http.MethodGet, target, "").Body.String(); got != `{"data":[]}` {
			t.Errorf("%s: got %s", target, got)
		}
		empty.refused(empty.do(http.MethodGet, target+"?q=x", ""), 400, "invalid_parameter", "parameter=q")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := regexp.MustCompile(`[0-9]{3,}`).ReplaceAllString(f.do(http.MethodGet, "/healthz", "").Body.String(), "N")
	if got != `{"status":"ok","checks":{"store":{"status":"ok"},"journal":{"status":"ok"},"clock":{"status":"ok"},`+
		`"disk_free":{"status":"ok","bytes":N},"damaged":{"status":"ok","tokens":0},`+
		`"backend":{"status":"ok"},"backup":{"status":"ok"}}}` {
		t.Errorf("healthy store: got %s", got)
	}
	// The clock falls behind the time recorded in the store.
	f.create(`{}`)
	f.pass(-3 * time.Hour)
	w := f.do(http.MethodGet, "/healthz", "")
	var response struct{ Status, Warning string }
	if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || response.Status != "ok" || !strings.Contains(response.Warning, "3 hours behind") {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
}

// TestParallelCreatesAndDeletes verifies that concurrent calls with the same name each
// create a token, because names don't have to be unique.
func TestParallelCreatesAndDeletes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 100
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { ids[i], _ = f.create(`{"name":"same"}`) })
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, id := range ids {
		seen[id] = true
	}
	if len(seen) != n {
		t.Fatalf("got %d IDs for %d tokens", len(seen), n)
	}
	if w := f.do(http.MethodGet, "/tokens?count=true&limit=1", ""); !strings.Contains(w.Body.String(), `"total":100`) {
		t.Errorf("got response %s", w.Body)
	}
	// Only one of many concurrent requests to delete a token succeeds.
	codes := make([]int, n)
	for i := range n {
		wg.Go(func() { codes[i] = f.do(http.MethodDelete, "/tokens/"+ids[0], "").Code })
	}
	wg.Wait()
	deleted := 0
	for _, code := range codes {
		switch code {
		case http.StatusNoContent:
			deleted++
		case http.StatusNotFound:
		default:
			t.Errorf("got unexpected status %d", code)
		}
	}
	if deleted != 1 {
		t.Errorf("%d deletions of the same token succeeded, want 1", deleted)
	}
}
