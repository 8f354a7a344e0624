package tokenstore

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
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

func dayOf(micros int64) Day {
	day := micros / microsPerDay
	if micros%microsPerDay < 0 {
		day--
	}
	return Day(day)
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

// dayCounts counts the use of one token on one day.
type dayCounts struct {
	day Day
	// counts is replaced whole when one is added; usage.moving is held then.
	counts atomic.Pointer[[]*outcomeCount]
	// saves is how often the day was saved since it was over, next another such day;
	// usage.moving guards them.
	saves int
	next  *dayCounts
}

type outcomeCount struct {
	day            Day
	scope, outcome string
	hours          [hoursPerDay]atomic.Uint64
}

// maxDayCounts bounds what is kept of a day. A token of Mollymawk's routes has no
// more than about fifty; beyond it the scope isn't told.
const maxDayCounts = 64

func newDayCounts(saved DayUsage) *dayCounts {
	d := &dayCounts{day: saved.Day}
	counts := make([]*outcomeCount, 0, max(len(saved.Counts), 1))
	for _, s := range saved.Counts {
		count := &outcomeCount{day: saved.Day, scope: interned.text(s.Scope), outcome: interned.text(s.Outcome)}
		for hour, n := range s.Hours {
			count.hours[hour].Store(min(n, maxCount))
		}
		counts = append(counts, count)
	}
	d.counts.Store(&counts)
	return d
}

func (d *dayCounts) find(scope, outcome string) *outcomeCount {
	for _, count := range *d.counts.Load() {
		if count.scope == scope && count.outcome == outcome {
			return count
		}
	}
	return nil
}

// add returns the count of an outcome that is not there yet, or that another
// request has just added. usage.moving is held.
func (d *dayCounts) add(scope, outcome string) *outcomeCount {
	if count := d.find(scope, outcome); count != nil {
		return count
	}
	counts := *d.counts.Load()
	if len(counts) >= maxDayCounts && scope != "" {
		return d.add("", outcome)
	}
	count := &outcomeCount{day: d.day, scope: scope, outcome: outcome}
	counts = append(slices.Clip(counts), count)
	d.counts.Store(&counts)
	return count
}

func (d *dayCounts) usage() DayUsage {
	counts := *d.counts.Load()
	day := DayUsage{Day: d.day, Counts: make([]Count, 0, len(counts))}
	for _, count := range counts {
		c := Count{Scope: count.scope, Outcome: count.outcome}
		for hour := range c.Hours {
			c.Hours[hour] = count.hours[hour].Load()
		}
		day.Counts = append(day.Counts, c)
	}
	slices.SortFunc(day.Counts, compareCounts)
	return day
}

// hour returns where requests at a time, in microseconds, are counted.
func (u *usage) hour(at int64, scope, outcome string) *atomic.Uint64 {
	day := dayOf(at)
	count := u.recent.Load()
	if count == nil || count.day != day || count.scope != scope || count.outcome != outcome {
		count = u.find(at, scope, outcome)
		u.recent.Store(count)
	}
	hour := int64(0) // of a request that is late, of the day before
	if count.day == day {
		hour = (at - int64(day)*microsPerDay) / microsPerHour
	}
	return &count.hours[hour]
}

// find returns the count of an outcome on the day of a time.
func (u *usage) find(at int64, scope, outcome string) *outcomeCount {
	if today := u.today.Load(); today != nil && today.day == dayOf(at) {
		if count := today.find(scope, outcome); count != nil {
			return count
		}
	}
	return u.turn(at, scope, outcome)
}

// turn begins a new day or a new count.
func (u *usage) turn(at int64, scope, outcome string) *outcomeCount {
	u.moving.Lock()
	defer u.moving.Unlock()
	day := dayOf(at)
	today := u.today.Load()
	// A request that began just before midnight and is counted after another of the
	// new day counts there: a day that is over stays so, unless the clock was put back.
	late := today != nil && day < today.day && int64(today.day)*microsPerDay-at < microsPerHour
	if today == nil || today.day != day && !late {
		today = u.begin(day)
	}
	return today.add(interned.text(scope), interned.text(outcome))
}

// begin makes a day today's. usage.moving is held.
func (u *usage) begin(day Day) *dayCounts {
	today := u.takePast(func(d *dayCounts) bool { return d.day == day })
	if today == nil {
		today = newDayCounts(DayUsage{Day: day})
	}
	if before := u.today.Swap(today); before != nil {
		before.saves, before.next = 0, u.past
		u.past = before
	}
	return today
}

// takePast takes one of the days that are over away, or returns nil. usage.moving is
// held.
func (u *usage) takePast(wanted func(*dayCounts) bool) *dayCounts {
	for at := &u.past; *at != nil; at = &(*at).next {
		if d := *at; wanted(d) {
			*at, d.next = d.next, nil
			return d
		}
	}
	return nil
}

// days returns the days that the backend may not know, and those of them that are
// past.
func (u *usage) days() (days []DayUsage, past []*dayCounts) {
	u.moving.Lock()
	defer u.moving.Unlock()
	for d := u.past; d != nil; d = d.next {
		days, past = append(days, d.usage()), append(past, d)
	}
	if today := u.today.Load(); today != nil {
		days = append(days, today.usage())
	}
	return days, past
}

// daysSaved forgets past days that have been saved. It takes two times: a request
// may have found the day before it was over and counted after it was first saved.
func (u *usage) daysSaved(past []*dayCounts) {
	if len(past) == 0 {
		return
	}
	u.moving.Lock()
	defer u.moving.Unlock()
	for _, d := range past {
		d.saves++
	}
	for {
		if u.takePast(func(d *dayCounts) bool { return d.saves > 1 }) == nil {
			return
		}
	}
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
	now := s.Now()
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
	var found []DayUsage
	if a := s.index.byID(id); a != nil {
		found, _ = a.usage.days()
	}
	if _, err := s.backend.Token(id); err != nil {
		return nil, readError(err)
	}
	saved, err := s.backend.Usage(id)
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
