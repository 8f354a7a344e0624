package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// midnight is the first moment of a day.
var midnight = testTime.Truncate(hoursPerDay * time.Hour)

// points returns a token's history as lines.
func (s *testStore) points(t testing.TB, id ID, step Step, from, to time.Time) []string {
	t.Helper()
	points, err := s.Series(id, step, from, to)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, p := range points {
		lines = append(lines, fmt.Sprintf("%s %s %s %d", p.Time.Format("01-02 15h"), p.Scope, p.Outcome, p.Count))
	}
	return lines
}

// TestSeries: each request is in the hour and the day that it began in, by scope and
// outcome, before it is saved, after it is, and after a restart.
func TestSeries(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *Draft) { d.Expiry = Expiry{ExpiresIn: Lifetime{months: 24}} })
	match := s.must(t, credential)
	for _, at := range []time.Duration{0, time.Hour - 1, time.Hour, 24*time.Hour - 1, 24 * time.Hour, 49 * time.Hour} {
		now := midnight.Add(at)
		s.clock.set(testTime.Add(at))
		s.CountAllowed(match, "unikernel:list", LastUse{Time: now})
		s.CountAllowed(match, "block:list", LastUse{Time: now})
		s.CountDenied(match, now, "unikernel:create", "insufficient_scope")
		s.CountDenied(match, now, "", "route_not_allowed")
	}
	s.CountAllowed(match, "unikernel:list", LastUse{Time: midnight.Add(49*time.Hour + 1)})
	day := func(date string, counts ...int) (lines []string) {
		for i, scope := range []string{" route_not_allowed", "block:list ok", "unikernel:create insufficient_scope", "unikernel:list ok"} {
			lines = append(lines, fmt.Sprintf("%s %s %d", date, scope, counts[min(i/3, len(counts)-1)]))
		}
		return lines
	}
	days := slices.Concat(day("03-14 00h", 4), day("03-15 00h", 1), day("03-16 00h", 1, 2))
	hours := slices.Concat(day("03-14 00h", 2), day("03-14 01h", 1), day("03-14 23h", 1), day("03-15 00h", 1), day("03-16 01h", 1, 2))
	end := midnight.AddDate(0, 0, 5)
	check := func(when string, s *testStore) {
		t.Helper()
		if got := s.points(t, token.ID, StepDay, midnight, end); !slices.Equal(got, days) {
			t.Errorf("%s, days:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(days, "\n"))
		}
		if got := s.points(t, token.ID, StepHour, midnight, end); !slices.Equal(got, hours) {
			t.Errorf("%s, hours:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(hours, "\n"))
		}
	}
	check("unsaved", s)
	for range 3 {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		check("saved", s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check("after a restart", reopen(t, s.memory, s.clock))
}

// TestSeriesRange: hours and days that lie in part between the two times are told.
func TestSeriesRange(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	for hour := range 4 {
		s.CountAllowed(match, "a:b", LastUse{Time: midnight.Add(time.Duration(hour) * time.Hour)})
	}
	for _, test := range []struct {
		from, to time.Duration
		hours    string
		days     int
	}{
		{0, 4 * time.Hour, "0123", 1},
		{time.Hour, 2 * time.Hour, "1", 1},
		{time.Hour - 1, 2*time.Hour + 1, "012", 1},
		{time.Hour, time.Hour, "", 0},
		{90 * time.Minute, 100 * time.Minute, "1", 1},
		{5 * time.Hour, 6 * time.Hour, "", 1},
		{-48 * time.Hour, 0, "", 0},
		{24 * time.Hour, 48 * time.Hour, "", 0},
		{-1 << 62, 1 << 62, "0123", 1},
	} {
		got := ""
		for _, line := range s.points(t, token.ID, StepHour, midnight.Add(test.from), midnight.Add(test.to)) {
			got += line[7:8]
		}
		days := s.points(t, token.ID, StepDay, midnight.Add(test.from), midnight.Add(test.to))
		if got != test.hours || len(days) != test.days {
			t.Errorf("%s to %s: hours %q, days %q", test.from, test.to, got, days)
		}
	}
	if _, err := s.Series(ID{}, StepDay, midnight, testTime); !errors.Is(err, ErrNotFound) {
		t.Errorf("no token: %v", err)
	}
}

// TestSeriesRetention: hours are told for 7 days, days for 2 years.
func TestSeriesRetention(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *Draft) { d.Expiry = Expiry{ExpiresIn: Lifetime{months: 24}} })
	match := s.must(t, credential)
	s.CountAllowed(match, "a:b", LastUse{Time: testTime})
	for _, test := range []struct {
		later       time.Time
		hours, days int
	}{
		{testTime, 1, 1},
		{midnight.AddDate(0, 0, 8).Add(-1), 1, 1},
		{midnight.AddDate(0, 0, 8), 0, 1},
		{midnight.AddDate(2, 0, 1).Add(-1), 0, 1},
		{midnight.AddDate(2, 0, 1), 0, 0},
	} {
		s.clock.pass(test.later.Sub(s.clock.Now()))
		from, to := testTime.AddDate(-5, 0, 0), testTime.AddDate(5, 0, 0)
		if hours, days := s.points(t, token.ID, StepHour, from, to), s.points(t, token.ID, StepDay, from, to); len(hours) != test.hours || len(days) != test.days {
			t.Errorf("at %s: %q, %q", test.later, hours, days)
		}
	}
}

// TestSeriesOutlivesRestarts: the day goes on where it was, and days that are over
// are saved as they were, also by a process that has seen neither's beginning.
func TestSeriesOutlivesRestarts(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *Draft) { d.Expiry = Expiry{ExpiresIn: Lifetime{months: 24}} })
	var want []string
	for day := range 5 {
		for round := range 3 {
			s.clock.set(midnight.AddDate(0, 0, 1+day).Add(time.Duration(round) * time.Second))
			s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: s.Now()})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = reopen(t, s.memory, s.clock)
		}
		want = append(want, s.Now().Format("01-02")+" 00h a:b ok 3")
	}
	if got := s.points(t, token.ID, StepDay, midnight, s.Now()); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLateRequest: one that began before midnight and is counted after another of
// the new day neither reopens the day that is over nor is lost.
func TestLateRequest(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	for _, at := range []time.Duration{-2, 1, -1, 2} {
		s.CountAllowed(match, "a:b", LastUse{Time: midnight.Add(at * time.Second)})
	}
	want := []string{"03-13 00h a:b ok 1", "03-14 00h a:b ok 3"}
	if got := s.points(t, token.ID, StepDay, midnight.AddDate(0, 0, -2), testTime); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// A clock that was put back, however, takes the day with it.
	s.CountAllowed(match, "a:b", LastUse{Time: midnight.AddDate(0, 0, -1)})
	s.CountAllowed(match, "a:b", LastUse{Time: midnight.AddDate(0, 0, -1).Add(time.Hour)})
	want = []string{"03-13 00h a:b ok 3", "03-14 00h a:b ok 3"}
	if got := s.points(t, token.ID, StepDay, midnight.AddDate(0, 0, -2), testTime); !slices.Equal(got, want) {
		t.Errorf("put back: %q, want %q", got, want)
	}
}

// TestBeyond: totals that come without a history are told of as of the last use, and
// once.
func TestBeyond(t *testing.T) {
	t.Parallel()
	at := midnight.Add(150 * time.Minute)
	saved := UsageOf{
		Usage: Usage{Allowed: 5, Denied: 2, Last: LastUse{Time: at.Add(-time.Hour), IP: "203.0.113.7", Scope: "a:b"}},
		Days:  []DayUsage{{Day: DayOf(at), Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{1: 5}}}}},
	}
	totals := Usage{Allowed: 8, Denied: 3, Last: LastUse{Time: at}}
	want := UsageOf{
		Usage: Usage{Allowed: 8, Denied: 3, Last: LastUse{Time: at, IP: "203.0.113.7", Scope: "a:b"}},
		Days: []DayUsage{{Day: DayOf(at), Counts: []Count{
			{"a:b", OutcomeOK, [hoursPerDay]uint64{1: 5, 2: 3}},
		}}},
	}
	got := saved.Beyond(totals)
	for range 2 {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		got = got.Beyond(totals)
	}
	if len(saved.Days[0].Counts) != 1 {
		t.Errorf("what was saved has become %+v", saved)
	}
	totals.Last.Time, totals.Allowed = at.Add(24*time.Hour), 10
	want.Usage = Usage{Allowed: 10, Denied: 3, Last: LastUse{Time: totals.Last.Time, IP: "203.0.113.7", Scope: "a:b"}}
	want.Days = append(want.Days, DayUsage{Day: DayOf(at) + 1, Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{2: 2}}}})
	if got := got.Beyond(totals); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := (UsageOf{}).Beyond(Usage{Denied: 1}); len(got.Days) != 0 || got.Denied != 1 {
		t.Errorf("%+v", got)
	}
}

// TestConcurrentSeries: nothing is lost while days begin, are saved and end.
func TestConcurrentSeries(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	// In a round half an hour passes: no request may be counted an hour late.
	const users, rounds, uses = 16, 90, 22
	const tick = 30 * time.Minute / (users * uses)
	var clock atomic.Int64
	round := func() {
		var all sync.WaitGroup
		for range users {
			all.Go(func() {
				for i := range uses {
					at := midnight.Add(time.Duration(clock.Add(1)) * tick)
					s.CountAllowed(match, fmt.Sprint("scope:", i%5), LastUse{Time: at})
				}
			})
		}
		all.Wait()
	}
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		for range 50 {
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
		}
	}()
	for range rounds {
		round()
	}
	<-flushed
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for when, s := range map[string]*testStore{"before": s, "after a restart": reopen(t, s.memory, s.clock)} {
		points, err := s.Series(token.ID, StepDay, midnight, midnight.AddDate(0, 0, 3))
		if err != nil {
			t.Fatal(err)
		}
		var sum uint64
		for _, p := range points {
			sum += p.Count
		}
		if sum != users*rounds*uses {
			t.Errorf("%s: %d, want %d", when, sum, users*rounds*uses)
		}
	}
}

func TestLargerDay(t *testing.T) {
	t.Parallel()
	a := DayUsage{Day: 7, Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{1, 5}}, {"c:d", OutcomeOK, [hoursPerDay]uint64{3}}}}
	b := DayUsage{Day: 7, Counts: []Count{{"a:b", "rate_limited", [hoursPerDay]uint64{9}}, {"a:b", OutcomeOK, [hoursPerDay]uint64{2, 4}}}}
	want := DayUsage{Day: 7, Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{2, 5}}, {"a:b", "rate_limited", [hoursPerDay]uint64{9}}, {"c:d", OutcomeOK, [hoursPerDay]uint64{3}}}}
	for name, got := range map[string]DayUsage{"a, b": a.Larger(b), "b, a": b.Larger(a), "twice": a.Larger(b).Larger(b).Larger(a)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	whole := DayUsage{Day: 7, Whole: true, Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{6}}, {"c:d", OutcomeOK, [hoursPerDay]uint64{3}}}}
	if got := a.AsWhole(); !reflect.DeepEqual(got, whole) || !reflect.DeepEqual(got.AsWhole(), whole) || !reflect.DeepEqual(a.Larger(whole), whole) || a.Counts[0].Hours[1] != 5 {
		t.Errorf("%+v", got)
	}
}

func TestLargerUsage(t *testing.T) {
	t.Parallel()
	saved := Usage{Allowed: 7, Denied: 2, Last: LastUse{testTime, "203.0.113.7", "curl", "GET /a", "a:b"}}
	later := testTime.Add(time.Second)
	for name, test := range map[string]struct{ other, want Usage }{
		"nothing": {Usage{}, saved},
		"counts":  {Usage{Allowed: 6, Denied: 3}, Usage{7, 3, saved.Last}},
		"earlier": {Usage{Last: LastUse{Time: testTime.Add(-1), IP: "x"}}, saved},
		"a time":  {Usage{Last: LastUse{Time: later}}, Usage{7, 2, LastUse{later, "203.0.113.7", "curl", "GET /a", "a:b"}}},
		// Of a client on a unix socket: without an address, and nothing of the use before.
		"no address": {Usage{Last: LastUse{Time: later, UserAgent: "Go", Route: "GET /b", Scope: "a:c"}}, Usage{7, 2, LastUse{later, "", "Go", "GET /b", "a:c"}}},
		"a use":      {Usage{Allowed: 8, Last: LastUse{Time: later, IP: "x"}}, Usage{8, 2, LastUse{Time: later, IP: "x"}}},
	} {
		if got := saved.Larger(test.other); got != test.want || got.Larger(test.other) != got {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDays(t *testing.T) {
	t.Parallel()
	for day, date := range map[Day]string{0: "1970-01-01", -1: "1969-12-31", 1: "1970-01-02", 20891: "2027-03-14"} {
		start := day.Start()
		if start.Format(time.DateOnly) != date || DayOf(start) != day || DayOf(start.Add(-1)) != day-1 || DayOf(start.Add(24*time.Hour-1)) != day {
			t.Errorf("%d: %s", day, start)
		}
	}
}

// TestDayRecords reads what it wrote, and nothing that is spelled otherwise.
func TestDayRecords(t *testing.T) {
	t.Parallel()
	key := []byte("key")
	for _, want := range []DayUsage{{Day: -3}, fullDay, fullDay.AsWhole()} {
		got, err := DecodeDay(key, -3, EncodeDay(key, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := DecodeDay([]byte("kez"), -3, EncodeDay(key, want)); !errors.Is(err, ErrDamaged) {
			t.Errorf("under another key: %v", err)
		}
	}
	used := UsageOf{ID: testID, Usage: Usage{Allowed: 1}, Days: []DayUsage{{Day: -9, Counts: fullDay.Counts}, fullDay}}
	if got, err := DecodeUsage(testID, EncodeUsage(used)); err != nil || len(got.Days) != 1 || !reflect.DeepEqual(got.Days[0], fullDay) {
		t.Errorf("%+v, %v", got, err)
	}
	var reader Reader
	if got, err := reader.Usage(testID, EncodeUsage(used)); err != nil || got != used.Usage {
		t.Errorf("%+v, %v", got, err)
	}
	count := func(b ...byte) []byte { return append([]byte{2<<3 | 2, byte(len(b))}, b...) }
	good := count(1, 'a', 1, 'b', 3, 1, 4, 1)
	if _, err := DecodeDay(key, 1, seal(dayRecord, key, good)); err != nil {
		t.Error(err)
	}
	for name, fields := range map[string][]byte{
		"no hours":        count(1, 'a', 1, 'b'),
		"hours backwards": count(1, 'a', 1, 'b', 4, 1, 3, 1),
		"an hour twice":   count(1, 'a', 1, 'b', 4, 1, 4, 1),
		"hour 24":         count(1, 'a', 1, 'b', 24, 1),
		"a zero":          count(1, 'a', 1, 'b', 4, 0),
		"a long number":   count(1, 'a', 1, 'b', 4, 0x81, 0),
		"a short number":  count(1, 'a', 1, 'b', 4, 0x81),
		"twice":           append(slices.Clone(good), good...),
		"not in order":    append(count(1, 'b', 1, 'b', 3, 1), good...),
		"whole, two":      append([]byte{1 << 3, 1}, count(1, 'a', 1, 'b', 1, 1)...),
		"whole 2":         append([]byte{1 << 3, 2}, good...),
		"unknown field":   {3 << 3, 1},
	} {
		if got, err := DecodeDay(key, 1, seal(dayRecord, key, bytes.Clone(fields))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := DecodeUsage(testID, seal(usageRecord, testID[:], []byte{7 << 3, 1})); !errors.Is(err, ErrDamaged) {
		t.Errorf("a day without counts: %v", err)
	}
}

// TestPlus verifies that counts of which only the totals are known are added to the
// day of the last of them, wherever that lies.
func TestPlus(t *testing.T) {
	t.Parallel()
	at := midnight.Add(150 * time.Minute)
	saved := UsageOf{
		Usage: Usage{Allowed: 5, Denied: 2, Last: LastUse{Time: at, IP: "203.0.113.7", Scope: "a:b"}},
		Days:  []DayUsage{{Day: DayOf(at), Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{2: 5}}}}},
	}
	day := func(d Day, hour int, n uint64) DayUsage {
		count := Count{Scope: "a:b", Outcome: OutcomeOK}
		count.Hours[hour] = n
		return DayUsage{Day: d, Counts: []Count{count}}
	}
	for name, test := range map[string]struct {
		more Usage
		last time.Time
		days []DayUsage
	}{
		"the same hour":   {Usage{Allowed: 3, Denied: 1, Last: LastUse{Time: at.Add(-time.Minute)}}, at, []DayUsage{day(DayOf(at), 2, 8)}},
		"the day before":  {Usage{Allowed: 3, Denied: 1, Last: LastUse{Time: at.Add(-24 * time.Hour)}}, at, []DayUsage{day(DayOf(at)-1, 2, 3), day(DayOf(at), 2, 5)}},
		"the day after":   {Usage{Allowed: 3, Denied: 1, Last: LastUse{Time: at.Add(24 * time.Hour)}}, at.Add(24 * time.Hour), []DayUsage{day(DayOf(at), 2, 5), day(DayOf(at)+1, 2, 3)}},
		"refused only":    {Usage{Denied: 1, Last: LastUse{Time: at.Add(-24 * time.Hour)}}, at, saved.Days},
		"without a time":  {Usage{Allowed: 3, Denied: 1}, at, saved.Days},
		"more than there": {Usage{Allowed: maxCount, Denied: maxCount}, at, saved.Days},
	} {
		got := saved.Plus(test.more)
		want := UsageOf{Days: test.days, Usage: Usage{
			Allowed: min(5+test.more.Allowed, maxCount), Denied: min(2+test.more.Denied, maxCount),
			Last: LastUse{Time: test.last, IP: "203.0.113.7", Scope: "a:b"},
		}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, want)
		}
	}
	if got := (Usage{Allowed: 5, Denied: 1}).Minus(Usage{Allowed: 2, Denied: 3}); got.Allowed != 3 || got.Denied != 0 {
		t.Errorf("%+v", got)
	}
}
