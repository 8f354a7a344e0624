package tokenstore

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// Clock is a source of the current time. Tests replace it to check expiry and clock jumps
// without waiting. Implementations must be safe for concurrent use.
type Clock interface {
	Now() time.Time
}

// SystemClock is the machine's wall clock.
type SystemClock struct{}

// Now returns the wall-clock time in UTC, without a monotonic reading. Stored times don't have
// one, and after a suspend the monotonic and wall clocks disagree.
func (SystemClock) Now() time.Time { return time.Now().Round(0).UTC() }

// ClockFunc adapts a function to a [Clock].
type ClockFunc func() time.Time

// Now calls f.
func (f ClockFunc) Now() time.Time { return f() }

// clockTolerance is how far the clock may be behind the effective time before the store
// reports it.
const clockTolerance = time.Second

// Now returns the effective time: the clock's time, but never earlier than the latest time
// recorded in the backend or the latest second this store has seen. A token's validity depends
// only on whole seconds, so setting the clock back doesn't make an expired token valid again.
func (s *Store) Now() time.Time {
	now := s.clock.Now()
	newest := s.newest.Load()
	switch micros := now.UnixMicro(); {
	case micros < newest:
		return time.UnixMicro(newest).UTC()
	case micros/microsPerSecond > newest/microsPerSecond: // at most one write per second
		raise(&s.newest, micros)
	}
	return now
}

// AcceptClock accepts the clock's current time as correct. If the store has seen a later time,
// for example because the clock wrongly ran ahead, AcceptClock discards that time, and tokens
// that expired only because of it become valid again. If the clock is ahead of the elapsed
// time, for example because the server was off for days, the store resumes deleting old
// records. from is the previous time: the elapsed time if the clock was ahead of it, and the
// effective time otherwise. to is the new effective time. If from and to are equal, nothing
// has changed.
func (s *Store) AcceptClock(actor Actor) (from, to time.Time, err error) {
	if s.closed.Load() {
		return from, to, ErrClosed
	}
	s.flusher.mu.Lock() // a flush in progress would record the old time again
	defer s.flusher.mu.Unlock()
	from, to = s.Now(), s.clock.Now()
	if !to.Before(from) {
		if s.ClockAhead() == 0 {
			return to, to, nil
		}
		from = s.elapsed.at()
	}
	entry := AuditEntry{
		Time: to, Actor: actor.Name, Address: actor.Address, Action: "accept clock",
		Changes: map[string]string{"clock": token.AuditTime(from) + " -> " + token.AuditTime(to)},
	}
	if err := actor.authorize(); err != nil {
		return from, to, err
	}
	if err := s.setTimes(State{Recorded: to, Elapsed: to}, &entry); err != nil {
		return from, to, readError(err)
	}
	s.newest.Store(to.UnixMicro())
	s.elapsed.accept(to)
	return from, to, nil
}

const microsPerSecond = int64(time.Second / time.Microsecond)

// ClockBehind returns how far the clock is behind the effective time, or 0 if the difference
// is negligible.
func (s *Store) ClockBehind() time.Duration {
	clock := s.clock.Now() // read first: the effective time must not be earlier
	if behind := s.Now().Sub(clock); behind > clockTolerance {
		return behind
	}
	return 0
}

// watchClock logs when the clock falls behind the effective time and when it catches up.
func (s *Store) watchClock(behind *condition) {
	clock, now := s.clock.Now(), s.Now()
	switch behind.update(s.ClockBehind() > 0) {
	case conditionBegan:
		s.logger.Error(
			"the clock is behind the latest time recorded in the token store; "+
				"using the recorded time until the clock catches up",
			zap.Time("clock", clock), zap.Time("recorded", now))
	case conditionEnded:
		s.logger.Info("the clock has caught up with the latest time recorded in the token store")
	}
}

// raise sets number to v unless number is already higher.
func raise(number *atomic.Int64, v int64) {
	for {
		old := number.Load()
		if v <= old || number.CompareAndSwap(old, v) {
			return
		}
	}
}
