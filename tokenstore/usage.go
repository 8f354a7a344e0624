package tokenstore

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxUserAgentLength is how many bytes of a user agent are kept.
const maxUserAgentLength = 256

// maxCount is where counts stop rather than wrap: a total that began anew would
// defeat every limit on it. It leaves room for counts that come at once.
const maxCount = math.MaxInt64

// Usage is how a token has been used. Counts are totals since its creation and
// stop at the largest int64.
type Usage struct {
	// Allowed counts the requests that passed the gate, Denied those refused
	// although the secret was right.
	Allowed uint64
	Denied  uint64
	Last    LastUse
}

// LastUse is the newest allowed request. The zero value is "never".
type LastUse struct {
	// Time has microseconds.
	Time      time.Time
	IP        string
	UserAgent string
	// Route is "METHOD /path" of the route, not of the request.
	Route string
}

// UsageOf is the usage of one token.
type UsageOf struct {
	ID ID
	Usage
}

// usage counts the use of one token in memory. Counting takes no lock as long as
// the token is used from the same place, in the same way.
type usage struct {
	allowed atomic.Uint64
	denied  atomic.Uint64
	// lastTime is in microseconds since 1970 and never goes back.
	lastTime atomic.Int64
	// lastFrom is of the request at lastTime, or of one at the same instant.
	lastFrom atomic.Pointer[LastUse]
	// moving is held to replace lastFrom.
	moving sync.Mutex
	// dirty is set from the first count until the totals are on their way to the
	// backend.
	dirty atomic.Bool
}

// load begins with the totals of before.
func (u *usage) load(base Usage) {
	u.allowed.Store(base.Allowed)
	u.denied.Store(base.Denied)
	u.lastTime.Store(math.MinInt64)
	if !base.Last.Time.IsZero() {
		u.lastTime.Store(base.Last.Time.UnixMicro())
		u.lastFrom.Store(&base.Last)
	}
}

// count adds one allowed request.
func (u *usage) count(use LastUse) {
	increment(&u.allowed)
	if len(use.UserAgent) > maxUserAgentLength {
		use.UserAgent = use.UserAgent[:maxUserAgentLength]
	}
	raise(&u.lastTime, use.Time.UnixMicro())
	from := u.lastFrom.Load()
	if from == nil || from.IP != use.IP || from.UserAgent != use.UserAgent || from.Route != use.Route {
		u.move(use)
	}
}

// move notes that the token is used from elsewhere than the last time.
func (u *usage) move(use LastUse) {
	u.moving.Lock()
	defer u.moving.Unlock()
	if use.Time.UnixMicro() < u.lastTime.Load() {
		return
	}
	// The header's memory isn't kept.
	use.UserAgent = strings.Clone(use.UserAgent)
	u.lastFrom.Store(&use)
}

func (u *usage) deny() { increment(&u.denied) }

func (u *usage) totals() Usage {
	total := Usage{Allowed: u.allowed.Load(), Denied: u.denied.Load()}
	if from := u.lastFrom.Load(); from != nil {
		total.Last = *from
		total.Last.UserAgent = printable(from.UserAgent)
		total.Last.Time = time.UnixMicro(u.lastTime.Load()).UTC()
	}
	return total
}

// printable leaves out what could steer the terminal or the page that shows a
// client's text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// increment adds one and stops at maxCount.
func increment(count *atomic.Uint64) {
	if count.Load() < maxCount {
		count.Add(1)
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
