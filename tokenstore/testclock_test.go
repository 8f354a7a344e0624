package tokenstore

import (
	"sync/atomic"
	"time"
)

// testClock is a clock controlled by a test.
type testClock struct {
	atomic.Pointer[time.Time]
	elapsed atomic.Int64
}

func newTestClock(now time.Time) *testClock {
	c := new(testClock)
	c.Store(&now)
	return c
}

func (c *testClock) Now() time.Time { return *c.Load() }

// set moves the clock forward or back without letting time elapse.
func (c *testClock) set(now time.Time) { c.Store(&now) }

// pass lets time elapse and advances the clock.
func (c *testClock) pass(d time.Duration) {
	c.elapsed.Add(int64(d))
	c.set(c.Now().Add(d))
}
