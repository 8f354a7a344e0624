package bolt

import (
	"fmt"
	"testing"

	"github.com/mollygate/mollygate/tokenstore"
)

// BenchmarkCount is what recording a use costs, everything included: memory, the
// series, and the counters that outlive the process.
func BenchmarkCount(b *testing.B) {
	for _, tokens := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			s, matches := usedTokens(b, tokens)
			use := tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				use.Time = use.Time.Add(1000)
				s.CountAllowed(matches[i%tokens], "unikernel:list", use)
			}
		})
	}
	// One token that all processors use.
	b.Run("hot", func(b *testing.B) {
		s, matches := usedTokens(b, 1)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			use := tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"}
			for pb.Next() {
				use.Time = use.Time.Add(1000)
				s.CountAllowed(matches[0], "unikernel:list", use)
			}
		})
	})
	b.Run("denied", func(b *testing.B) {
		s, matches := usedTokens(b, 1)
		b.ReportAllocs()
		for b.Loop() {
			s.CountDenied(matches[0], testTime, "unikernel:create", "insufficient_scope")
		}
	})
}

// usedTokens returns tokens that have been used before.
func usedTokens(b *testing.B, n int) (*tokenstore.Store, []tokenstore.Match) {
	b.Helper()
	backend, digests := benchmarkStore(b, n)
	s := storeOver(b, backend)
	b.Cleanup(func() { _ = s.Close() })
	matches := make([]tokenstore.Match, 0, n)
	for _, digest := range digests {
		match, err := s.Authenticate(tokenstore.Credential{Digest: digest}, testTime)
		check(b, err)
		s.CountAllowed(match, "unikernel:list", tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"})
		matches = append(matches, match)
	}
	return s, matches
}
