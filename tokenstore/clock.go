package tokenstore

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// Clock tells the time. It is injected wherever a rule depends on it, so that
// expiry and clock jumps can be tested without waiting. Implementations are safe
// for concurrent use.
type Clock interface {
	Now() time.Time
}

// SystemClock is the machine's wall clock.
type SystemClock struct{}

// Now returns the wall-clock time in UTC without its monotonic part: stored
// times have none, and after a suspend the two disagree.
func (SystemClock) Now() time.Time { return time.Now().Round(0).UTC() }

// ClockFunc is a function as a [Clock].
type ClockFunc func() time.Time

// Now calls f.
func (f ClockFunc) Now() time.Time { return f() }

// clockTolerance is how much later than the clock the time that counts may be
// before it is worth telling.
const clockTolerance = time.Second

// Now returns the time that counts: the clock's, but never before the newest time
// that the backend has recorded, nor before the newest second that this store has
// seen. All that a token's validity depends on are whole seconds, so a clock that
// falls back brings no token back to life.
func (s *Store) Now() time.Time {
	now := s.clock.Now()
	newest := s.newest.Load()
	switch micros := now.UnixMicro(); {
	case micros < newest:
		return time.UnixMicro(newest).UTC()
	case micros/microsPerSecond > newest/microsPerSecond: // so that not every request writes
		raise(&s.newest, micros)
	}
	return now
}

// AcceptClock takes the clock's time for right. If the store has seen a later one, as
// after a clock that wrongly ran ahead, it forgets that: tokens that had expired by
// then are valid again. If the clock is ahead of the time that has passed, as after the
// server was off for days, old records are deleted again. AcceptClock returns the time
// that counted and the one that counts now; if they agree nothing is changed.
func (s *Store) AcceptClock(actor Actor) (from, to time.Time, err error) {
	if s.closed.Load() {
		return from, to, ErrClosed
	}
	s.flusher.mu.Lock() // a flush under way would record the old time again
	defer s.flusher.mu.Unlock()
	from, to = s.Now(), s.clock.Now()
	if !to.Before(from) {
		if s.ClockAhead() == 0 {
			return to, to, nil
		}
		from = s.passed.at()
	}
	entry := AuditEntry{
		Time: to, Actor: actor.Name, Address: actor.Address, Action: "accept clock",
		Changes: map[string]string{"clock": token.NotedTime(from) + " -> " + token.NotedTime(to)},
	}
	if err := actor.authorize(); err != nil {
		return from, to, err
	}
	if err := s.setTimes(State{Recorded: to, Elapsed: to}, &entry); err != nil {
		return from, to, readError(err)
	}
	s.newest.Store(to.UnixMicro())
	s.passed.accept(to)
	return from, to, nil
}

const microsPerSecond = int64(time.Second / time.Microsecond)

// ClockBehind is how far the clock is behind the time that counts, or 0 if it is so
// little that it isn't worth telling.
func (s *Store) ClockBehind() time.Duration {
	clock := s.clock.Now() // first: the time that counts isn't before it
	if behind := s.Now().Sub(clock); behind > clockTolerance {
		return behind
	}
	return 0
}

// watchClock tells when the clock falls behind the time that counts, and when it
// has caught up.
func (s *Store) watchClock(behind *trouble) {
	clock, now := s.clock.Now(), s.Now()
	switch behind.changed(s.ClockBehind() > 0) {
	case troubleBegan:
		s.logger.Error(
			"the clock is behind the newest time the token store has recorded; the recorded time counts until the clock has caught up",
			zap.Time("clock", clock), zap.Time("recorded", now))
	case troubleEnded:
		s.logger.Info("the clock has caught up with the newest time the token store has recorded")
	}
}

// raise sets a number to v unless it is higher already.
func raise(number *atomic.Int64, v int64) {
	for {
		old := number.Load()
		if v <= old || number.CompareAndSwap(old, v) {
			return
		}
	}
}
