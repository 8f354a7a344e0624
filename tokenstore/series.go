package tokenstore

import (
	"cmp"
	"errors"
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

func hourOf(micros int64) int64 { return floorDiv(micros, microsPerHour) }

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

// Larger returns the larger of each count of two records of one day; see
// [Usage.Larger]. An hour that a wrong clock went through twice counts once.
func (d DayUsage) Larger(other DayUsage) DayUsage {
	if d.Whole != other.Whole {
		d, other = d.AsWhole(), other.AsWhole()
	}
	counts := slices.Concat(d.Counts, other.Counts)
	slices.SortStableFunc(counts, compareCounts)
	d.Counts = counts[:0]
	for _, count := range counts {
		if last := len(d.Counts) - 1; last >= 0 && compareCounts(d.Counts[last], count) == 0 {
			for hour, n := range count.Hours {
				d.Counts[last].Hours[hour] = max(d.Counts[last].Hours[hour], n)
			}
			continue
		}
		d.Counts = append(d.Counts, count)
	}
	return d
}

// with returns the day with more requests in an hour.
func (d DayUsage) with(scope, outcome string, hour int, n uint64) DayUsage {
	if d.Whole {
		hour = 0
	}
	count := Count{Scope: scope, Outcome: outcome}
	i, found := slices.BinarySearchFunc(d.Counts, count, compareCounts)
	if d.Counts = slices.Clone(d.Counts); !found {
		d.Counts = slices.Insert(d.Counts, i, count)
	}
	d.Counts[i].Hours[hour] = min(d.Counts[i].Hours[hour]+n, maxCount)
	return d
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
	days, err := s.days(id, first, last)
	if err != nil {
		return nil, err
	}
	var points []Point
	for _, day := range days {
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

// days returns a token's days in their order, as saved and as counted since.
func (s *Store) days(id ID, first, last Day) ([]DayUsage, error) {
	// Memory comes first: what it forgets meanwhile has been saved.
	var memory countedUsage
	if number := s.index.byID(id); number != 0 {
		memory = s.index.counted(number)
	}
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	found := memory.Days
	saved, err := s.backend.Usage(id)
	if err == nil && memory.OnlyTotals {
		saved = saved.Beyond(memory.Usage)
	}
	if err == nil || errors.Is(err, ErrDamaged) { // then it has no days
		found = append(found, saved.Days...)
		err = s.backend.Days(id, first, last, func(d DayUsage) bool {
			found = append(found, d)
			return true
		})
	}
	if err != nil {
		return nil, readError(err)
	}
	slices.SortStableFunc(found, func(a, b DayUsage) int { return cmp.Compare(a.Day, b.Day) })
	var days []DayUsage
	for _, d := range found {
		switch n := len(days); {
		case d.Day < first || d.Day > last:
		case n > 0 && days[n-1].Day == d.Day:
			days[n-1] = days[n-1].Larger(d)
		default:
			days = append(days, d)
		}
	}
	return days, nil
}
