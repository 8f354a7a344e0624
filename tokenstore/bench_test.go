package tokenstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestAllocations verifies that finding a token in use and counting a request don't allocate.
func TestAllocations(t *testing.T) {
	s := openTestStore(t)
	_, secret, err := s.Create(testPolicy, validDraft(), testActor)
	if err != nil {
		t.Fatal(err)
	}
	text := secret.Reveal()
	credential, err := testPolicy.Prefixes.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	use := LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"}
	s.CountAllowed(s.must(t, credential), "unikernel:list", use)
	for name, f := range map[string]func(){
		"Authenticate": func() { _, _ = s.Authenticate(credential, s.Now()) },
		"Authenticate and CountDenied": func() {
			m, _ := s.Authenticate(credential, s.Now())
			s.CountDenied(m, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
		},
		"Authenticate and CountAllowed": func() {
			m, _ := s.Authenticate(credential, s.Now())
			s.CountAllowed(m, "unikernel:list", use)
		},
		"from Parse to CountAllowed": func() {
			c, _ := testPolicy.Prefixes.Parse(text)
			m, _ := s.Authenticate(c, s.Now())
			s.CountAllowed(m, "unikernel:list", use)
		},
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
	// On a miss only the backend allocates.
	miss := unknown(t, text, idOffset)
	backend := testing.AllocsPerRun(1000, func() { _, _ = s.memory.IDOf(miss.Digest) })
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Authenticate(miss, s.Now()) }); n > backend {
		t.Errorf("a miss made %v allocations, want at most the backend's %v", n, backend)
	}
}

// fill puts n tokens into memory, without storing them in a backend, and returns their digests
// in random order.
func fill(s *testStore, n int) []token.Digest {
	digests := make([]token.Digest, n)
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		tok := leastToken()
		binary.BigEndian.PutUint64(tok.ID[:], uint64(i))
		binary.BigEndian.PutUint32(tok.ID[8:], uint32(i)*2654435761)
		tok.Digest = token.DigestOf(string(tok.ID[:]))
		s.activate(tok)
		digests[at] = tok.Digest
	}
	return digests
}

// BenchmarkAuthenticate measures finding tokens and counting requests in random order. Counts
// are read from the journal and discarded instead of saved.
func BenchmarkAuthenticate(b *testing.B) {
	for _, size := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("tokens=%d", size), func(b *testing.B) { benchmarkAuthenticate(b, size) })
	}
}

func benchmarkAuthenticate(b *testing.B, size int) {
	s := openTestStore(b)
	digests := fill(s, size)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-s.journal.Full():
				s.flusher.mu.Lock()
				if batch, _ := s.pending.nextBatch(s.journal); batch != nil {
					s.pending.saved()
					s.journal.Saved(batch.end)
				}
				s.flusher.mu.Unlock()
			}
		}
	}()
	use := LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /api/unikernels"}
	b.Run("found", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Authenticate(token.Credential{Digest: digests[i%len(digests)]}, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("counted", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			match, err := s.Authenticate(token.Credential{Digest: digests[i%len(digests)]}, testTime)
			if err != nil {
				b.Fatal(err)
			}
			s.CountAllowed(match, "unikernel:list", use)
		}
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			digest := digests[i%len(digests)]
			digest[31] ^= 1
			if _, err := s.Authenticate(token.Credential{Digest: digest}, testTime); err != ErrNotFound {
				b.Fatal(err)
			}
		}
	})
	// Use the same token on all processors.
	b.Run("hot", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				match, err := s.Authenticate(token.Credential{Digest: digests[0]}, testTime)
				if err != nil {
					b.Error(err)
					return
				}
				s.CountAllowed(match, "unikernel:list", use)
			}
		})
	})
}

func BenchmarkNow(b *testing.B) {
	s, err := Open(newMemory(), Options{FlushInterval: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Now()
		}
	})
}

// BenchmarkCollect measures a garbage collection with one million tokens in use.
func BenchmarkCollect(b *testing.B) {
	s := openTestStore(b)
	fill(s, 1_000_000)
	runtime.GC()
	for b.Loop() {
		runtime.GC()
	}
	runtime.KeepAlive(s)
}
