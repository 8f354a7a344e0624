package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// midnight is the start of the test's day.
var midnight = testTime.Truncate(hoursPerDay * time.Hour)

// points returns a token's history as strings, one per point.
func (s *testStore) points(t testing.TB, id token.ID, step Step, from, to time.Time) []string {
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

// TestSeries verifies that each request counts toward the hour and the day in which it began,
// by scope and outcome. This must hold before and after the count is saved and after a
// restart.
func TestSeries(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *token.Draft) { d.Expiry = token.Expiry{ExpiresIn: months(24)} })
	match := s.must(t, credential)
	for _, at := range []time.Duration{0, time.Hour - 1, time.Hour, 24*time.Hour - 1, 24 * time.Hour, 49 * time.Hour} {
		now := midnight.Add(at)
		s.clock.set(testTime.Add(at))
		s.CountAllowed(match, "unikernel:list", LastUse{Time: now})
		s.CountAllowed(match, "block:list", LastUse{Time: now})
		s.CountDenied(match, Refusal{Time: now, Scope: "unikernel:create", Code: "insufficient_scope"})
		s.CountDenied(match, Refusal{Time: now, Code: "route_not_allowed"})
	}
	s.CountAllowed(match, "unikernel:list", LastUse{Time: midnight.Add(49*time.Hour + 1)})
	day := func(date string, counts ...int) (lines []string) {
		for i, scope := range []string{" route_not_allowed", "block:list ok", "unikernel:create insufficient_scope",
			"unikernel:list ok"} {
			lines = append(lines, fmt.Sprintf("%s %s %d", date, scope, counts[min(i/3, len(counts)-1)]))
		}
		return lines
	}
	days := slices.Concat(day("03-14 00h", 4), day("03-15 00h", 1), day("03-16 00h", 1, 2))
	hours := slices.Concat(day("03-14 00h", 2), day("03-14 01h", 1), day("03-14 23h", 1), day("03-15 00h", 1),
		day("03-16 01h", 1, 2))
	end := midnight.AddDate(0, 0, 5)
	check := func(when string, s *testStore) {
		t.Helper()
		if got := s.points(t, token.ID, StepDay, midnight, end); !slices.Equal(got, days) {
			t.Errorf("%s, days:\ngot\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(days, "\n"))
		}
		if got := s.points(t, token.ID, StepHour, midnight, end); !slices.Equal(got, hours) {
			t.Errorf("%s, hours:\ngot\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(hours, "\n"))
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

// TestSeriesRange verifies that Series returns all hours and days that overlap the interval.
func TestSeriesRange(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, credential := s.create(t)
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
		for _, line := range s.points(t, tok.ID, StepHour, midnight.Add(test.from), midnight.Add(test.to)) {
			got += line[7:8]
		}
		days := s.points(t, tok.ID, StepDay, midnight.Add(test.from), midnight.Add(test.to))
		if got != test.hours || len(days) != test.days {
			t.Errorf("%s to %s: got hours %q, days %q", test.from, test.to, got, days)
		}
	}
	if _, err := s.Series(token.ID{}, StepDay, midnight, testTime); !errors.Is(err, ErrNotFound) {
		t.Errorf("Series of an unknown token: got error %v, want ErrNotFound", err)
	}
}

// TestSeriesRetention verifies that Series returns hourly counts for 7 days and daily counts
// for 400 days.
func TestSeriesRetention(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *token.Draft) { d.Expiry = token.Expiry{ExpiresIn: months(24)} })
	match := s.must(t, credential)
	s.CountAllowed(match, "a:b", LastUse{Time: testTime})
	for _, test := range []struct {
		later       time.Time
		hours, days int
	}{
		{testTime, 1, 1},
		{midnight.AddDate(0, 0, 8).Add(-1), 1, 1},
		{midnight.AddDate(0, 0, 8), 0, 1},
		{midnight.AddDate(0, 0, DefaultHistory+1).Add(-1), 0, 1},
		{midnight.AddDate(0, 0, DefaultHistory+1), 0, 0},
	} {
		s.clock.pass(test.later.Sub(s.clock.Now()))
		from, to := testTime.AddDate(-5, 0, 0), testTime.AddDate(5, 0, 0)
		if hours, days := s.points(t, token.ID, StepHour, from, to),
			s.points(t, token.ID, StepDay, from, to); len(hours) != test.hours || len(days) != test.days {
			t.Errorf("at %s: got hours %q, days %q, want %d and %d", test.later, hours, days, test.hours, test.days)
		}
	}
}

// TestSeriesSurvivesRestarts verifies that counting continues within the same day after a
// restart and that saving doesn't change past days.
func TestSeriesSurvivesRestarts(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t, func(d *token.Draft) { d.Expiry = token.Expiry{ExpiresIn: months(24)} })
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
		t.Errorf("got series %q, want %q", got, want)
	}
}

// TestLateRequest verifies that each request counts toward the day on which it began, no
// matter in which order requests are counted and saved.
func TestLateRequest(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	for i, at := range []time.Duration{-2, 1, -1, 2, -24 * 60 * 60, -3} {
		s.CountAllowed(match, "a:b", LastUse{Time: midnight.Add(at * time.Second)})
		if i%2 == 1 {
			check(t, s.Flush())
		}
	}
	want := []string{"03-13 00h a:b ok 4", "03-14 00h a:b ok 2"}
	if got := s.points(t, token.ID, StepDay, midnight.AddDate(0, 0, -2), testTime); !slices.Equal(got, want) {
		t.Errorf("got series %q, want %q", got, want)
	}
}

// TestManyOutcomes verifies that the size of a day is bounded and that no counts are lost.
func TestManyOutcomes(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	const scopes = 500
	for i := range scopes {
		s.CountAllowed(match, fmt.Sprintf("scope:%d", i), LastUse{Time: testTime})
		s.CountDenied(match, Refusal{Time: testTime, Scope: fmt.Sprintf("scope:%d", i), Code: "insufficient_scope"})
	}
	points, err := s.Series(token.ID, StepDay, midnight, testTime)
	if err != nil || len(points) > maxDayCounts+2 {
		t.Fatalf("got %d points, %v", len(points), err)
	}
	sums := make(map[string]uint64)
	for _, p := range points {
		sums[p.Outcome] += p.Count
	}
	if !reflect.DeepEqual(sums, map[string]uint64{OutcomeOK: scopes, "insufficient_scope": scopes}) {
		t.Errorf("got sums %v, want %d per outcome", sums, scopes)
	}
}

// TestSeriesIsExact verifies that each request counts once, for its scope and hour, even
// during concurrent flushes.
func TestSeriesIsExact(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	rounds := 400
	if testing.Short() {
		rounds = 60
	}
	const users = 4
	var hour atomic.Int64
	var counts [users]map[string]uint64
	var all sync.WaitGroup
	for user := range users {
		counts[user] = make(map[string]uint64)
		all.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(user)))
			scope := "a:b"
			for range rounds {
				if random.IntN(4) == 0 {
					scope = fmt.Sprint("scope:", random.IntN(3))
				}
				at := midnight.Add(time.Duration(hour.Load())*time.Hour + time.Minute)
				for range random.IntN(40) {
					match := s.must(t, credential)
					outcome := OutcomeOK
					if random.IntN(50) == 0 {
						outcome = "x"
						s.CountDenied(match, Refusal{Time: at, Scope: scope, Code: outcome})
					} else {
						s.CountAllowed(match, scope, LastUse{Time: at, IP: "203.0.113.7"})
					}
					counts[user][fmt.Sprint(at.Hour(), scope, outcome)]++
				}
				if random.IntN(60) == 0 && hour.Load() < 40 {
					hour.Add(1)
				}
			}
		})
	}
	stop := flushing(t, s.Flush)
	all.Wait()
	stop()
	want := make(map[string]uint64)
	for user := range users {
		for what, n := range counts[user] {
			want[what] += n
		}
	}
	for _, when := range []string{"in memory", "saved"} {
		points, err := s.Series(token.ID, StepHour, midnight, midnight.AddDate(0, 0, 3))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]uint64)
		for _, p := range points {
			got[fmt.Sprint(p.Time.Hour(), p.Scope, p.Outcome)] += p.Count
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got %v\nwant %v", when, got, want)
		}
		if got, want := totalsOf(t, s), sumByOutcome(points); !maps.Equal(got, want) {
			t.Errorf("%s: got totals %v\nwant %v", when, got, want)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConcurrentSeries verifies that no counts are lost when requests and flushes run
// concurrently across day boundaries.
func TestConcurrentSeries(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	// Each round lasts half an hour, so no request is counted an hour late.
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
			t.Errorf("%s: the series has %d requests, want %d", when, sum, users*rounds*uses)
		}
	}
}

func TestDays(t *testing.T) {
	t.Parallel()
	for day, date := range map[Day]string{0: "1970-01-01", -1: "1969-12-31", 1: "1970-01-02", 20891: "2027-03-14"} {
		start := day.Start()
		if start.Format(time.DateOnly) != date || DayOf(start) != day || DayOf(start.Add(-1)) != day-1 ||
			DayOf(start.Add(24*time.Hour-1)) != day {
			t.Errorf("Start or DayOf is wrong for day %d, which starts at %s", day, start)
		}
	}
}

// TestDayRecords verifies that decoding is the inverse of encoding and that counts with an
// unknown or ambiguous time are rejected.
func TestDayRecords(t *testing.T) {
	t.Parallel()
	key := []byte("key")
	for _, want := range []DayUsage{{Day: -3}, fullDay, fullDay.AsWhole()} {
		got, err := DecodeDay(key, -3, EncodeDay(key, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("DecodeDay returned %+v, %v, want %+v", got, err, want)
		}
		if _, err := DecodeDay([]byte("kez"), -3, EncodeDay(key, want)); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("decoding under another key: got error %v, want ErrDamaged", err)
		}
	}
	used := Usage{Allowed: 1, Days: []DayUsage{{Day: -9, Points: fullDay.Points}, fullDay}}
	if got, err := DecodeUsage(testID, EncodeUsage(testID, used)); err != nil || len(got.Days) != 1 ||
		!reflect.DeepEqual(got.Days[0], fullDay) {
		t.Errorf("DecodeUsage returned %+v, %v, want only the last day", got, err)
	}
	var reader Reader
	if got, err := reader.Usage(testID, EncodeUsage(testID, used)); err != nil ||
		!reflect.DeepEqual(got, Usage{Allowed: 1}) {
		t.Errorf("Reader.Usage returned %+v, %v, want no days", got, err)
	}
	count := func(b ...byte) []byte { return append([]byte{2<<3 | 2, byte(len(b))}, b...) }
	good := count(1, 'a', 1, 'b', 3, 1, 4, 1)
	if _, err := DecodeDay(key, 1, wire.AddChecksum(dayRecord, key, good)); err != nil {
		t.Error(err)
	}
	for name, fields := range map[string][]byte{
		"no hours":              count(1, 'a', 1, 'b'),
		"hours out of order":    count(1, 'a', 1, 'b', 4, 1, 3, 1),
		"duplicate hour":        count(1, 'a', 1, 'b', 4, 1, 4, 1),
		"hour 24":               count(1, 'a', 1, 'b', 24, 1),
		"zero count":            count(1, 'a', 1, 'b', 4, 0),
		"a truncated number":    count(1, 'a', 1, 'b', 4, 0x81),
		"twice":                 append(slices.Clone(good), good...),
		"scopes out of order":   append(count(1, 'b', 1, 'b', 3, 1), good...),
		"whole with two counts": append([]byte{1 << 3, 1}, count(1, 'a', 1, 'b', 1, 1)...),
		"whole 2":               append([]byte{1 << 3, 2}, good...),
		"whole after counts":    append(slices.Clone(good), 1<<3, 1),
		"unknown field":         {3 << 3, 1},
	} {
		if got, err := DecodeDay(key, 1, wire.AddChecksum(dayRecord, key, bytes.Clone(fields))); !errors.Is(err,
			token.ErrDamaged) {
			t.Errorf("%s: DecodeDay returned %+v, %v, want ErrDamaged", name, got, err)
		}
	}
	day := wire.AppendUint(nil, usageDay, 1)
	counts := appendPoints(nil, usageCount, fullDay)
	for name, fields := range map[string][]byte{
		"a day without counts":    day,
		"counts without a day":    counts,
		"counts before their day": slices.Concat(counts, day),
		"counts around their day": slices.Concat(counts, day, counts),
		"two days":                slices.Concat(day, day, counts),
	} {
		record := wire.AddChecksum(usageRecord, testID[:], bytes.Clone(fields))
		if got, err := DecodeUsage(testID, record); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: DecodeUsage returned %+v, %v, want ErrDamaged", name, got, err)
		}
		if got, err := new(Reader).Usage(testID, record); !errors.Is(err, token.ErrDamaged) {
			t.Errorf("%s: Reader.Usage returned %+v, %v, want ErrDamaged", name, got, err)
		}
	}
}

// TestHistoryIsKeptUntilRetentionIsSet verifies that no history is deleted before KeepHistory
// is called, since that happens only after the store has been opened.
func TestHistoryIsKeptUntilRetentionIsSet(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	_, credential := s.create(t, func(d *token.Draft) { d.Expiry = token.Expiry{ExpiresIn: months(24)} })
	s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: testTime})
	check(t, s.Flush())
	s.clock.pass(500 * 24 * time.Hour)
	s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: s.Now()})
	check(t, s.Flush())
	prune := func() int {
		_, err := s.prune()
		check(t, err)
		return len(s.memory.days)
	}
	if n := prune(); n != 1 {
		t.Errorf("%d days are left, want 1", n)
	}
	s.KeepHistory(600)
	if n := prune(); n != 1 {
		t.Errorf("with a retention of 600 days, %d days are left, want 1", n)
	}
	s.KeepHistory(400)
	if n := prune(); n != 0 {
		t.Errorf("with a retention of 400 days, %d days are left, want none", n)
	}
}

// totalsOf returns the store's hourly totals.
func totalsOf(t *testing.T, s *testStore) map[string]uint64 {
	t.Helper()
	points, err := s.Totals(StepHour, time.Time{}, s.Now().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return sumByOutcome(points)
}

// sumByOutcome adds up points with the same time and outcome.
func sumByOutcome(points []Point) map[string]uint64 {
	sums := make(map[string]uint64)
	for _, p := range points {
		sums[p.Time.String()+" "+p.Outcome] += p.Count
	}
	return sums
}
