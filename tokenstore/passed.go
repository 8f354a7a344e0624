package tokenstore

import (
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxUnseen is how far the clock may run ahead of the time that is known to have
// passed: a process doesn't know how long it was not running.
const maxUnseen = 24 * time.Hour

// passedTime is the time by which old records are deleted. A clock that is years ahead
// for a moment expires tokens only until it is set right, but what it made the store
// delete would stay deleted. So this time advances with the time that this process has
// run, plus a day at most for the time since the last process.
type passedTime struct {
	mu sync.Mutex
	// base is the time at which elapsed was from.
	base time.Time
	from time.Duration
	// elapsed returns how long the process has run.
	elapsed func() time.Duration
}

// open begins at the clock's time if that is at most a day after the time that was kept
// last. Otherwise it begins at the kept time: a clock that is behind, as that of a
// machine without a battery, is behind the store and is wrong, and one that is further ahead
// must not gain a day with each of many starts.
func (p *passedTime) open(kept, now time.Time, elapsed func() time.Duration) {
	p.elapsed = elapsed
	if unseen := now.Sub(kept); unseen < 0 || unseen > maxUnseen {
		now = kept
	}
	p.accept(now)
}

// accept takes the clock's time for right.
func (p *passedTime) accept(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base, p.from = now, p.elapsed()
}

func (p *passedTime) at() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.base.Add(p.elapsed() - p.from)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// passedNow returns the time that counts, but not later than the time that is known to
// have passed.
func (s *Store) passedNow() time.Time { return earlier(s.Now(), s.passed.at()) }

// ClockAhead returns how far the time that counts is ahead of the time that is known to
// have passed, or 0 if that is a day or less. While it is ahead, nothing old is deleted;
// see [Store.AcceptClock].
func (s *Store) ClockAhead() time.Duration {
	if ahead := s.Now().Sub(s.passed.at()); ahead > maxUnseen {
		return ahead
	}
	return 0
}

// openPassed begins with the time up to which the store's last process ran.
func (s *Store) openPassed(passed time.Time, elapsed func() time.Duration) {
	if passed.IsZero() { // a new store, or one of an older version
		if passed = time.UnixMicro(s.newest.Load()).UTC(); s.newest.Load() == (time.Time{}).UnixMicro() {
			passed = s.clock.Now()
		}
	}
	if elapsed == nil {
		started := time.Now()
		elapsed = func() time.Duration { return time.Since(started) }
	}
	s.passed.open(passed, s.clock.Now(), elapsed)
}

// prune removes what is no longer kept, a bounded number of records, and reports
// whether there is more.
func (s *Store) prune() (more bool, err error) {
	if err := s.setTimes(State{Elapsed: s.passed.at()}, nil); err != nil {
		return false, err
	}
	if s.ClockAhead() > 0 {
		return false, nil
	}
	now := s.passedNow()
	var audit time.Time
	if retention := s.auditRetention.Load(); retention != nil {
		audit = retention.Before(now)
	}
	days := Day(math.MinInt32) // nothing, until it is known how long the history is kept
	if s.historyDays.Load() > 0 {
		days = s.daysSince(now)
	}
	return s.backend.Prune(Retention{Audit: audit, Requests: now.Add(-RequestRetention), Hours: hoursSince(now),
		Days: days})
}

// watchAhead logs when the clock runs ahead and when it no longer does.
func (s *Store) watchAhead(ahead *trouble) {
	by := s.ClockAhead()
	switch ahead.changed(by > 0) {
	case troubleBegan:
		s.logger.Error(
			"the clock is more than a day ahead of the time that has passed; old audit entries and usage are kept until it is set right or confirmed with caddy api-token clock accept",
			zap.Time("clock", s.Now()), zap.Duration("ahead", by.Round(time.Second)))
	case troubleEnded:
		s.logger.Info("the clock agrees with the time that has passed; old audit entries and usage are deleted again")
	}
}
