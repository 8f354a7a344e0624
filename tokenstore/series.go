package tokenstore

import (
	"cmp"
	"slices"
	"strings"
	"time"
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
	// Whole says that the hours are no longer told apart: hour 0 of a count is the
	// whole day's.
	Whole bool
	// Counts are in the order of scope and outcome, each once.
	Counts []Count
}

// Count is how many requests for one scope had one outcome.
type Count struct {
	// Scope is empty if the request was refused before it was known what it asks for.
	Scope   string
	Outcome string
	Hours   [hoursPerDay]uint64
}

func (c *Count) sum() uint64 {
	var sum uint64
	for _, n := range c.Hours {
		sum = min(sum+n, maxCount)
	}
	return sum
}

func compareCounts(a, b Count) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Outcome, b.Outcome))
}

// AsWhole returns the day with its hours added up.
func (d DayUsage) AsWhole() DayUsage {
	if d.Whole {
		return d
	}
	d.Whole = true
	d.Counts = slices.Clone(d.Counts)
	for i := range d.Counts {
		d.Counts[i].Hours = [hoursPerDay]uint64{d.Counts[i].sum()}
	}
	return d
}

// Plus returns the day with the requests of both.
func (d DayUsage) Plus(more DayUsage) DayUsage {
	if d.Whole != more.Whole {
		d, more = d.AsWhole(), more.AsWhole()
	}
	d.Counts = slices.Clone(d.Counts)
	for _, count := range more.Counts {
		for hour, n := range count.Hours {
			d.Add(count.Scope, count.Outcome, hour, n)
		}
	}
	return d
}

// maxDayCounts bounds what is kept of a day. A token of Mollymawk's routes has no
// more than about fifty; beyond it the scope isn't told.
const maxDayCounts = 64

// Add adds requests of an hour, 0 to 23. Nothing else may have the day's Counts.
func (d *DayUsage) Add(scope, outcome string, hour int, n uint64) {
	if n == 0 {
		return
	}
	count := Count{Scope: scope, Outcome: outcome}
	i, found := slices.BinarySearchFunc(d.Counts, count, compareCounts)
	switch {
	case !found && len(d.Counts) >= maxDayCounts && scope != "":
		d.Add("", outcome, hour, n)
		return
	case !found:
		d.Counts = slices.Insert(d.Counts, i, count)
	}
	d.Counts[i].Hours[hour] = sum(d.Counts[i].Hours[hour], n)
}

// What is kept of a token's history: hours for a week, days for two years.
const (
	hourRetention = 7 // days
	dayRetention  = 2 // years
)

// hoursSince and daysSince return the first day whose hours, or which at all, are
// kept.
func hoursSince(now time.Time) Day { return DayOf(now) - hourRetention }

func daysSince(now time.Time) Day { return DayOf(now.AddDate(-dayRetention, 0, 0)) }

// Step is the time that a point of a series stands for.
type Step uint8

const (
	// StepHour is kept for 7 days.
	StepHour Step = iota + 1
	// StepDay is kept for 2 years.
	StepDay
)

// Point is one count of a token's history.
type Point struct {
	// Time is the first moment of the hour or the day, in UTC.
	Time    time.Time
	Scope   string
	Outcome string
	Count   uint64
}

// Series returns a token's history up to now: the hours or days, of those that are
// kept, that lie between two times, in their order, then by scope and outcome.
// What nobody asked for has no points. The errors are [ErrNotFound] and
// [ErrUnavailable].
func (s *Store) Series(id ID, step Step, from, to time.Time) ([]Point, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	now := s.passedNow() // as prune has it: what is kept is returned
	first, last := max(DayOf(from), daysSince(now)), DayOf(to)
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
		start := day.Day.Start()
		for hour := range hoursPerDay {
			at := start.Add(time.Duration(hour) * time.Hour)
			if !at.Before(to) || !at.Add(length).After(from) || !from.Before(to) {
				continue
			}
			for _, count := range day.Counts {
				if n := count.Hours[hour]; n > 0 {
					points = append(points, Point{at, count.Scope, count.Outcome, n})
				}
			}
		}
	}
	return points, nil
}
