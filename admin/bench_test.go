package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// benchmarkAPI fills a store with used tokens. It returns an API backed by the store, the
// store itself and the first 1000 tokens' credentials.
func benchmarkAPI(b *testing.B, tokens int) (http.Handler, *tokenstore.Store, []token.Credential) {
	b.Helper()
	backend, err := bolt.Open(filepath.Join(b.TempDir(), "tokens.db"))
	if err != nil {
		b.Fatal(err)
	}
	store, err := tokenstore.Open(backend, tokenstore.Options{FlushInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	var created atomic.Int64
	credentials := make([]token.Credential, 1000)
	var creators sync.WaitGroup
	for range 2_000 { // concurrent creators share commits
		creators.Go(func() {
			for n := created.Add(1); n <= int64(tokens); n = created.Add(1) {
				draft := token.Draft{
					Kind: token.KindAPI, Name: fmt.Sprint("pipeline ", n), Account: []string{"default", "alice"}[n%2],
					Preset:   "read",
					Metadata: map[string]string{"team": "infra"}, Expiry: token.Expiry{ExpiresIn: mustLifetime("90d")},
				}
				_, secret, err := store.Create(testPolicy, draft, tokenstore.Actor{Name: "caddy-admin"})
				if err != nil {
					b.Error(err)
					return
				}
				credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
				if err != nil {
					b.Error(err)
					return
				}
				if n <= int64(len(credentials)) {
					credentials[n-1] = credential
				}
				match, err := store.Authenticate(credential, store.Now())
				if err != nil {
					b.Error(err)
					return
				}
				for range n % 5 {
					store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: store.Now(), IP: "203.0.113.7",
						UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
				}
			}
		})
	}
	creators.Wait()
	if err := store.Flush(); err != nil {
		b.Fatal(err)
	}
	api := New(Config{
		Store: func(context.Context) (*tokenstore.Store, error) { return store, nil }, Policy: testPolicy,
		WarnBefore: mustLifetime("30d"),
		Authenticate: func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "caddy-admin"}, nil
		},
	})
	return api, store, credentials
}

// BenchmarkAPI measures calls with few and with many tokens. Creating a million tokens
// takes several minutes: go test -bench BenchmarkAPI/1000000 -timeout 30m.
func BenchmarkAPI(b *testing.B) {
	for _, tokens := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) {
			if tokens > 100_000 && testing.Short() {
				b.Skip("slow")
			}
			api, store, credentials := benchmarkAPI(b, tokens)
			for _, call := range []struct{ name, method, target, body string }{
				{"create", http.MethodPost, "/tokens", goodBody},
				{"default page", http.MethodGet, "/tokens", ""},
				{"last pages", http.MethodGet, "/tokens?sort=created_at", ""},
				{"by expiry", http.MethodGet, "/tokens?sort=expires_at", ""},
				{"by id", http.MethodGet, "/tokens?q=zzzzzzzzzzzz", ""},
				{"by name", http.MethodGet, "/tokens?sort=name", ""},
				{"by usage", http.MethodGet, "/tokens?sort=-usage_count", ""},
				{"by last use", http.MethodGet, "/tokens?sort=-last_used_at", ""},
				{"search", http.MethodGet, "/tokens?q=pipeline+77777", ""},
				{"filter", http.MethodGet, "/tokens?account=alice&status=active&scope=volume:list&sort=name", ""},
				{"count", http.MethodGet, "/tokens?count=true", ""},
				{"stats", http.MethodGet, "/stats", ""},
			} {
				b.Run(strings.ReplaceAll(call.name, " ", "_"), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						r := httptest.NewRequest(call.method, call.target, strings.NewReader(call.body))
						r.Header.Set("Content-Type", "application/json")
						w := httptest.NewRecorder()
						if api.ServeHTTP(w, r); w.Code/100 != 2 {
							b.Fatal(w.Code, w.Body)
						}
					}
				})
			}
			b.Run("request_alone", func(b *testing.B) { benchmarkRequests(b, store, credentials) })
			b.Run("request_during_searches", func(b *testing.B) {
				ctx, cancel := context.WithCancel(b.Context())
				var searching sync.WaitGroup
				searching.Go(func() {
					for ctx.Err() == nil {
						api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet,
							"/tokens?q=pipeline+77777&count=true", nil))
					}
				})
				benchmarkRequests(b, store, credentials)
				cancel()
				searching.Wait()
			})
		})
	}
}

// benchmarkRequests measures the store calls that the gate makes per request and reports
// their latency percentiles.
func benchmarkRequests(b *testing.B, store *tokenstore.Store, credentials []token.Credential) {
	b.Helper()
	credentials = slices.DeleteFunc(slices.Clone(credentials),
		func(c token.Credential) bool { return c.Digest.IsZero() })
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begun := time.Now()
		match, err := store.Authenticate(credentials[i%len(credentials)], begun)
		if err != nil {
			b.Fatal(err)
		}
		store.CountAllowed(match, "unikernel:list",
			tokenstore.LastUse{Time: begun, IP: "203.0.113.7", UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	for _, part := range []struct {
		name string
		at   float64
	}{{"ns/p50", 0.5}, {"ns/p99", 0.99}, {"ns/p99.9", 0.999}, {"ns/max", 1}} {
		b.ReportMetric(float64(took[int(part.at*float64(len(took)-1))]), part.name)
	}
}
