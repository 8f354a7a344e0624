package tokenstore

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestRateLimit verifies that a limit allows a burst of up to its number of requests and
// refills evenly.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type step struct {
		after     time.Duration
		exceeded  bool
		remaining int64
		reset     time.Duration
	}
	for name, test := range map[string]struct {
		limit token.RateLimit
		steps []step
	}{
		"three per minute": {token.RateLimit{Requests: 3, Window: time.Minute}, []step{
			{0, false, 2, 20 * time.Second},
			{0, false, 1, 40 * time.Second},
			{0, false, 0, 20 * time.Second},
			{0, true, 0, 20 * time.Second},
			{19 * time.Second, true, 0, time.Second}, // a refused request doesn't count
			{20 * time.Second, false, 0, 20 * time.Second},
			{20*time.Second + 1, true, 0, 20*time.Second - 1},
			{day, false, 2, 20 * time.Second},
		}},
		"clock set back": {token.RateLimit{Requests: 2, Window: time.Minute}, []step{
			{day, false, 1, 30 * time.Second},
			{day, false, 0, 30 * time.Second},
			{day - time.Second, true, 0, 31 * time.Second}, // a request with a slightly earlier time
			{0, true, 0, 30 * time.Second},
			{29 * time.Second, true, 0, time.Second},
			{30 * time.Second, false, 0, 30 * time.Second},
			{day, false, 1, 30 * time.Second},
		}},
		"uneven interval": {token.RateLimit{Requests: 7, Window: time.Second}, []step{
			{0, false, 6, 142857143}, {0, false, 5, 285714286}, {0, false, 4, 428571429}, {0, false, 3, 571428572},
			{0, false, 2, 714285715}, {0, false, 1, 857142858}, {0, false, 0, 142857143}, {0, true, 0, 142857143},
			{142857142, true, 0, 1}, {142857143, false, 0, 142857143},
		}},
		"one per day": {token.RateLimit{Requests: 1, Window: day},
			[]step{{0, false, 0, day}, {day - 1, true, 0, 1}, {day, false, 0, day}}},
		"maximum": {token.RateLimit{Requests: 1_000_000_000, Window: time.Second},
			[]step{{0, false, 1_000_000_000 - 1, 1}, {1, false, 1_000_000_000 - 1, 1}}},
	} {
		var state rateState
		for i, step := range test.steps {
			now := testTime.Add(step.after)
			clock := newTestClock(now)
			peeked := state.take(test.limit, now, clock, true)
			if again := state.take(test.limit, now, clock, true); again != peeked || peeked.Exceeded != step.exceeded {
				t.Errorf("%s, step %d: peeking returned %+v, then %+v", name, i, peeked, again)
			}
			want := token.Standing{Limit: test.limit.Requests, Window: test.limit.Window, Remaining: step.remaining,
				Reset: step.reset, Exceeded: step.exceeded}
			if got := state.take(test.limit, now, clock, false); got != want {
				t.Errorf("%s, step %d: got %+v, want %+v", name, i, got, want)
			}
		}
	}
}

// TestRateLimitIsExact runs 64 goroutines whose clock readings arrive out of order. It
// verifies that no more requests pass than the burst plus the refill. If the limit credited
// the same time twice after a step back, thousands more would pass.
func TestRateLimitIsExact(t *testing.T) {
	t.Parallel()
	limit := token.RateLimit{Requests: 1000, Window: time.Minute}
	var e entry
	var clock, passed atomic.Int64
	look := func() time.Time {
		return testTime.Add(time.Duration(clock.Load()) - time.Duration(rand.IntN(int(900*time.Millisecond))))
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 2000 {
				clock.Add(int64(time.Millisecond))
				now := look()
				e.mu.Lock()
				exceeded := e.rate.take(limit, now, ClockFunc(look), false).Exceeded
				e.mu.Unlock()
				if !exceeded {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	took := time.Duration(clock.Load())
	most := limit.Requests + int64((took+time.Second)/(limit.Window/time.Duration(limit.Requests)))
	if got := passed.Load(); got > most || got < most-30 {
		t.Errorf("%d of %d requests passed in %v, want at most %d and at least 30 fewer", got, 64*2000, took, most)
	}
}

// TestRateLimitWithStaleTime verifies that a request with an old clock reading doesn't refill
// the limit.
func TestRateLimitWithStaleTime(t *testing.T) {
	t.Parallel()
	limit := token.RateLimit{Requests: 2, Window: time.Minute}
	clock := newTestClock(testTime.Add(time.Hour))
	var state rateState
	for i, want := range []bool{false, false, true, true} {
		now := clock.Now()
		if i == 2 {
			now = testTime
		}
		if got := state.take(limit, now, clock, false); got.Exceeded != want || want && got.Reset != 30*time.Second {
			t.Errorf("request %d: got %+v, want exceeded: %v", i, got, want)
		}
	}
}

// TestTakeRate verifies that changing the limit takes effect immediately and doesn't forget
// the requests already taken.
func TestTakeRate(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t,
		func(d *token.Draft) { d.RateLimit = &token.RateLimit{Requests: 2, Window: time.Minute} })
	other, _ := s.create(t, func(d *token.Draft) { d.RateLimit = &token.RateLimit{Requests: 1, Window: time.Minute} })
	take := func(exceeded bool, remaining int64) {
		t.Helper()
		match := s.must(t, credential)
		if got := s.RateStanding(match.Token, s.Now()); got.Exceeded != exceeded {
			t.Errorf("RateStanding returned %+v, want exceeded: %v", got, exceeded)
		}
		if got := s.TakeRate(match, s.Now()); got.Exceeded != exceeded || got.Remaining != remaining {
			t.Errorf("TakeRate returned %+v, want exceeded: %v, remaining: %d", got, exceeded, remaining)
		}
	}
	change := func(requests int64, window time.Duration) {
		t.Helper()
		_, err := s.Edit(testPolicy, tok.ID, token.Edit{RateLimit: func(*token.RateLimit) *token.RateLimit {
			if requests == 0 {
				return nil
			}
			return &token.RateLimit{Requests: requests, Window: window}
		}}, testActor)
		if err != nil {
			t.Fatal(err)
		}
	}
	take(false, 1)
	take(false, 0)
	take(true, 0)
	change(120, time.Minute) // none are available yet
	take(true, 0)
	s.clock.set(testTime.Add(time.Second))
	take(false, 1)
	take(false, 0)
	take(true, 0)
	change(1, time.Second) // a shorter window
	s.clock.set(testTime.Add(2 * time.Second))
	take(true, 0)
	s.clock.set(testTime.Add(3 * time.Second))
	take(false, 0)
	change(0, 0)
	if got := s.TakeRate(s.must(t, credential), s.Now()); got != (token.Standing{}) {
		t.Errorf("without a limit, TakeRate returned %+v, want the zero value", got)
	}
	if got := s.RateStanding(PrincipalOf(other), s.Now()); got.Exceeded || got.Remaining != 1 {
		t.Errorf("other token: RateStanding returned %+v, want 1 remaining", got)
	}
}
