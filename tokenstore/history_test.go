package tokenstore

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPastDaysAreSaved: a day that is over is kept until it is saved as it is.
func TestPastDaysAreSaved(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	s.CountAllowed(match, "a:b", LastUse{Time: midnight.Add(-1)})
	s.CountAllowed(match, "a:b", LastUse{Time: midnight})
	s.memory.beforeSave = func() { // the clock is put back while the day is saved
		s.memory.beforeSave = nil
		s.CountAllowed(match, "a:b", LastUse{Time: midnight.Add(-2 * time.Hour)})
	}
	for range 3 {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		s.CountAllowed(match, "a:b", LastUse{Time: midnight})
	}
	if past := s.index.counted(match.number).past; len(past) != 0 {
		t.Errorf("%d past days", len(past))
	}
	want := []string{"03-13 00h a:b ok 2", "03-14 00h a:b ok 4"}
	if got := s.points(t, token.ID, StepDay, midnight.AddDate(0, 0, -2), testTime); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// What can't be saved stays.
	s.memory.do(func() { s.memory.saveError = errors.New("full") })
	s.CountAllowed(match, "a:b", LastUse{Time: midnight.AddDate(0, 0, 1)})
	for range 3 {
		if err := s.Flush(); err == nil {
			t.Fatal("saved")
		}
	}
	if past := s.index.counted(match.number).past; len(past) != 1 {
		t.Errorf("%d past days", len(past))
	}
}

// TestLoadedDays: all the days that a token is loaded with are saved again.
func TestLoadedDays(t *testing.T) {
	t.Parallel()
	day := func(d Day, n uint64) DayUsage {
		return DayUsage{Day: d, Counts: []Count{{"a:b", OutcomeOK, [hoursPerDay]uint64{n}}}}
	}
	today := DayOf(midnight)
	h := newHistory(&UsageOf{Days: []DayUsage{day(today-2, 3), day(today-1, 1), day(today, 1)}})
	h.count(midnight.UnixMicro(), "a:b", OutcomeOK)
	days := h.days()
	if want := []DayUsage{day(today-2, 3), day(today-1, 1), day(today, 2)}; !reflect.DeepEqual(days, want) || len(h.past) != 2 {
		t.Errorf("%+v, %d of them past, want %+v", days, len(h.past), want)
	}
}

// TestManyOutcomes: what is kept of a day is bounded, and nothing is lost.
func TestManyOutcomes(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	const scopes = 500
	for i := range scopes {
		s.CountAllowed(match, fmt.Sprintf("scope:%d", i), LastUse{Time: testTime})
		s.CountDenied(match, testTime, fmt.Sprintf("scope:%d", i), "insufficient_scope")
	}
	points, err := s.Series(token.ID, StepDay, midnight, testTime)
	if err != nil || len(points) > maxDayCounts+2 {
		t.Fatalf("%d points, %v", len(points), err)
	}
	sums := make(map[string]uint64)
	for _, p := range points {
		sums[p.Outcome] += p.Count
	}
	if !reflect.DeepEqual(sums, map[string]uint64{OutcomeOK: scopes, "insufficient_scope": scopes}) {
		t.Errorf("%v", sums)
	}
}

// TestOutliving: the totals are noted where they outlive the store when a count is
// done, and it is told what is saved.
func TestOutliving(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	s.memory.outliving = make(map[ID]Usage)
	s.counters = s.memory.Counters()
	token, credential := s.create(t)
	match := s.must(t, credential)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 100 {
				s.CountAllowed(match, "a:b", LastUse{Time: testTime.Add(time.Duration(i*100+j) * time.Microsecond)})
				s.CountDenied(match, testTime, "a:b", "x")
			}
		})
	}
	all.Wait()
	want := Usage{Allowed: 800, Denied: 800, Last: LastUse{Time: testTime.Add(799 * time.Microsecond).Truncate(time.Microsecond)}}
	s.memory.do(func() {
		if got := s.memory.outliving[token.ID]; got != want || len(s.memory.toldSaved) != 0 {
			t.Errorf("%+v, told saved %v", got, s.memory.toldSaved)
		}
		s.memory.saveError = errors.New("full")
	})
	if err := s.Flush(); err == nil {
		t.Error("saved")
	}
	s.memory.do(func() {
		if len(s.memory.toldSaved) != 0 {
			t.Error("told that it was saved")
		}
		s.memory.saveError = nil
	})
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.memory.do(func() {
		if told := s.memory.toldSaved; len(told) != 1 || told[0].Allowed != 800 || told[0].Denied != 800 {
			t.Errorf("told %+v", told)
		}
	})
	// The next process begins with the totals.
	again := reopen(t, s.memory, s.clock)
	again.must(t, credential)
	s.memory.do(func() {
		if got := s.memory.outliving[token.ID]; got.Allowed != 800 || got.Denied != 800 || !got.Last.Time.Equal(want.Last.Time) {
			t.Errorf("again: %+v", got)
		}
	})
}

// TestHistoryIsExact: whatever of a token's history is in memory, read again or
// forgotten while it is used in several manners, each request is told of once, and for
// its own scope and hour.
func TestHistoryIsExact(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	s.memory.outliving = make(map[ID]Usage)
	s.counters = s.memory.Counters()
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
						s.CountDenied(match, at, scope, outcome)
					} else {
						s.CountAllowed(match, scope, LastUse{Time: at, IP: "203.0.113.7"})
					}
					counts[user][fmt.Sprint(at.Hour(), scope, outcome)]++
				}
				if random.IntN(60) == 0 && hour.Load() < 20 { // a late request of the day before would count today
					hour.Add(1)
				}
			}
		})
	}
	stop := flushing(t, func() error { return s.flush(false) })
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
			t.Errorf("%s: %v\nwant %v", when, got, want)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if number := s.index.byID(token.ID); s.index.histories.get(number) != nil {
		s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: midnight.AddDate(0, 0, 2)})
		if err := s.Flush(); err != nil || s.index.histories.get(number) != nil {
			t.Errorf("the history isn't forgotten: %v", err)
		}
	}
}

// TestCountedForAnother: a request isn't counted as one more of the manner before if the
// token was used in another manner meanwhile, whether or not the history that this began
// is still in memory.
func TestCountedForAnother(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	use := LastUse{Time: testTime}
	s.CountAllowed(match, "a:b", use)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	r := s.index.record(&match)
	if _, history := r.totals(); history {
		t.Fatal("there is a history")
	}
	before := r.manner.Load()
	if _, ok := r.raiseAllowedAs(before); !ok {
		t.Fatal("another manner without another request")
	}
	s.CountAllowed(match, "c:d", use)
	if _, ok := r.raiseAllowedAs(before); ok {
		t.Error("one more of the manner before, with a history")
	}
	for i := 0; ; i++ {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, history := r.totals(); !history {
			break
		} else if i == 5 {
			t.Fatal("the history isn't forgotten")
		}
	}
	if _, ok := r.raiseAllowedAs(before); ok {
		t.Error("one more of the manner before, without a history")
	}
	want := []string{"03-14 00h a:b ok 2", "03-14 00h c:d ok 1"}
	if got := s.points(t, token.ID, StepDay, midnight, testTime); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
