package tokenstore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
)

// OutcomeOK is the outcome of an allowed request. A refused request's outcome is its refusal
// code.
const OutcomeOK = "ok"

// Day is a UTC day, as the number of days since 1970-01-01.
type Day int32

const (
	hoursPerDay   = 24
	microsPerHour = int64(time.Hour / time.Microsecond)
	microsPerDay  = hoursPerDay * microsPerHour
)

// DayOf returns the day that contains t.
func DayOf(t time.Time) Day { return dayOf(t.UnixMicro()) }

func dayOf(micros int64) Day { return Day(floorDiv(micros, microsPerDay)) }

// hourOf returns the number of hours since 1970.
func hourOf(micros int64) int64 { return floorDiv(micros, microsPerHour) }

func dayOfHour(hour int64) Day { return Day(floorDiv(hour, hoursPerDay)) }

func floorDiv(n, by int64) int64 {
	quotient := n / by
	if n%by < 0 {
		quotient--
	}
	return quotient
}

// Start returns the beginning of the day.
func (d Day) Start() time.Time { return time.UnixMicro(int64(d) * microsPerDay).UTC() }

// DayUsage is a token's usage on one day.
type DayUsage struct {
	Day Day
	// Whole is set if Points contains daily instead of hourly counts. The time of each point
	// is then the start of the day.
	Whole bool
	// Points is sorted by scope, outcome and time, without duplicates.
	Points []Point
}

// Point is the number of requests with a given scope and outcome in an hour or a day.
type Point struct {
	// Time is the start of the hour or the day, in UTC.
	Time time.Time
	// Scope is empty if the request was refused before its scope was known.
	Scope   string
	Outcome string
	Count   uint64
}

// compareCounts compares points by scope and outcome.
func compareCounts(a, b Point) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Outcome, b.Outcome))
}

func comparePoints(a, b Point) int { return cmp.Or(compareCounts(a, b), a.Time.Compare(b.Time)) }

// Allowed returns the number of allowed requests.
func (d DayUsage) Allowed() int64 {
	var allowed uint64
	for i := range d.Points {
		if p := &d.Points[i]; p.Outcome == OutcomeOK {
			allowed = sum(allowed, p.Count)
		}
	}
	return int64(allowed)
}

// AsWhole returns d with its hourly counts merged into daily counts.
func (d DayUsage) AsWhole() DayUsage {
	if d.Whole {
		return d
	}
	return DayUsage{Day: d.Day, Whole: true}.Plus(d)
}

// Plus returns the sum of d and more, which must be for the same day. The result is whole if
// either operand is.
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

// maxDayCounts is the maximum number of combinations of scope and outcome in a day. With
// Mollymawk's routes, a token has at most about fifty. Requests with further combinations are
// counted without a scope.
const maxDayCounts = 64

// Add adds p to d. d.Points must not be shared. Only the hour of p.Time is used.
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

// full reports whether the day has no room for p's scope and outcome.
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

// hourRetention is the number of days for which hourly counts are retained.
const hourRetention = 7

// MinHistory, MaxHistory and DefaultHistory are the minimum, maximum and default number of
// days for which usage history is retained. The minimum covers a month because monthly quotas
// are computed from the history.
const (
	MinHistory     = 32
	MaxHistory     = 3660
	DefaultHistory = 400
)

// KeepHistory sets the number of days, from [MinHistory] to [MaxHistory], for which usage
// history is retained. Before the first call, no history is deleted, and [Store.Series]
// returns [DefaultHistory] days.
func (s *Store) KeepHistory(days int) { s.historyDays.Store(int64(days)) }

// hoursSince returns the first day whose hourly counts are retained. daysSince returns the
// first day for which any counts are retained.
func hoursSince(now time.Time) Day { return DayOf(now) - hourRetention }

func (s *Store) daysSince(now time.Time) Day {
	days := s.historyDays.Load()
	if days == 0 {
		days = DefaultHistory
	}
	return DayOf(now) - Day(days)
}

// Step is the interval between points of a series.
type Step uint8

const (
	// StepHour selects hourly counts, which are retained for 7 days.
	StepHour Step = iota + 1
	// StepDay selects daily counts. [Store.KeepHistory] sets how long they are retained.
	StepDay
)

// Series returns a token's history to date: the counts of all retained hours or days that
// overlap the interval [from, to), sorted by time, scope and outcome. Hours and days without
// requests have no points. The errors are [ErrNotFound] and [ErrUnavailable].
func (s *Store) Series(id token.ID, step Step, from, to time.Time) ([]Point, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	first, last := s.seriesDays(step, from, to)
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	used, err := s.usage(id, first, last)
	if err != nil {
		return nil, err
	}
	return points(used.Days, step, from, to), nil
}

// seriesDays returns the first and the last day of a series.
func (s *Store) seriesDays(step Step, from, to time.Time) (first, last Day) {
	now := s.elapsedNow() // as prune does
	first, last = max(DayOf(from), s.daysSince(now)), DayOf(to)
	if step == StepHour {
		first = max(first, hoursSince(now))
	}
	return first, last
}

// points returns the counts of the hours or days that overlap the interval [from, to).
func points(days []DayUsage, step Step, from, to time.Time) (points []Point) {
	for _, day := range days {
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
	return points
}
