package tokenstore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
)

// OutcomeOK is the outcome of an allowed request; a refused one's is the code of
// its refusal.
const OutcomeOK = "ok"

// Day is a day in UTC, counted from 1970-01-01.
type Day int32

const (
	hoursPerDay   = 24
	microsPerHour = int64(time.Hour / time.Microsecond)
	microsPerDay  = hoursPerDay * microsPerHour
)

// DayOf returns the day of a time.
func DayOf(t time.Time) Day { return dayOf(t.UnixMicro()) }

func dayOf(micros int64) Day { return Day(floorDiv(micros, microsPerDay)) }

// hourOf returns the hour of a time, counted from 1970.
func hourOf(micros int64) int64 { return floorDiv(micros, microsPerHour) }

func dayOfHour(hour int64) Day { return Day(floorDiv(hour, hoursPerDay)) }

func floorDiv(n, by int64) int64 {
	quotient := n / by
	if n%by < 0 {
		quotient--
	}
	return quotient
}

// Start returns the day's first moment.
func (d Day) Start() time.Time { return time.UnixMicro(int64(d) * microsPerDay).UTC() }

// DayUsage is the history of a token's use on one day.
type DayUsage struct {
	Day Day
	// Whole says that the hours are added up: the points are of the day's first moment.
	Whole bool
	// Points are in the order of scope, outcome and time, each once.
	Points []Point
}

// Point is how many requests for one scope had one outcome in an hour or a day.
type Point struct {
	// Time is the first moment of the hour or the day, in UTC.
	Time time.Time
	// Scope is empty if the request was refused before it was known what it asks for.
	Scope   string
	Outcome string
	Count   uint64
}

// compareCounts compares points by scope and outcome.
func compareCounts(a, b Point) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Outcome, b.Outcome))
}

func comparePoints(a, b Point) int { return cmp.Or(compareCounts(a, b), a.Time.Compare(b.Time)) }

// AsWhole returns the day with its hours added up.
func (d DayUsage) AsWhole() DayUsage {
	if d.Whole {
		return d
	}
	return DayUsage{Day: d.Day, Whole: true}.Plus(d)
}

// Plus returns the day with the requests of both.
func (d DayUsage) Plus(more DayUsage) DayUsage {
	if more.Whole {
		d = d.AsWhole()
	}
	d.Points = slices.Clone(d.Points)
	for _, p := range more.Points {
		d.Add(p)
	}
	return d
}

// maxDayCounts bounds how many scopes and outcomes a day has. A token of Mollymawk's
// routes has no more than about fifty; beyond it, counts have no scope.
const maxDayCounts = 64

// Add adds requests to the day, which must not share its Points. Of the time of the point,
// only the hour counts.
func (d *DayUsage) Add(p Point) {
	start := d.Day.Start()
	if d.Whole {
		p.Time = start
	}
	p.Time = time.Date(start.Year(), start.Month(), start.Day(), p.Time.Hour(), 0, 0, 0, time.UTC)
	i, found := slices.BinarySearchFunc(d.Points, p, comparePoints)
	switch {
	case p.Count == 0:
	case found:
		d.Points[i].Count = sum(d.Points[i].Count, p.Count)
	case p.Scope != "" && d.full(p):
		p.Scope = ""
		d.Add(p)
	default:
		d.Points = slices.Insert(d.Points, i, p)
	}
}

// full reports whether a day has no place for another scope and outcome, such as the
// point's.
func (d *DayUsage) full(p Point) bool {
	n := 0
	for i, other := range d.Points {
		if compareCounts(p, other) == 0 {
			return false
		}
		if i == 0 || compareCounts(d.Points[i-1], other) != 0 {
			n++
		}
	}
	return n >= maxDayCounts
}

// hourRetention is for how many days the hours of a token's history are kept.
const hourRetention = 7

// MinHistory, MaxHistory and DefaultHistory are for how many days the history of tokens can
// be kept, and is kept. The quota of a month is counted from it.
const (
	MinHistory     = 32
	MaxHistory     = 3660
	DefaultHistory = 400
)

// KeepHistory sets for how many days, from [MinHistory] to [MaxHistory], the history of
// tokens is kept. Until it is called, nothing is deleted, and [DefaultHistory] days are
// returned.
func (s *Store) KeepHistory(days int) { s.historyDays.Store(int64(days)) }

// hoursSince and daysSince return the first day whose hours, or which at all, are
// kept.
func hoursSince(now time.Time) Day { return DayOf(now) - hourRetention }

func (s *Store) daysSince(now time.Time) Day {
	days := s.historyDays.Load()
	if days == 0 {
		days = DefaultHistory
	}
	return DayOf(now) - Day(days)
}

// Step is the time that a point of a series stands for.
type Step uint8

const (
	// StepHour is kept for 7 days.
	StepHour Step = iota + 1
	// StepDay is kept as long as [Store.KeepHistory] says.
	StepDay
)

// Series returns a token's history up to now: the hours or days, of those that are
// kept, that lie between two times, in their order, then by scope and outcome.
// What nobody asked for has no points. The errors are [ErrNotFound] and
// [ErrUnavailable].
func (s *Store) Series(id token.ID, step Step, from, to time.Time) ([]Point, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	now := s.passedNow() // as prune has it: what is kept is returned
	first, last := max(DayOf(from), s.daysSince(now)), DayOf(to)
	if step == StepHour {
		first = max(first, hoursSince(now))
	}
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	used, err := s.usage(id, first, last)
	if err != nil {
		return nil, err
	}
	var points []Point
	for _, day := range used.Days {
		length := time.Hour
		if step == StepDay {
			day, length = day.AsWhole(), hoursPerDay*time.Hour
		} else if day.Whole {
			continue
		}
		begin := len(points)
		for _, p := range day.Points {
			if p.Time.Before(to) && p.Time.Add(length).After(from) && from.Before(to) {
				points = append(points, p)
			}
		}
		slices.SortStableFunc(points[begin:], func(a, b Point) int { return a.Time.Compare(b.Time) })
	}
	return points, nil
}
