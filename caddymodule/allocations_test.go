package caddymodule

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // provides the Caddyfile adapter and the modules in its output

	_ "github.com/mollygate/mollygate/mollymawk" // provides the route table
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() { registerHandler("watching", watchingHandler) }

// watchingHandler watches for the request's cancellation, as proxies do, and returns the
// request's URIs in a header.
func watchingHandler(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	select {
	case <-r.Context().Done():
		return r.Context().Err()
	default:
		w.Header()["X-Requested-Uri"] = []string{r.RequestURI, r.URL.RequestURI()}
		return next.ServeHTTP(w, r)
	}
}

// chains holds Caddy's complete handler chains by site name. The chains run without sockets.
type chains map[string]*caddyhttp.Server

// passwordHash is a bcrypt hash of the password in basicCredential. Caddy's basic_auth checks it only
// once.
const (
	passwordHash    = "$2a$04$h1P72aKKoi084fBuNPJf/OK1cKN0XRJB89CJNZh1q3mVPxEt4sPGq"
	basicCredential = "Basic dXNlcjpwYXNzd29yZA==" // user:password
)

// loadChains loads sites with and without a gate. It also returns a token that they accept.
func loadChains(t testing.TB) (chains, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mg-") //nolint:usetesting // socket paths must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var sites strings.Builder
	for name, handlers := range map[string]string{
		"open": "respond ok", "gated": "bearer_auth {\n\t\troutes mollymawk\n\t\tfailure_limit off\n\t}\n\trespond ok",
		"basic-auth":      "basic_auth {\n\t\tuser " + passwordHash + "\n\t}\n\trespond ok",
		"open-watched":    "watching\n\trespond ok",
		"gated-streaming": "bearer_auth {\n\t\troutes mollymawk\n\t}\n\tstreaming",
		"gated-renaming":  "bearer_auth {\n\t\troutes mollymawk\n\t}\n\trenaming",
		"gated-sending":   "bearer_auth {\n\t\troutes mollymawk\n\t}\n\tsending",
		"gated-watched":   "bearer_auth {\n\t\troutes mollymawk\n\t}\n\twatching\n\trespond ok",
	} {
		fmt.Fprintf(&sites, "http://%s {\n\tbind unix/%s/%s\n\t%s\n}\n", name, dir, name, handlers)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
	admin off
	persist_config off
	auto_https off
	servers {
		protocols h1
	}
	log {
		level ERROR
	}
	api_tokens {
		store bbolt %s/tokens.db
		account default {
			upstream_token 3f9c1d52-7b0e-4a86-9d41-c2e8f05a6b17
		}
		max_lifetime unlimited
	}
}
%s`, dir, sites.String()), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	web, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	loaded := make(chains)
	for _, server := range web.(*caddyhttp.App).Servers {
		loaded[server.Listen[0][strings.LastIndexByte(server.Listen[0], '/')+1:]] = server
	}
	return loaded, newToken(t)
}

// activeApp returns the app of the active configuration, and its store.
func activeApp(t testing.TB) (*App, *tokenstore.Store) {
	t.Helper()
	module, err := caddy.ActiveContext().App(appName)
	if err != nil {
		t.Fatal(err)
	}
	app := module.(*App)
	store, err := app.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return app, store
}

// newToken creates a token in the active configuration's store.
func newToken(t testing.TB, edits ...func(*token.Draft)) string {
	t.Helper()
	app, store := activeApp(t)
	policy := app.policy
	policy.Catalog = app.gates.catalog()
	draft := token.Draft{Kind: token.KindAPI, Name: "ci", Account: "default", Preset: "full",
		Expiry: token.Expiry{NeverExpires: true}}
	for _, edit := range edits {
		edit(&draft)
	}
	_, secret, err := store.Create(policy, draft, tokenstore.Actor{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

// TestForwardedRequest checks that RequestURI and URL contain the same path in the forwarded
// request, and that the client's request is unchanged.
func TestForwardedRequest(t *testing.T) {
	sites, token := loadChains(t)
	for requested, want := range map[string]string{
		"/api/unikernels":                 "/api/unikernels",
		"/api/unikernels?a=b%2fc&d":       "/api/unikernels?a=b%2fc&d",
		"/api/volume/delete?block_name=x": "/api/block/delete?block_name=x",
	} {
		r := httptest.NewRequest(http.MethodGet, requested, nil)
		if requested != want { // the requested path is an alias
			r = httptest.NewRequest(http.MethodPost, requested, strings.NewReader("{}"))
		}
		r.Host = "gated-watched"
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept": {"*/*"}}
		w := httptest.NewRecorder()
		sites["gated-watched"].ServeHTTP(w, r)
		if got := w.Header()["X-Requested-Uri"]; !slices.Equal(got, []string{want, want}) {
			t.Errorf("%s: got status %d, forwarded as %q", requested, w.Code, got)
		}
		if r.RequestURI != requested || r.URL.RequestURI() != requested || len(r.Header) != 1 ||
			r.Header.Get("Accept") != "*/*" {
			t.Errorf("%s: the client's request changed to %s %s %v", requested,
				r.RequestURI, r.URL.RequestURI(), r.Header)
		}
	}
}

// silentWriter is a response writer that doesn't allocate memory.
type silentWriter struct {
	header http.Header
	status int
}

func (w *silentWriter) Header() http.Header            { return w.header }
func (*silentWriter) Write(p []byte) (int, error)      { return len(p), nil }
func (w *silentWriter) WriteHeader(status int)         { w.status = status }
func (*silentWriter) SetReadDeadline(time.Time) error  { return nil }
func (*silentWriter) SetWriteDeadline(time.Time) error { return nil }
func (w *silentWriter) prepare(r *http.Request, token []string) {
	clear(w.header)
	r.Header["Authorization"] = token
}

// request returns a function that sends a request with a credential to a site, and the writer that
// receives the responses.
func (c chains) request(site, credential string) (send func(), w *silentWriter) {
	r := httptest.NewRequest(http.MethodGet, "/api/unikernels", nil)
	r.Host = site
	r.Header = http.Header{"User-Agent": {"curl/8.5.0"}, "Accept": {"*/*"}}
	w = &silentWriter{header: make(http.Header)}
	authorization := []string{credential}
	return func() {
		w.prepare(r, authorization)
		c[site].ServeHTTP(w, r)
	}, w
}

const (
	unknownToken   = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"
	malformedToken = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7E"
)

// cost is what a request allocates.
type cost struct{ allocations, bytes uint64 }

// costOf returns what a request with a token costs at a site. With the race detector, a
// [sync.Pool] drops a quarter of its values at random, and other goroutines allocate too, so costOf
// returns the lowest cost of many requests.
func (c chains) costOf(t *testing.T, site, token string, status int) cost {
	t.Helper()
	send, w := c.request(site, "Bearer "+token)
	lowest := cost{math.MaxUint64, math.MaxUint64}
	var before, after runtime.MemStats
	for range 300 {
		runtime.ReadMemStats(&before)
		send()
		runtime.ReadMemStats(&after)
		lowest.allocations = min(lowest.allocations, after.Mallocs-before.Mallocs)
		lowest.bytes = min(lowest.bytes, after.TotalAlloc-before.TotalAlloc)
	}
	if w.status != status {
		t.Errorf("%s: status %d, want %d", site, w.status, status)
	}
	return lowest
}

// TestAllocations compares what a request allocates with and without a gate. Caddy itself makes
// one of the allocations, for the directive.
func TestAllocations(t *testing.T) {
	sites, allowed := loadChains(t)
	limited := newToken(t, func(d *token.Draft) {
		d.RateLimit = &token.RateLimit{Requests: 1e9, Window: time.Second}
	})
	open := sites.costOf(t, "open", allowed, http.StatusOK)
	watched := sites.costOf(t, "open-watched", allowed, http.StatusOK)
	for _, tt := range []struct {
		name, site, token string
		status            int
		without, most     cost
	}{
		{"allowed", "gated", allowed, http.StatusOK, open, cost{5, 1650}},
		{"allowed, with limits", "gated", limited, http.StatusOK, open, cost{8, 1850}},
		// A handler that watches for cancellation, such as a proxy, requires a cancelable
		// context and a timer for the response timeout.
		{"allowed and watched", "gated-watched", allowed, http.StatusOK, watched, cost{11, 2100}},
		{"unknown", "gated", unknownToken, http.StatusUnauthorized, open, cost{13, 1100}}, // bbolt makes 6 of them
		{"malformed", "gated", malformedToken, http.StatusUnauthorized, open, cost{6, 450}},
	} {
		got := sites.costOf(t, tt.site, tt.token, tt.status)
		more := cost{got.allocations - tt.without.allocations, got.bytes - tt.without.bytes}
		t.Logf("%s: %d more allocations and %d more bytes than without a gate", tt.name, more.allocations, more.bytes)
		if more.allocations > tt.most.allocations || more.bytes > tt.most.bytes {
			t.Errorf("%s: want at most %d allocations and %d bytes", tt.name, tt.most.allocations, tt.most.bytes)
		}
	}
}

// BenchmarkChain measures complete requests. BenchmarkSteps shows what the steps cost.
func BenchmarkChain(b *testing.B) {
	sites, unlimited := loadChains(b)
	unlimited = "Bearer " + unlimited
	month, err := token.ParseLifetime("30d")
	if err != nil {
		b.Fatal(err)
	}
	expiring := "Bearer " + newToken(b, func(d *token.Draft) { d.Expiry = token.Expiry{ExpiresIn: month} })
	limited := "Bearer " + newToken(b, func(d *token.Draft) {
		d.RateLimit = &token.RateLimit{Requests: 1e9, Window: time.Second}
		d.Quota = &token.Quota{Requests: 1e15 - 1, Period: token.PeriodMonth}
	})
	for _, bb := range []struct {
		name, site, credential string
		status                 int
	}{
		{"open", "open", unlimited, http.StatusOK},
		{"basic_auth", "basic-auth", basicCredential, http.StatusOK},
		{"gated", "gated", unlimited, http.StatusOK},
		{"gated, expiring", "gated", expiring, http.StatusOK},
		{"gated, limits", "gated", limited, http.StatusOK},
		{"open and watched", "open-watched", unlimited, http.StatusOK},
		{"gated and watched", "gated-watched", unlimited, http.StatusOK},
		{"unknown", "gated", "Bearer " + unknownToken, http.StatusUnauthorized},
		{"malformed", "gated", "Bearer " + malformedToken, http.StatusUnauthorized},
	} {
		b.Run(bb.name, func(b *testing.B) {
			send, w := sites.request(bb.site, bb.credential)
			if send(); w.status != bb.status {
				b.Fatalf("got status %d", w.status)
			}
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
		})
	}
	// Run with -mutexprofile to check that requests don't contend for a shared lock.
	b.Run("gated, parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			send, _ := sites.request("gated", unlimited)
			for pb.Next() {
				send()
			}
		})
	})
}
