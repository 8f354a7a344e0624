package tokenstore

import (
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxDowntime is how far the clock may be ahead of the elapsed time. A process can't know how
// long it has been since the previous one ended.
const maxDowntime = 24 * time.Hour

// elapsedClock measures the elapsed time, which determines when old records are deleted. If
// the clock briefly jumps years ahead, tokens count as expired only until it is corrected, but
// records deleted in the meantime would be lost. The elapsed time therefore advances only
// while the process runs, plus at most a day for the downtime before it started.
type elapsedClock struct {
	mu sync.Mutex
	// base is the elapsed time at the moment when uptime returned the value in from.
	base time.Time
	from time.Duration
	// uptime returns how long the process has run.
	uptime func() time.Duration
}

// open starts at the clock's time if that is at most a day after the stored elapsed time.
// Otherwise it starts at the stored time. A clock that is behind the stored time is wrong, as
// on a machine without a battery-backed clock. A clock that is further ahead must not advance
// the elapsed time by a day at each restart.
func (c *elapsedClock) open(stored, now time.Time, uptime func() time.Duration) {
	c.uptime = uptime
	if downtime := now.Sub(stored); downtime < 0 || downtime > maxDowntime {
		now = stored
	}
	c.accept(now)
}

// accept sets the elapsed time to the clock's time.
func (c *elapsedClock) accept(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.from = now, c.uptime()
}

func (c *elapsedClock) at() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(c.uptime() - c.from)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// elapsedNow returns the earlier of the effective time and the elapsed time.
func (s *Store) elapsedNow() time.Time { return earlier(s.Now(), s.elapsed.at()) }

// ClockAhead returns how far the effective time is ahead of the elapsed time, or 0 if the
// difference is at most a day. Until it is 0, no old records are deleted; see
// [Store.AcceptClock].
func (s *Store) ClockAhead() time.Duration {
	if ahead := s.Now().Sub(s.elapsed.at()); ahead > maxDowntime {
		return ahead
	}
	return 0
}

// openElapsed starts the elapsed time at the time up to which the last process ran.
func (s *Store) openElapsed(stored time.Time, uptime func() time.Duration) {
	if stored.IsZero() { // a new store, or one last written by an older version
		if stored = time.UnixMicro(s.newest.Load()).UTC(); s.newest.Load() == (time.Time{}).UnixMicro() {
			stored = s.clock.Now()
		}
	}
	if uptime == nil {
		started := time.Now()
		uptime = func() time.Duration { return time.Since(started) }
	}
	s.elapsed.open(stored, s.clock.Now(), uptime)
}

// prune deletes a bounded number of expired records and reports whether more remain.
func (s *Store) prune() (more bool, err error) {
	if err := s.setTimes(State{Elapsed: s.elapsed.at()}, nil); err != nil {
		return false, err
	}
	if s.ClockAhead() > 0 {
		return false, nil
	}
	now := s.elapsedNow()
	var audit time.Time
	if retention := s.auditRetention.Load(); retention != nil {
		audit = retention.Before(now)
	}
	days := Day(math.MinInt32) // delete no days until KeepHistory is called
	if s.historyDays.Load() > 0 {
		days = s.daysSince(now)
	}
	return s.backend.Prune(Retention{Audit: audit, Requests: now.Add(-RequestRetention), Hours: hoursSince(now),
		Days: days})
}

// watchAhead logs when the clock moves too far ahead of the elapsed time and when the two
// agree again.
func (s *Store) watchAhead(ahead *condition) {
	by := s.ClockAhead()
	switch ahead.update(by > 0) {
	case conditionBegan:
		s.logger.Error(
			"the clock is more than a day ahead of the elapsed time; not deleting old audit entries and usage "+
				"until it is corrected or confirmed with caddy api-token clock accept",
			zap.Time("clock", s.Now()), zap.Duration("ahead", by.Round(time.Second)))
	case conditionEnded:
		s.logger.Info("the clock agrees with the elapsed time; deleting old audit entries and usage again")
	}
}
