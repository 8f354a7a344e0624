package gate

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// openStore returns a real store and the secrets of two API tokens with all scopes; the second
// token has limits.
func openStore(t testing.TB) (store *tokenstore.Store, tok, limited string) {
	t.Helper()
	backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	store, err = tokenstore.Open(backend, tokenstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := token.Policy{Prefixes: testPrefixes, Accounts: []string{"default"},
		Catalog: Catalog(Table{Routes: testRoutes()})}
	create := func(rate *token.RateLimit, quota *token.Quota) string {
		_, secret, err := store.Create(policy, token.Draft{
			Kind: token.KindAPI, Name: "ci", Account: "default", Scopes: token.Grants{"*"},
			Expiry:    token.Expiry{NeverExpires: true},
			RateLimit: rate, Quota: quota,
		}, tokenstore.Actor{Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return secret.Reveal()
	}
	return store, create(nil, nil), create(
		&token.RateLimit{Requests: 1e9, Window: time.Second},
		&token.Quota{Requests: 1e15 - 1, Period: token.PeriodMonth})
}

// Neither allowed requests nor the refusals typical of a flood allocate. Only the standing of a
// token's limits requires an allocation.
func TestDecideAllocatesNothing(t *testing.T) {
	tokens := newTestTokens(t)
	store, token, within := openStore(t)
	g := newTestGate(t, nil)
	withSessions := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	for name, tt := range map[string]struct {
		gate    *Gate
		store   Store
		request *Request
		want    string
	}{
		"allowed": {g, store, request(token, func(r *Request) { r.Now = store.Now() }), ""},
		"limited": {g, store, request(within, func(r *Request) { r.Now = store.Now() }), ""},
		"wildcard": {g, store,
			request(token, func(r *Request) { r.Now, r.Path = store.Now(), "/api/logs/h%C3%A9/live" }), ""},
		"alias": {g, tokens, request(tokens.good, func(r *Request) { r.Method, r.Path = "POST", "/old/report" }),
			""},
		"untouched": {withSessions, tokens,
			request("", func(r *Request) { r.Authorization, r.Path = nil, "/dashboard" }), ""},
		"missing":   {g, tokens, request("", func(r *Request) { r.Authorization = nil }), "401 missing_token"},
		"invalid":   {g, tokens, request("a b", nil), "400 invalid_request"},
		"in URL":    {g, tokens, request(tokens.good, func(r *Request) { r.TokenInURL = true }), "400 token_in_url"},
		"path":      {g, tokens, request(tokens.good, func(r *Request) { r.Path = "//" }), "400 invalid_path"},
		"malformed": {g, tokens, request(tokens.malformed, nil), "401 malformed_token"},
		"unknown":   {g, tokens, request(tokens.unknown, nil), "401 unknown_token"},
		"expired":   {g, tokens, request(tokens.expired, nil), "401 expired_token"},
		"revoked":   {g, tokens, request(tokens.revoked, nil), "401 revoked_token"},
		"admin":     {g, tokens, request(tokens.admin, nil), "403 wrong_kind"},
		"address":   {g, tokens, request(tokens.local, nil), "403 ip_denied"},
		"unlisted":  {g, tokens, request(tokens.good, func(r *Request) { r.Path = "/x" }), "403 route_not_allowed"},
		"method":    {g, tokens, request(tokens.good, func(r *Request) { r.Method = "PUT" }), "405 method_not_allowed"},
		"CONNECT": {g, tokens, request(tokens.good, func(r *Request) { r.Method = "CONNECT" }),
			"405 method_not_allowed"},
		"scope": {g, tokens, request(tokens.reader, func(r *Request) { r.Method = "POST" }), "403 insufficient_scope"},
		"body": {g, tokens, request(tokens.good, func(r *Request) { r.Method, r.ContentLength = "POST", 1001 }),
			"413 body_too_large"},
	} {
		var d Decision
		allocations := testing.AllocsPerRun(100, func() { d = Decision{}; tt.gate.Decide(tt.store, tt.request, &d) })
		if got := refusalText(d.Refusal); got != tt.want {
			t.Errorf("%s: got refusal %q, want %q", name, got, tt.want)
		}
		want := 0.0
		if d.Limits != nil {
			want = 1
		}
		if allocations != want {
			t.Errorf("%s: got %v allocations, want %v", name, allocations, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	tokens := newTestTokens(b)
	store, token, within := openStore(b)
	g := newTestGate(b, nil)
	for _, bb := range []struct {
		name    string
		store   Store
		request *Request
	}{
		{"allowed", store, request(token, func(r *Request) { r.Now = store.Now() })},
		{"limited", store, request(within, func(r *Request) { r.Now = store.Now() })},
		{"wildcard", store, request(token, func(r *Request) { r.Now, r.Path = store.Now(), "/api/logs/a/live" })},
		{"missing", tokens, request("", func(r *Request) { r.Authorization = nil })},
		{"malformed", tokens, request(tokens.malformed, nil)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var d Decision
				g.Decide(bb.store, bb.request, &d)
			}
		})
	}
}

func BenchmarkTakeHeaders(b *testing.B) {
	lines := []string{
		"Accept: */*", "User-Agent: curl/8.0", "Content-Type: application/json", "X-Forwarded-For: 192.0.2.1",
		"X-Request-Id: 1", "Accept-Language: en", "Cookie: a=b",
	}
	h := headers(b, lines...)
	authorization := []string{"Bearer x"}
	b.ReportAllocs()
	for b.Loop() {
		h["Authorization"] = authorization
		TakeHeaders(h, testPrefixes)
	}
}

// BenchmarkLimitHeaders measures the extra cost of a response to a token with limits.
func BenchmarkLimitHeaders(b *testing.B) {
	limits := Limits{
		Rate:  token.Standing{Limit: 60, Window: time.Minute, Remaining: 59, Reset: time.Second},
		Quota: token.Standing{Limit: 10000, Window: 31 * 24 * time.Hour, Remaining: 9000, Reset: 10 * 24 * time.Hour},
	}
	h := make(http.Header)
	b.ReportAllocs()
	for b.Loop() {
		limits.SetHeaders(h)
	}
}
