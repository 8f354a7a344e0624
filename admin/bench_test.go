package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// benchmarkAPI is the API over a store with many tokens, all of them used.
func benchmarkAPI(b *testing.B, tokens int) http.Handler {
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
	var made atomic.Int64
	var makers sync.WaitGroup
	for range 2_000 { // who share their commits
		makers.Go(func() {
			for n := made.Add(1); n <= int64(tokens); n = made.Add(1) {
				draft := tokenstore.Draft{
					Kind: tokenstore.KindAPI, Name: fmt.Sprint("pipeline ", n), Account: []string{"default", "alice"}[n%2], Preset: "read",
					Metadata: map[string]string{"team": "infra"}, Expiry: tokenstore.Expiry{ExpiresIn: mustLifetime("90d")},
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
				match, err := store.Authenticate(credential, store.Now())
				if err != nil {
					b.Error(err)
					return
				}
				for range n % 5 {
					store.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: store.Now(), IP: "203.0.113.7", UserAgent: "curl/8.5.0", Route: "GET /api/unikernels"})
				}
			}
		})
	}
	makers.Wait()
	if err := store.Flush(); err != nil {
		b.Fatal(err)
	}
	return New(Config{
		Store: func(context.Context) (*tokenstore.Store, error) { return store, nil }, Policy: testPolicy, WarnBefore: mustLifetime("30d"),
		Authenticate: func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "caddy-admin"}, nil
		},
	})
}

// BenchmarkAPI is what calls cost with few and with many tokens. A million of them
// take some minutes to make: go test -bench BenchmarkAPI/1000000 -timeout 30m.
func BenchmarkAPI(b *testing.B) {
	for _, tokens := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(tokens), func(b *testing.B) {
			if tokens > 100_000 && testing.Short() {
				b.Skip("takes long")
			}
			api := benchmarkAPI(b, tokens)
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
		})
	}
}
