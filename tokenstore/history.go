package tokenstore

import (
	"runtime"
	"slices"
	"sync"
)

// history is what has been counted of one token's use on the days that the backend may
// not know.
type history struct {
	mu sync.Mutex
	// over says that nobody counts here any more: whoever finds it so looks for the
	// token's history again.
	over bool
	// last is the newest allowed request but for its time, previous the newest with a
	// secret from before a rotation.
	last, previous LastUse
	today          *dayCounts
	past           []*dayCounts
	// counted is how many requests were counted here, moves how many of them were of
	// another manner than the one before since the history was last saved.
	counted, moves int
}

// dayCounts counts the use of one token on one day.
type dayCounts struct {
	DayUsage // with its counts in any order
	counted  int
}

// maxDayCounts bounds what is kept of a day. A token of Mollymawk's routes has no
// more than about fifty; beyond it the scope isn't told.
const maxDayCounts = 64

// newHistory begins with what was counted before.
func newHistory(base *UsageOf) *history {
	h := &history{last: base.Last, previous: base.Previous}
	for _, day := range base.Days {
		if h.today != nil {
			h.past = append(h.past, h.today)
		}
		h.today = &dayCounts{DayUsage: day}
	}
	return h
}

// count counts one request at a time in microseconds. The lock is held.
func (h *history) count(at int64, scope, outcome string) {
	day, hour := dayOf(at), (at-int64(dayOf(at))*microsPerDay)/microsPerHour
	switch {
	case h.today == nil:
		h.begin(day)
	case day == h.today.Day:
	case day < h.today.Day && int64(h.today.Day)*microsPerDay-at < microsPerHour:
		// A request that began just before midnight and is counted after another of the
		// new day counts there: a day that is over stays so, unless the clock was put back.
		hour = 0
	default:
		h.begin(day)
	}
	count := h.today.find(scope, outcome)
	count.Hours[hour] = min(count.Hours[hour]+1, maxCount)
	h.today.counted++
	h.counted++
}

// begin makes a day today's.
func (h *history) begin(day Day) {
	if h.today != nil {
		h.past = append(h.past, h.today)
	}
	h.today = &dayCounts{DayUsage: DayUsage{Day: day}}
	if i := slices.IndexFunc(h.past, func(d *dayCounts) bool { return d.Day == day }); i >= 0 {
		h.today = h.past[i]
		h.past = slices.Delete(h.past, i, i+1)
	}
}

// find returns the count of an outcome, which it adds if it isn't there.
func (d *dayCounts) find(scope, outcome string) *Count {
	for i := range d.Counts {
		if count := &d.Counts[i]; count.Scope == scope && count.Outcome == outcome {
			return count
		}
	}
	if len(d.Counts) >= maxDayCounts && scope != "" {
		return d.find("", outcome)
	}
	d.Counts = append(d.Counts, Count{Scope: scope, Outcome: outcome})
	return &d.Counts[len(d.Counts)-1]
}

func (d *dayCounts) usage() DayUsage {
	day := d.DayUsage
	day.Counts = slices.Clone(day.Counts)
	slices.SortFunc(day.Counts, compareCounts)
	return day
}

// days returns the days that the backend may not know. The lock is held.
func (h *history) days() []DayUsage {
	days := make([]DayUsage, 0, len(h.past)+1)
	for _, d := range h.past {
		days = append(days, d.usage())
	}
	if h.today != nil {
		days = append(days, h.today.usage())
	}
	return days
}

// read tells of the token's use with its history, unless that is over.
func (h *history) read(r *record, u *countedUsage) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	u.Usage, _ = r.totals()
	if at := u.Last.Time; !at.IsZero() {
		u.Last = h.last
		u.Last.UserAgent, u.Last.Time = printable(h.last.UserAgent), at
	}
	u.Previous = h.previous
	u.Previous.UserAgent = printable(h.previous.UserAgent)
	u.Days = h.days()
	u.history, u.counted = h, h.counted
	if len(h.past) > 0 {
		u.past = make(map[*dayCounts]int, len(h.past))
		for _, d := range h.past {
			u.past[d] = d.counted
		}
	}
	return true
}

// holdHistory returns a token's history in memory with its lock held, for as long as
// the token is there. If there is none it is read from the backend. Nil is returned if
// the token was deleted and if the backend can't be read: then the totals go on alone.
func (s *Store) holdHistory(number uint32, r *record, generation uint32) *history {
	for r.generation() == generation {
		h := s.index.histories.get(number)
		if h == nil {
			if h = s.readHistory(number, r, generation); h == nil {
				return nil
			}
		}
		h.mu.Lock()
		if !h.over {
			return h
		}
		h.mu.Unlock()
	}
	return nil
}

// readHistory brings a token's history into memory, unless it is there.
func (s *Store) readHistory(number uint32, r *record, generation uint32) *history {
	// Not the id's lock, with which changes wait for the disk.
	reading := &s.index.reading[number%shardCount]
	reading.Lock()
	defer reading.Unlock()
	if h := s.index.histories.get(number); h != nil || r.generation() != generation {
		return h
	}
	base, err := s.savedUsage(r.tokenID())
	if err != nil {
		return nil
	}
	return s.beginHistory(number, r, base)
}

// beginHistory makes what was counted before the beginning of a history in memory.
// Nobody else does so for the token.
func (s *Store) beginHistory(number uint32, r *record, base UsageOf) *history {
	for {
		totals, _ := r.totals()
		usage := base.Beyond(totals)
		h := newHistory(&usage)
		h.mu.Lock()
		s.index.histories.set(number, h)
		begun := r.allowed.CompareAndSwap(totals.Allowed, totals.Allowed|historyBit)
		h.over = !begun // it lacks a request that was counted meanwhile
		h.mu.Unlock()
		if begun {
			return h
		}
	}
}

// countedUsage is what has been counted of a token's use, as it was at a moment.
type countedUsage struct {
	UsageOf
	history *history // nil if OnlyTotals
	counted int
	past    map[*dayCounts]int
}

// counted returns what has been counted of the use of a token in memory.
func (x *index) counted(number uint32) countedUsage {
	r := x.records.at(number)
	for {
		totals, kept := r.totals()
		u := countedUsage{UsageOf: UsageOf{ID: r.tokenID(), Usage: totals, OnlyTotals: !kept}}
		if !kept {
			return u
		}
		if h := x.histories.get(number); h != nil && h.read(r, &u) {
			return u
		}
		runtime.Gosched() // it is just being begun or forgotten
	}
}

// saved notes that what was counted up to a moment has been saved. A history that has
// counted nothing since is forgotten, unless the token is used in many manners.
func (x *index) saved(number uint32, u *countedUsage) {
	h := u.history
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.past = slices.DeleteFunc(h.past, func(d *dayCounts) bool {
		counted, ok := u.past[d]
		return ok && counted == d.counted
	})
	moves := h.moves
	h.moves = 0
	if moves > 1 || len(h.past) > 0 || h.counted != u.counted || h.over {
		return
	}
	if r := x.records.at(number); r.allowed.CompareAndSwap(u.Allowed|historyBit, u.Allowed) {
		h.over = true
		x.histories.remove(number)
	}
}
