package tokenstore

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxUserAgentLength is how many bytes of a user agent are kept.
const maxUserAgentLength = 256

// maxCount is where counts stop rather than wrap: a total that began anew would
// defeat every limit on it. It leaves room for those that come at once.
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
	// Scope is the one that the route needs.
	Scope string
}

// UsageOf is the usage of one token, with its history as far as it is at hand.
type UsageOf struct {
	ID ID
	Usage
	// Previous is the newest allowed request with a secret from before a rotation.
	Previous LastUse
	// Days are in no order but for the last, which is the day of the last count.
	Days []DayUsage
}

// Larger returns the larger of each count and the later use. Counts are totals that
// only grow, so whichever of two records is newer, nothing is lost or counted twice.
func (u Usage) Larger(other Usage) Usage {
	u.Allowed, u.Denied = max(u.Allowed, other.Allowed), max(u.Denied, other.Denied)
	if other.Last.Time.After(u.Last.Time) {
		from := u.Last
		u.Last = other.Last
		if other.Last.IP == "" { // only the time is known
			u.Last.IP, u.Last.UserAgent, u.Last.Route, u.Last.Scope = from.IP, from.UserAgent, from.Route, from.Scope
		}
	}
	return u
}

// Beyond returns the usage with totals that may count more than it: those of a
// killed process, whose history is lost. What they count more was allowed for the scope
// of the last use and in its hour: a token that is used for another scope or in a new
// hour is saved soon. So the history never counts less than the totals, and a quota
// neither.
func (u UsageOf) Beyond(totals Usage) UsageOf {
	more := uint64(0)
	if totals.Allowed > u.Allowed {
		more = totals.Allowed - u.Allowed
	}
	u.Usage = u.Larger(totals)
	if more == 0 || u.Last.Time.IsZero() {
		return u
	}
	day := DayOf(u.Last.Time)
	u.Days = slices.Clone(u.Days)
	i := slices.IndexFunc(u.Days, func(d DayUsage) bool { return d.Day == day })
	if i < 0 {
		i = len(u.Days)
		u.Days = append(u.Days, DayUsage{Day: day})
	}
	u.Days[i] = u.Days[i].with(u.Last.Scope, OutcomeOK, u.Last.Time.Hour(), more)
	return u
}

// usage counts the use of one token in memory. Counting takes no lock as long as
// the token is used from the same place, in the same way, on the same day.
//
// What every count writes lies on another cache line than what it only reads; see
// active.
type usage struct {
	// lastFrom is of the request at lastTime, or of one at the same instant.
	lastFrom atomic.Pointer[LastUse]
	// recent is the count of an outcome that the newest requests had.
	recent atomic.Pointer[outcomeCount]
	// previous is the newest use of a secret from before a rotation.
	previous atomic.Pointer[LastUse]
	// outliving, unless it is nil, has the totals where they outlive the process.
	outliving Counters

	allowed atomic.Uint64
	denied  atomic.Uint64
	// lastTime is in microseconds since 1970 and never goes back.
	lastTime atomic.Int64

	// moving is held to replace lastFrom and today.
	moving sync.Mutex
	today  atomic.Pointer[dayCounts]
	// past is the first of the days that are over and may have counts the backend
	// doesn't know.
	past *dayCounts
}

// load begins with what was counted before.
func (u *usage) load(base UsageOf, outliving Counters) {
	u.allowed.Store(min(base.Allowed, maxCount))
	u.denied.Store(min(base.Denied, maxCount))
	u.lastTime.Store(math.MinInt64)
	if !base.Last.Time.IsZero() {
		u.lastTime.Store(base.Last.Time.UnixMicro())
		u.lastFrom.Store(&base.Last)
	}
	if !base.Previous.Time.IsZero() {
		u.previous.Store(&base.Previous)
	}
	for _, day := range base.Days {
		if before := u.today.Swap(newDayCounts(day)); before != nil {
			before.next, u.past = u.past, before
		}
	}
	u.outliving = outliving
}

// count adds one allowed request. It says whether that is settled: all that isn't saved
// of it is a total and the time of the last use, and those outlive the process.
func (u *usage) count(scope string, use LastUse) (settled bool) {
	// What is only read comes first: an atomic write waits for all memory before it.
	at := use.Time.UnixMicro()
	if len(use.UserAgent) > maxUserAgentLength {
		use.UserAgent = use.UserAgent[:maxUserAgentLength]
	}
	from := u.lastFrom.Load()
	use.Scope = scope
	moved := from == nil || from.IP != use.IP || from.UserAgent != use.UserAgent || from.Route != use.Route || from.Scope != scope
	hour := u.hour(at, scope, OutcomeOK)
	// The history first: whoever reads the total before it misses nothing; see
	// [UsageOf.Beyond].
	first := increment(hour) == 1
	total := increment(&u.allowed)
	raise(&u.lastTime, at)
	if moved {
		u.move(use)
	}
	return u.outliving != nil && u.outliving.Allowed(total, at) && !moved && !first
}

// move notes that the token is used from elsewhere than the last time.
func (u *usage) move(use LastUse) {
	u.moving.Lock()
	defer u.moving.Unlock()
	if use.Time.UnixMicro() < u.lastTime.Load() {
		return
	}
	// The header's memory isn't kept.
	use.IP, use.UserAgent = interned.text(use.IP), interned.text(use.UserAgent)
	use.Route, use.Scope = interned.text(use.Route), interned.text(use.Scope)
	u.lastFrom.Store(&use)
}

// notePrevious notes who still uses a secret from before a rotation; of many requests
// a second's first. It says whether this was one.
func (u *usage) notePrevious(use LastUse) bool {
	if last := u.previous.Load(); last != nil && use.Time.Sub(last.Time) < time.Second {
		return false
	}
	use.Time = use.Time.Truncate(time.Microsecond)
	use.UserAgent = strings.Clone(use.UserAgent[:min(len(use.UserAgent), maxUserAgentLength)])
	u.previous.Store(&use)
	return true
}

func (u *usage) lastPrevious() LastUse {
	last := u.previous.Load()
	if last == nil {
		return LastUse{}
	}
	use := *last
	use.UserAgent = printable(use.UserAgent)
	return use
}

// deny adds one request that was refused.
func (u *usage) deny(at time.Time, scope, outcome string) {
	increment(u.hour(at.UnixMicro(), scope, outcome))
	total := increment(&u.denied)
	if u.outliving != nil {
		u.outliving.Denied(total)
	}
}

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

// increment adds one, stops at maxCount and returns what it has become.
func increment(count *atomic.Uint64) uint64 {
	n := count.Add(1) // without a look before, which would fetch the cache line twice
	if n > maxCount {
		n = maxCount
		count.Store(n)
	}
	return n
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
