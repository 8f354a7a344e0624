package tokenstore

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mollygate/mollygate/token"
)

// TestSystemClock verifies that times have no monotonic reading. With one, comparisons would
// be wrong after a suspend.
func TestSystemClock(t *testing.T) {
	t.Parallel()
	now := SystemClock{}.Now()
	if now != now.Round(0) || now.Location() != time.UTC || time.Since(now) > time.Minute {
		t.Errorf("SystemClock returned %#v, want the current time in UTC without a monotonic reading", now)
	}
}

// TestExpiryBoundary verifies that a token is valid until the moment of its expiry, and no
// longer.
func TestExpiryBoundary(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
	for _, c := range []struct {
		from time.Duration
		want token.Status
	}{
		{-time.Second, token.StatusActive}, {-time.Nanosecond, token.StatusActive}, {0, token.StatusExpired},
		{time.Nanosecond, token.StatusExpired}, {time.Second, token.StatusExpired},
	} {
		s.clock.set(tok.ExpiresAt.Add(c.from))
		if match := s.must(t, credential); match.Status != c.want {
			t.Errorf("%+d ns from its expiry the token is %v, want %v", c.from, match.Status, c.want)
		}
	}
}

// TestClockSetBack verifies that an expired token stays expired in this process and the next,
// no matter how far the clock is set back.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for _, back := range []time.Duration{time.Microsecond, time.Second, time.Hour, 10 * 365 * 24 * time.Hour} {
		s := openTestStore(t)
		tok, credential := s.create(t)
		for _, before := range []time.Duration{time.Hour, time.Millisecond, time.Microsecond} {
			s.clock.set(tok.ExpiresAt.Add(-before))
			if match := s.must(t, credential); match.Status != token.StatusActive {
				t.Fatalf("%s before its expiry the token is %v, want active", before, match.Status)
			}
		}
		s.clock.set(tok.ExpiresAt)
		match := s.must(t, credential)
		s.clock.set(tok.ExpiresAt.Add(-back))
		if match := s.must(t, credential); match.Status != token.StatusExpired {
			t.Errorf("with the clock set back by %s the token is %v, want expired", back, match.Status)
		}
		if now := s.Now(); !now.Equal(tok.ExpiresAt) || now.Location() != time.UTC {
			t.Errorf("Now returned %s, want %s", now, tok.ExpiresAt)
		}
		// Both changes and counts record the time.
		s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := reopen(t, s.memory, s.clock)
		if match := again.must(t, credential); match.Status != token.StatusExpired {
			t.Errorf("in the next process the token is %v, want expired", match.Status)
		}
		// New tokens use the effective time.
		created, _ := again.create(t)
		if created.CreatedAt.Before(tok.ExpiresAt) {
			t.Errorf("a new token was created at %s, before the effective time %s", created.CreatedAt, tok.ExpiresAt)
		}
		// The clock catches up.
		later := tok.ExpiresAt.Add(time.Minute + time.Nanosecond)
		again.clock.set(later)
		if now := again.Now(); now != later {
			t.Errorf("after the clock caught up, Now returned %s, want %s", now, later)
		}
	}
}

func TestRecordedTime(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	if now := s.Now(); now != testTime {
		t.Errorf("Now returned %s, want %s", now, testTime)
	}
	_, credential := s.create(t)
	if !s.memory.state.Recorded.Equal(testTime) {
		t.Errorf("after a change, the recorded time is %s, want %s", s.memory.state.Recorded, testTime)
	}
	s.clock.set(testTime.Add(time.Hour))
	s.CountDenied(s.must(t, credential),
		Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if !s.memory.state.Recorded.Equal(testTime.Add(time.Hour)) {
		t.Errorf("after a flush, the recorded time is %s, want an hour later", s.memory.state.Recorded)
	}
	s.clock.set(testTime)
	s.create(t)
	if !s.memory.state.Recorded.Equal(testTime.Add(time.Hour)) {
		t.Errorf("with the clock set back, the recorded time changed to %s", s.memory.state.Recorded)
	}
}

// TestNowNeverGoesBack verifies that Now never returns an earlier second than before, even
// with concurrent readers and a clock that jumps back and forth.
func TestNowNeverGoesBack(t *testing.T) {
	t.Parallel()
	jumping := ClockFunc(func() time.Time { return testTime.Add(time.Duration(rand.Int64N(int64(time.Hour)))) })
	s, err := Open(newMemory(), Options{Clock: jumping, FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var newest time.Time
			for range 2000 {
				now := s.Now()
				if now.Before(newest.Truncate(time.Second)) {
					t.Errorf("Now returned %s after %s", now, newest)
					return
				}
				newest = now
			}
		})
	}
	readers.Wait()
}

// TestClockBehindIsLogged verifies that the store logs once when the clock falls behind and
// once when it has caught up.
func TestClockBehindIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	backend := newMemory()
	backend.state.Recorded = testTime
	clock := newTestClock(testTime.Add(-time.Hour))
	s, err := Open(backend, Options{Clock: clock, FlushInterval: -1, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	count := func(text string) int { return logs.FilterMessageSnippet(text).Len() }
	eventually(t, "the clock is behind", func() bool { return count("clock is behind") == 1 })
	clock.set(testTime)
	eventually(t, "the clock has caught up", func() bool { return count("has caught up with") == 1 })
	clock.set(testTime.Add(-clockTolerance - time.Second))
	eventually(t, "the clock is behind again", func() bool { return count("clock is behind") == 2 })
}

// TestFlushFailureIsLogged verifies that the store logs once when flushing starts to fail and
// once when it works again.
func TestFlushFailureIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	backend := newMemory()
	s, err := Open(backend, Options{FlushInterval: time.Millisecond, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	test := &testStore{s, backend, nil}
	_, credential := test.create(t)
	match := test.must(t, credential)
	backend.do(func() { backend.saveError = ErrUnavailable })
	s.CountDenied(match, Refusal{Time: testTime, Scope: "unikernel:list", Code: "insufficient_scope"})
	eventually(t, "some flushes have failed", func() bool {
		backend.mu.Lock()
		defer backend.mu.Unlock()
		return backend.calls["SaveUsage"] > 3
	})
	backend.do(func() { backend.saveError = nil })
	eventually(t, "usage is saved again",
		func() bool { return logs.FilterMessageSnippet("being saved again").Len() == 1 })
	if n := logs.FilterMessageSnippet("saving token usage failed").Len(); n != 1 {
		t.Errorf("the failure was logged %d times, want once", n)
	}
}

// TestAcceptClock verifies that the store adopts an earlier time only when an actor accepts
// the clock.
func TestAcceptClock(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	_, credential := s.create(t)
	s.clock.set(testTime.AddDate(1, 0, 0))
	s.create(t)
	s.clock.set(testTime.Add(time.Hour))
	if got := s.present(t, credential); got != "expired" {
		t.Fatalf("before accepting the clock, the token is %s, want expired", got)
	}
	from, to, err := s.AcceptClock(testActor)
	if err != nil || !from.Equal(testTime.AddDate(1, 0, 0)) || !to.Equal(testTime.Add(time.Hour)) {
		t.Errorf("AcceptClock returned %s, %s, %v", from, to, err)
	}
	if got := s.present(t, credential); got != "active" || !s.Now().Equal(to) || !s.memory.state.Recorded.Equal(to) {
		t.Errorf("after accepting the clock, the token is %s at %s, and the recorded time is %s", got, s.Now(),
			s.memory.state.Recorded)
	}
	if entry := s.memory.audit[len(s.memory.audit)-1]; entry.Action != "accept clock" || entry.TokenID != (token.ID{}) {
		t.Errorf("unexpected audit entry %+v", entry)
	}
	lines := len(s.memory.audit)
	if from, to, err := s.AcceptClock(testActor); err != nil || from.After(to) || len(s.memory.audit) != lines {
		t.Errorf("second AcceptClock: got %s, %s, %v, want no change", from, to, err)
	}
}
