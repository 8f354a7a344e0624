package bolt

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// BenchmarkCount measures counting a use, including the series and the usage journal.
func BenchmarkCount(b *testing.B) {
	for _, tokens := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			s, matches := usedTokens(b, tokens)
			use := tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9",
				Route: "GET /api/unikernels"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				use.Time = use.Time.Add(1000)
				s.CountAllowed(matches[i%tokens], "unikernel:list", use)
			}
		})
	}
	// All processors use the same token.
	b.Run("hot", func(b *testing.B) {
		s, matches := usedTokens(b, 1)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			use := tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9",
				Route: "GET /api/unikernels"}
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
			s.CountDenied(matches[0], tokenstore.Refusal{Time: testTime, Scope: "unikernel:create",
				Code: "insufficient_scope"})
		}
	})
}

// usedTokens returns a store with n tokens that have already been used.
func usedTokens(b *testing.B, n int) (*tokenstore.Store, []tokenstore.Match) {
	b.Helper()
	backend, digests := benchmarkStore(b, n)
	s := openStore(b, backend)
	b.Cleanup(func() { _ = s.Close() })
	matches := make([]tokenstore.Match, 0, n)
	for _, digest := range digests {
		match, err := s.Authenticate(token.Credential{Digest: digest}, testTime)
		check(b, err)
		s.CountAllowed(match, "unikernel:list",
			tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"})
		matches = append(matches, match)
	}
	return s, matches
}

// written returns how many bytes this process has passed to write calls.
func written(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0 // only available on Linux
	}
	var n int64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// BenchmarkFlush measures a flush when some of 100,000 tokens have unsaved counts.
func BenchmarkFlush(b *testing.B) {
	const tokens = 100_000
	for _, dirty := range []int{0, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("dirty=%d", dirty), func(b *testing.B) {
			s, matches := usedTokens(b, tokens)
			check(b, s.Flush())
			before, flushes := written(b), 0
			for b.Loop() {
				b.StopTimer()
				useEach(s, matches, dirty)
				b.StartTimer()
				check(b, s.Flush())
				flushes++
			}
			b.ReportMetric(float64(written(b)-before)/float64(flushes), "written-B/op")
		})
	}
}

// useEach counts one request for each of n tokens, spread evenly over all tokens.
func useEach(s *tokenstore.Store, matches []tokenstore.Match, n int) {
	for i := range n {
		s.CountAllowed(matches[i*len(matches)/n], "unikernel:list",
			tokenstore.LastUse{Time: testTime.Add(time.Duration(i)), IP: "203.0.113.7", Route: "GET /api/unikernels"})
	}
}

// BenchmarkDuringFlush measures a token change and a request, each with and without continuous
// flushes of the counts for 100,000 tokens.
func BenchmarkDuringFlush(b *testing.B) {
	const tokens = 100_000
	for name, flushing := range map[string]bool{"idle": false, "flushing": true} {
		b.Run(name, func(b *testing.B) {
			s, matches := usedTokens(b, tokens)
			check(b, s.Flush())
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for flushing {
					select {
					case <-stop:
						return
					default:
						useEach(s, matches, tokens)
						if err := s.Flush(); err != nil {
							b.Error(err)
						}
					}
				}
			}()
			var changes, requests []time.Duration
			for i := 0; b.Loop(); i++ {
				name := fmt.Sprint("name ", i)
				begun := time.Now()
				_, err := s.Edit(testPolicy, matches[i*7919%tokens].Token.ID, token.Edit{Name: &name}, testActor)
				changes = append(changes, time.Since(begun))
				check(b, err)
				for j := range 100 {
					match := matches[(i*100+j)*7919%tokens]
					begun := time.Now()
					found, err := s.Authenticate(token.Credential{Digest: match.Digest}, testTime)
					check(b, err)
					s.CountAllowed(found, "unikernel:list",
						tokenstore.LastUse{Time: testTime, IP: "203.0.113.7", Route: "GET /api/unikernels"})
					requests = append(requests, time.Since(begun))
				}
			}
			close(stop)
			<-stopped
			for what, took := range map[string][]time.Duration{"change": changes, "request": requests} {
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, what+"-p50-µs")
				b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, what+"-p99-µs")
				b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e3, what+"-max-µs")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
