package tokenstore

import (
	"sync/atomic"
	"time"
)

// moments are three times of a record in 16 bytes: 40 bits each, which count whole
// seconds since the year 1. All that validity depends on has whole seconds. 0 is a zero
// time.
type moments struct {
	low  [momentsEnd]atomic.Uint32
	high atomic.Uint32 // 8 bits of each
}

const (
	momentExpires = iota
	momentNotBefore
	momentBegan
	momentsEnd
)

// yearOne is the zero time.Time in seconds since 1970.
const yearOne = -62135596800

func (m *moments) set(times [momentsEnd]time.Time) {
	var high uint32
	for i, t := range times {
		seconds := uint64(secondsOf(t))
		m.low[i].Store(uint32(seconds))
		high |= uint32(seconds>>32) & 0xff << (8 * i)
	}
	m.high.Store(high)
}

// seconds returns the times in seconds since the year 1.
func (m *moments) seconds() (seconds [momentsEnd]int64) {
	high := m.high.Load()
	for i := range seconds {
		seconds[i] = int64(high>>(8*i)&0xff)<<32 | int64(m.low[i].Load())
	}
	return seconds
}

func secondsOf(t time.Time) int64 { return t.Unix() - yearOne }

func timeOfSeconds(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds+yearOne, 0).UTC()
}
