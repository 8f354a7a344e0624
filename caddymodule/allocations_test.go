package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
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
		"open-watched":    "watching\n\trespond ok",
		"gated-streaming": "bearer_auth {\n\t\troutes mollymawk\n\t}\n\tstreaming",
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
			upstream_token upstream
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
	module, err := caddy.ActiveContext().App(appName)
	if err != nil {
		t.Fatal(err)
	}
	app := module.(*App)
	store, err := app.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	policy := app.policy
	policy.Catalog = app.gates.catalog()
	_, secret, err := store.Create(policy, token.Draft{
		Kind: token.KindAPI, Name: "ci", Account: "default", Preset: "full", Expiry: token.Expiry{NeverExpires: true},
	}, tokenstore.Actor{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return loaded, secret.Reveal()
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

// request returns a function that sends a request with the token to a site, and the writer
// that receives the responses.
func (c chains) request(site, token string) (send func(), w *silentWriter) {
	r := httptest.NewRequest(http.MethodGet, "/api/unikernels", nil)
	r.Host = site
	r.Header = http.Header{"User-Agent": {"curl/8.5.0"}, "Accept": {"*/*"}}
	w = &silentWriter{header: make(http.Header)}
	authorization := []string{"Bearer " + token}
	return func() {
		w.prepare(r, authorization)
		c[site].ServeHTTP(w, r)
	}, w
}

const (
	unknownToken   = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"
	malformedToken = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7E"
)

// TestAllocations compares a request's allocations with and without a gate. Caddy itself makes
// one of the allocations, for the directive. With the race detector, a [sync.Pool] drops a
// quarter of its values at random, so the test counts the request with the fewest allocations.
func TestAllocations(t *testing.T) {
	sites, token := loadChains(t)
	allocations := func(site, token string, status int) float64 {
		send, w := sites.request(site, token)
		n := testing.AllocsPerRun(1, send)
		for range 200 {
			n = min(n, testing.AllocsPerRun(1, send))
		}
		if w.status != status {
			t.Errorf("%s: status %d, want %d", site, w.status, status)
		}
		return n
	}
	open, watched := allocations("open", token, http.StatusOK), allocations("open-watched", token, http.StatusOK)
	for _, tt := range []struct {
		name, site, token string
		status            int
		without, most     float64
	}{
		{"allowed", "gated", token, http.StatusOK, open, 7},
		// A handler that watches for cancellation, such as a proxy, requires a cancelable
		// context and a timer for the response timeout.
		{"allowed and watched", "gated-watched", token, http.StatusOK, watched, 12},
		{"unknown", "gated", unknownToken, http.StatusUnauthorized, open, 18}, // bbolt makes 6 of them
		{"malformed", "gated", malformedToken, http.StatusUnauthorized, open, 12},
	} {
		if n := allocations(tt.site, tt.token, tt.status) - tt.without; n > tt.most {
			t.Errorf("%s: %v more allocations than without a gate, want at most %v", tt.name, n, tt.most)
		} else {
			t.Logf("%s: %v more allocations than without a gate", tt.name, n)
		}
	}
}

func BenchmarkChain(b *testing.B) {
	sites, token := loadChains(b)
	for _, bb := range []struct{ name, site, token string }{
		{"open", "open", token}, {"gated", "gated", token}, {"open and watched", "open-watched", token},
		{"gated and watched", "gated-watched", token},
		{"unknown", "gated", unknownToken}, {"malformed", "gated", malformedToken},
	} {
		b.Run(bb.name, func(b *testing.B) {
			send, _ := sites.request(bb.site, bb.token)
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
			send, _ := sites.request("gated", token)
			for pb.Next() {
				send()
			}
		})
	})
}
