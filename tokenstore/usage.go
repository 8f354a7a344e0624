package tokenstore

import (
	"math"
	"slices"
	"strings"
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
	// OnlyTotals says that nothing is known but the counts and the time of the last use;
	// see [UsageOf.After].
	OnlyTotals bool
}

// After returns the usage to store where another is stored.
func (u UsageOf) After(stored UsageOf) UsageOf {
	if u.OnlyTotals {
		return stored.Beyond(u.Usage)
	}
	return u
}

// Larger returns the larger of each count and the later use. Counts are totals that
// only grow, so whichever of two records is newer, nothing is lost or counted twice.
func (u Usage) Larger(other Usage) Usage {
	u.Allowed, u.Denied = max(u.Allowed, other.Allowed), max(u.Denied, other.Denied)
	if other.Last.Time.After(u.Last.Time) {
		from := u.Last
		u.Last = other.Last
		if other.Last == (LastUse{Time: other.Last.Time}) { // only the time is known
			u.Last.IP, u.Last.UserAgent, u.Last.Route, u.Last.Scope = from.IP, from.UserAgent, from.Route, from.Scope
		}
	}
	return u
}

// Beyond returns the usage with totals that may count more than it, of which there is
// no history in memory, or none any more. What they count more was allowed for the scope
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
	return u.withAllowed(u.Last.Time, more)
}

// Minus returns the counts that u has beyond others, with the last use of u.
func (u Usage) Minus(others Usage) Usage {
	u.Allowed -= min(u.Allowed, others.Allowed)
	u.Denied -= min(u.Denied, others.Denied)
	return u
}

// Plus returns the usage with more counts, of which there is no history: they are those
// of the last of them, as in [UsageOf.Beyond].
func (u UsageOf) Plus(more Usage) UsageOf {
	at := more.Last.Time
	if more.Allowed > 0 && !at.IsZero() {
		u = u.withAllowed(at, more.Allowed)
	}
	more.Allowed = min(u.Allowed+more.Allowed, maxCount)
	more.Denied = min(u.Denied+more.Denied, maxCount)
	u.Usage = u.Larger(more)
	return u
}

// withAllowed returns the usage with more allowed requests in its history, for the
// scope of the last use.
func (u UsageOf) withAllowed(at time.Time, n uint64) UsageOf {
	day := DayOf(at)
	u.Days = slices.Clone(u.Days)
	i := slices.IndexFunc(u.Days, func(d DayUsage) bool { return d.Day == day })
	if last := len(u.Days) - 1; i < 0 && last >= 0 && day < u.Days[last].Day {
		i = 0
		u.Days = slices.Insert(u.Days, 0, DayUsage{Day: day})
	} else if i < 0 {
		i = len(u.Days)
		u.Days = append(u.Days, DayUsage{Day: day})
	}
	u.Days[i] = u.Days[i].with(u.Last.Scope, OutcomeOK, at.Hour(), n)
	return u
}

// historyBit is in the total of allowed requests while the token has a history in
// memory.
//
// Without one, a request of the same manner as the one before it only raises the
// total: all that isn't saved is more of the last use, see [UsageOf.Beyond]. A request
// of another manner, or one that is refused, needs the history, which is read from the
// backend; once it is saved and nothing has been counted meanwhile, it is forgotten
// again. The bit tells who raises the total which of the two it is.
const historyBit = 1 << 63

// raiseAllowed counts an allowed request and returns the total.
func (r *record) raiseAllowed() uint64 {
	for {
		total := r.allowed.Load()
		next := total&historyBit | min(total&^historyBit+1, maxCount)
		if r.allowed.CompareAndSwap(total, next) {
			return next &^ historyBit
		}
	}
}

// raiseAllowedAs counts an allowed request and returns the total, if the token has no
// history and was last used in the same manner. Whatever changes that also raises the
// total, or sets the bit, so that the request can't be taken for one of another manner.
func (r *record) raiseAllowedAs(manner uint64) (total uint64, ok bool) {
	for {
		total := r.allowed.Load()
		if total&historyBit != 0 || r.manner.Load() != manner {
			return 0, false
		}
		next := min(total+1, maxCount)
		if r.allowed.CompareAndSwap(total, next) {
			return next, true
		}
	}
}

// totals returns the record's counts and the time of the last use, and whether there
// is a history.
func (r *record) totals() (u Usage, history bool) {
	// First, so that it isn't of a later manner than what the total tells.
	u.Last.Time = timeOf(r.lastTime.Load())
	allowed := r.allowed.Load()
	u.Allowed, u.Denied = allowed&^historyBit, r.denied.Load()
	return u, allowed&historyBit != 0
}

// setTotals begins with what was counted before.
func (r *record) setTotals(u Usage) {
	r.allowed.Store(min(u.Allowed, maxCount))
	r.denied.Store(min(u.Denied, maxCount))
	r.lastTime.Store(microsOf(u.Last.Time))
}

// CountAllowed counts a request for a scope that the gate let through. It takes no lock
// as long as the token is used in the same manner in the same hour, as soon as the
// first such use is saved.
func (s *Store) CountAllowed(m Match, scope string, use LastUse) {
	r := s.index.record(&m)
	if r == nil {
		return // the token was deleted
	}
	// The copy of a text that is too long would be another one each time.
	use.UserAgent = use.UserAgent[:min(len(use.UserAgent), maxUserAgentLength)]
	use.Scope = scope
	at := use.Time.UnixMicro()
	manner := s.index.manner(&use, at)
	if !m.Previous {
		if total, ok := r.raiseAllowedAs(manner); ok {
			raise(&r.lastTime, at)
			s.markDirty(m.number, r, s.noteAllowed(m.number, r, total, at))
			return
		}
	}
	s.countInHistory(&m, r, use, at, manner)
}

// countInHistory counts an allowed request of a token that has a history, or needs one.
func (s *Store) countInHistory(m *Match, r *record, use LastUse, at int64, manner uint64) {
	h := s.holdHistory(m.number, r, m.generation)
	settled := h != nil && !m.Previous && r.manner.Load() == manner
	if h != nil {
		h.count(at, use.Scope, OutcomeOK)
	}
	total := r.raiseAllowed()
	newest := at >= r.lastTime.Load()
	raise(&r.lastTime, at)
	if h != nil {
		if newest && r.manner.Load() != manner {
			h.last = use.kept()
			h.moves++
			r.manner.Store(manner)
		}
		// Of many requests a second's first.
		if m.Previous && use.Time.Sub(h.previous.Time) >= time.Second {
			h.previous = use.kept()
			h.previous.Scope = ""
			h.previous.Time = use.Time.Truncate(time.Microsecond)
		}
		h.mu.Unlock()
	}
	s.markDirty(m.number, r, s.noteAllowed(m.number, r, total, at) && settled)
}

// CountDenied counts a request that was refused although its secret was right: for
// which scope, or "" if that isn't known, and with which code.
func (s *Store) CountDenied(m Match, at time.Time, scope, outcome string) {
	r := s.index.record(&m)
	if r == nil {
		return
	}
	h := s.holdHistory(m.number, r, m.generation)
	if h != nil {
		h.count(at.UnixMicro(), scope, outcome)
	}
	total := increment(&r.denied)
	if h != nil {
		h.mu.Unlock()
	}
	if s.counters != nil {
		if slot := s.slotOf(r); slot != 0 {
			s.counters.Denied(slot, total)
		}
	}
	s.markDirty(m.number, r, false)
	s.tellUsed(m, at)
}

// noteAllowed notes a total where it outlives the process, and says whether it does.
func (s *Store) noteAllowed(number uint32, r *record, total uint64, at int64) bool {
	if s.counters == nil {
		return false
	}
	slot := s.slotOf(r)
	return slot != 0 && s.counters.Allowed(slot, total, at)
}

// slotOf returns a record's slot, or 0 if there is no room for one. Of totals for which
// there was none so far, none counts as saved.
func (s *Store) slotOf(r *record) uint32 {
	if slot := r.slot.Load(); slot != 0 {
		return slot
	}
	slot := s.counters.Take(r.tokenID(), Usage{})
	if slot != 0 && !r.slot.CompareAndSwap(0, slot) {
		s.counters.Free(slot) // another request was faster
		return r.slot.Load()
	}
	return slot
}

// kept returns a use whose texts share no memory with a request.
func (u LastUse) kept() LastUse {
	u.IP, u.UserAgent, u.Route = strings.Clone(u.IP), strings.Clone(u.UserAgent), strings.Clone(u.Route)
	return u
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
