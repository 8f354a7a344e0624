package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// start is the initial time of the tests' clock. Responses must never contain its
// fractional seconds.
var start = time.Date(2026, 3, 1, 12, 0, 0, 987654000, time.UTC)

// vector is the example token in the documentation. No store contains it.
const vector = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

var testPolicy = token.Policy{
	Prefixes:    token.Prefixes{"mm", "zz"},
	MaxLifetime: mustLifetime("2y"),
	Accounts:    []string{"default", "alice"},
	Catalog: token.Catalog{
		Scopes: []token.CatalogScope{
			{Scope: token.Scope{Name: "monitoring:read", Explicit: true}, Routes: []string{"GET /api/monitoring"}},
			{Scope: token.Scope{Name: "unikernel:create"}, Routes: []string{"POST /api/unikernel/create"}},
			{Scope: token.Scope{Name: "unikernel:list"}, Routes: []string{"GET /api/unikernels"}},
			{Scope: token.Scope{Name: "volume:list"}},
		},
		Presets: map[string]token.Grants{
			"read": {"unikernel:list", "volume:list"},
			"full": {"*"},
		},
		ResourceTypes: []token.ResourceType{{Name: "instance", Container: true}, {Name: "unikernel"},
			{Name: "block", Aliases: []string{"volume"}}},
	},
}

func mustLifetime(text string) token.Lifetime {
	l, err := token.ParseLifetime(text)
	if err != nil {
		panic(err)
	}
	return l
}

// fixture is a handler backed by a store in its own file.
type fixture struct {
	t       *testing.T
	store   *tokenstore.Store
	now     *atomic.Pointer[time.Time]
	handler http.Handler
	config  Config
	logs    *observer.ObservedLogs
	// listed counts the tokens that the backend has listed.
	listed *atomic.Int64
	// elapsed is the time that has elapsed, independent of the clock.
	elapsed *atomic.Int64
}

// counting is a backend that counts the tokens it lists.
type counting struct {
	tokenstore.Backend
	listed *atomic.Int64
}

func (c counting) List(order tokenstore.Order, after *tokenstore.Position, descending bool,
	yield func(*token.Token) bool) error {
	return c.Backend.List(order, after, descending, func(t *token.Token) bool {
		c.listed.Add(1)
		return yield(t)
	})
}

func newFixture(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	return newFixtureOver(t, func(b tokenstore.Backend) tokenstore.Backend { return b }, change...)
}

// newFixtureOver returns a fixture with a wrapped backend.
func newFixtureOver(t *testing.T, wrap func(tokenstore.Backend) tokenstore.Backend, change ...func(*Config)) *fixture {
	t.Helper()
	backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, now: new(atomic.Pointer[time.Time]), listed: new(atomic.Int64), elapsed: new(atomic.Int64)}
	f.set(start)
	clock := tokenstore.ClockFunc(func() time.Time { return *f.now.Load() })
	f.store, err = tokenstore.Open(wrap(counting{backend, f.listed}), tokenstore.Options{
		Clock: clock, Elapsed: func() time.Duration { return time.Duration(f.elapsed.Load()) }, FlushInterval: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Error(err)
		}
	})
	core, logs := observer.New(zap.DebugLevel)
	f.logs = logs
	config := Config{
		Store:      func(context.Context) (*tokenstore.Store, error) { return f.store, nil },
		Policy:     testPolicy,
		WarnBefore: mustLifetime("30d"),
		Authenticate: func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "caddy-admin", Address: "127.0.0.1"}, nil
		},
		Logger:   zap.New(core),
		Stopping: func() bool { return true }, // GET /events ends immediately
	}
	for _, c := range change {
		c(&config)
	}
	f.config = config
	f.handler = New(config)
	return f
}

// set sets the clock without letting time elapse.
func (f *fixture) set(now time.Time) { f.now.Store(&now) }

func (f *fixture) pass(d time.Duration) {
	f.elapsed.Add(int64(d))
	f.set(f.now.Load().Add(d))
}

// do makes a call. Headers are written as "Name: value"; an empty value deletes the header.
// do checks that the response follows the rules that apply to all responses.
func (f *fixture) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if value == "" {
			r.Header.Del(name)
			continue
		}
		r.Header.Add(name, value)
	}
	return f.serve(r)
}

func (f *fixture) serve(r *http.Request) *httptest.ResponseRecorder {
	f.t.Helper()
	w := httptest.NewRecorder()
	var body bytes.Buffer // only the bytes that the handler reads, because some bodies are endless
	if r.Body != nil {
		r.Body = io.NopCloser(io.TeeReader(r.Body, &body))
	}
	f.handler.ServeHTTP(w, r)
	if err := recordExchange(r, body.Bytes(), w); err != nil {
		f.t.Error(err)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		f.t.Errorf("%s %s: got Cache-Control %q", r.Method, r.URL.Path, got)
	}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			f.t.Errorf("%s %s: the response has the header %s", r.Method, r.URL.Path, name)
		}
	}
	contentType := w.Header().Get("Content-Type")
	switch {
	case w.Code == http.StatusNoContent:
	case w.Code >= 400:
		var p struct {
			Type, Title, Detail, Code, Data string
			Status                          int
			Success                         *bool
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || contentType != "application/problem+json" {
			f.t.Errorf("%s %s: the %d response isn't problem JSON: %s %s",
				r.Method, r.URL.Path, w.Code, contentType, w.Body)
		}
		if p.Status != w.Code || p.Type == "" || p.Title == "" || p.Detail == "" || p.Code == "" ||
			p.Data != p.Detail || p.Success == nil || *p.Success {
			f.t.Errorf("%s %s: the envelope is incomplete: %s", r.Method, r.URL.Path, w.Body)
		}
	case r.URL.Path == "/backup" && contentType == "application/octet-stream",
		r.URL.Path == "/events" && contentType == "text/event-stream":
	case contentType != "application/json":
		f.t.Errorf("%s %s: got Content-Type %q", r.Method, r.URL.Path, contentType)
	}
	return w
}

// refused checks a refusal's status and code, and other members given as "name=value".
func (f *fixture) refused(w *httptest.ResponseRecorder, status int, code string, members ...string) map[string]any {
	f.t.Helper()
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		f.t.Fatalf("parsing the response failed: status %d, body %q, err %v", w.Code, w.Body, err)
	}
	if w.Code != status || body["code"] != code {
		f.t.Errorf("got %d %v, want %d %s: %v", w.Code, body["code"], status, code, body["detail"])
	}
	for _, member := range members {
		name, want, _ := strings.Cut(member, "=")
		if got := fmt.Sprint(body[name]); got != want {
			f.t.Errorf("%s is %q, want %q: %v", name, got, want, body["detail"])
		}
	}
	return body
}

// create creates a token from the body, after adding any required members that are
// missing.
func (f *fixture) create(body string) (id, secret string) {
	f.t.Helper()
	members := map[string]any{}
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		f.t.Fatal(err)
	}
	for name, value := range map[string]any{"name": "test", "expires_in": "90d"} {
		if _, given := members[name]; !given && (name != "expires_in" || members["expires_at"] == nil) {
			members[name] = value
		}
	}
	if members["kind"] != "admin" && members["scopes"] == nil && members["preset"] == nil {
		members["preset"] = "read"
	}
	text, _ := json.Marshal(members)
	w := f.do(http.MethodPost, "/tokens", string(text))
	var token struct{ ID, Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil || w.Code != http.StatusCreated {
		f.t.Fatalf("creating a token: got status %d and body %s", w.Code, w.Body)
	}
	return token.ID, token.Token
}

// authenticate presents a secret to the store.
func (f *fixture) authenticate(secret string) (tokenstore.Match, error) {
	f.t.Helper()
	credential, err := testPolicy.Prefixes.Parse(secret)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.store.Authenticate(credential, f.store.Now())
}

// use counts requests with a token.
func (f *fixture) use(secret string, times int, use tokenstore.LastUse) {
	f.t.Helper()
	match, err := f.authenticate(secret)
	if err != nil {
		f.t.Fatal(err)
	}
	for range times {
		f.store.CountAllowed(match, "unikernel:list", use)
	}
}
