package bolt

import (
	"crypto/sha256"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// benchmarkStore returns a store with n tokens, written in one transaction.
func benchmarkStore(b *testing.B, n int) (*Backend, []token.Digest) {
	b.Helper()
	backend := mustOpen(b, newPath(b))
	var digests []token.Digest
	err := backend.update(func(tx *bbolt.Tx) error {
		for i := range n {
			token := &token.Token{
				Terms:  token.Terms{Kind: token.KindAPI, Account: "default", Scopes: token.Grants{"unikernel:list"}},
				Format: token.FormatNative, Prefix: "mm", Name: "benchmark",
				CreatedAt: testTime, Version: 1,
			}
			sum := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
			copy(token.ID[:], sum[:])
			token.Digest = sha256.Sum256(sum[:])
			digests = append(digests, token.Digest)
			if err := put(tx, token); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return backend, digests
}

// BenchmarkMiss measures looking up an unknown token.
func BenchmarkMiss(b *testing.B) {
	backend, digests := benchmarkStore(b, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		digest := digests[i%len(digests)]
		digest[31] ^= 1
		if _, err := backend.IDOf(digest); err != tokenstore.ErrNotFound {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstUse measures looking up a token that is not yet in memory.
func BenchmarkFirstUse(b *testing.B) {
	backend, digests := benchmarkStore(b, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id, err := backend.IDOf(digests[i%len(digests)])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := backend.Token(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s := openStore(b, mustOpen(b, newPath(b)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			makeToken(b, s)
		}
	})
}

// BenchmarkScan measures a scan of all tokens with their usage, in ns per token.
func BenchmarkScan(b *testing.B) {
	const tokens = 50_000
	backend, _ := benchmarkStore(b, tokens)
	s := openStore(b, backend)
	usages := make(map[token.ID]tokenstore.Usage)
	check(b, s.Scan(b.Context(), func(t tokenstore.TokenUsage) bool {
		usages[t.Token.ID] = tokenstore.Usage{Allowed: 7, Last: tokenstore.LastUse{
			Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.5.0", Route: "GET /api/unikernels",
		}}
		return true
	}))
	save(b, backend, usages)
	b.ReportAllocs()
	for b.Loop() {
		sum := uint64(0)
		check(b, s.Scan(b.Context(), func(t tokenstore.TokenUsage) bool {
			sum += t.Usage.Allowed
			return true
		}))
		if sum != 7*tokens {
			b.Fatalf("got %d uses, want %d", sum, 7*tokens)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/tokens, "ns/token")
}
