package bolt

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var today = tokenstore.DayOf(testTime)

// usedOn is a day with one count in two hours.
func usedOn(day tokenstore.Day, n uint64) tokenstore.DayUsage {
	point := func(hour time.Duration, n uint64) tokenstore.Point {
		return tokenstore.Point{Time: day.Start().Add(hour * time.Hour), Scope: "a:b", Outcome: tokenstore.OutcomeOK, Count: n}
	}
	return tokenstore.DayUsage{Day: day, Points: []tokenstore.Point{point(3, n), point(20, 2*n)}}
}

// save saves what came to tokens.
func save(t testing.TB, b *Backend, came map[token.ID]tokenstore.Usage) {
	t.Helper()
	check(t, b.SaveUsage(testTime, tokenstore.FlushState{Flush: 7}, maps.All(came)))
}

// days returns the days that are stored apart from the usage record.
func days(t testing.TB, b *Backend, id token.ID) (found []tokenstore.DayUsage) {
	t.Helper()
	check(t, b.view(func(tx *bbolt.Tx) error {
		for day := today - 2000; day <= today+2000; day++ {
			if d, ok := savedDay(tx, id, day); ok {
				found = append(found, d)
			}
		}
		return nil
	}))
	return found
}

// TestDays: the newest day is with the totals, the others are by themselves, and all
// that is saved is added.
func TestDays(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
	tok, other := makeToken(t, s), makeToken(t, s)
	for _, days := range [][]tokenstore.DayUsage{
		{usedOn(today-1, 1)},
		{usedOn(today-3, 2), usedOn(today-1, 1), usedOn(today, 1)},
		{usedOn(today-3, 1), usedOn(today-1, 3), usedOn(today, 4)},
	} {
		save(t, b, map[token.ID]tokenstore.Usage{
			tok.ID:                           {Allowed: 7, Days: days},
			other.ID:                         {Days: []tokenstore.DayUsage{usedOn(today, 9)}},
			token.ID([]byte("000000000000")): {Days: days}, // is no token
		})
	}
	want := []tokenstore.DayUsage{usedOn(today-3, 3), usedOn(today-1, 5)}
	if got := days(t, b, tok.ID); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got, err := usageOf(b, tok.ID); err != nil || !reflect.DeepEqual(got.Days, []tokenstore.DayUsage{usedOn(today, 5)}) || got.Allowed != 21 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, state, err := b.Usage(tok.ID, today-3, today-2); err != nil || state.Flush != 7 || !reflect.DeepEqual(got.Days, []tokenstore.DayUsage{usedOn(today-3, 3), usedOn(today, 5)}) {
		t.Errorf("some days: %+v, %+v, %v", got, state, err)
	}
	if got := days(t, b, other.ID); len(got) != 0 {
		t.Errorf("of another token: %+v", got)
	}
	if n, err := b.countKeys(daysBucket); err != nil || n != 2 {
		t.Errorf("%d days, %v", n, err)
	}
	// A deleted token leaves nothing.
	check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
	if n, err := b.countKeys(daysBucket); err != nil || n != 0 {
		t.Errorf("%d days are left, %v", n, err)
	}
	check(t, s.Close())
	if report, err := Check(b.path); err != nil || len(report.Problems) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestPruneDays: hours are added up and days removed when they are old, a bounded
// number at once, and each once.
func TestPruneDays(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
	const tokens, kept = 300, 20
	var ids []token.ID
	came := make(map[token.ID]tokenstore.Usage)
	for range tokens {
		id := makeToken(t, s).ID
		var of tokenstore.Usage
		for day := today - kept; day <= today; day++ {
			of.Days = append(of.Days, usedOn(day, 1))
		}
		ids = append(ids, id)
		came[id] = of
	}
	save(t, b, came)
	keep := tokenstore.Retention{Hours: today - 7, Days: today - 15}
	rounds := 0
	for more := true; more; rounds++ {
		var err error
		if more, err = b.Prune(keep); err != nil || rounds > 100 {
			t.Fatalf("round %d: %v", rounds, err)
		}
	}
	if rounds < tokens*(kept-7)/pruneLimit/2 {
		t.Errorf("all in %d rounds", rounds)
	}
	for _, id := range ids {
		var want []tokenstore.DayUsage
		for day := today - 15; day < today; day++ {
			if d := usedOn(day, 1); day < today-7 {
				want = append(want, d.AsWhole())
			} else {
				want = append(want, d)
			}
		}
		if got := days(t, b, id); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v", got)
		}
	}
	if more, err := b.Prune(keep); more || err != nil {
		t.Errorf("again: %v, %v", more, err)
	}
	// A day later it is one day more. What is saved late is whole already.
	keep.Hours++
	keep.Days++
	for more := true; more; {
		var err error
		more, err = b.Prune(keep)
		check(t, err)
	}
	if got := days(t, b, ids[0]); len(got) != 14 || !reflect.DeepEqual(got[6], usedOn(today-8, 1).AsWhole()) && !got[7].Whole || got[8].Whole {
		t.Errorf("%+v", got)
	}
	check(t, s.Close())
	if report, err := Check(b.path); err != nil || len(report.Problems) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestCheckDays finds a day that is damaged, and one of no token.
func TestCheckDays(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := storeOver(t, b)
	tok := makeToken(t, s)
	save(t, b, map[token.ID]tokenstore.Usage{tok.ID: {Days: []tokenstore.DayUsage{usedOn(today-2, 1), usedOn(today-1, 1), usedOn(today, 1)}}})
	check(t, b.update(func(tx *bbolt.Tx) error {
		days := tx.Bucket(daysBucket)
		record := slices.Clone(days.Get(dayKey(today-1, tok.ID)))
		record[3] ^= 1
		gone := dayKey(today, token.ID([]byte("000000000000")))
		if err := days.Put(gone, tokenstore.EncodeDay(gone, usedOn(today, 1))); err != nil {
			return err
		}
		return days.Put(dayKey(today-1, tok.ID), record)
	}))
	if got := days(t, b, tok.ID); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	check(t, s.Close())
	report, err := Check(b.path)
	check(t, err)
	want := []string{
		fmt.Sprintf("usage of token %s on %s: the record is damaged: its checksum is wrong", tok.ID, (today - 1).Start().Format("2006-01-02")),
		"there is a day's usage of a token that doesn't exist",
	}
	if len(report.Problems) != 2 || report.Problems[1] != want[1] || report.Problems[0][:40] != want[0][:40] {
		t.Errorf("%q, want %q", report.Problems, want)
	}
}
