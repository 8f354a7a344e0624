package bolt

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

var today = tokenstore.DayOf(testTime)

// usedOn returns a day with n uses in one hour and 2n in another.
func usedOn(day tokenstore.Day, n uint64) tokenstore.DayUsage {
	point := func(hour time.Duration, n uint64) tokenstore.Point {
		return tokenstore.Point{Time: day.Start().Add(hour * time.Hour), Scope: "a:b", Outcome: tokenstore.OutcomeOK,
			Count: n}
	}
	return tokenstore.DayUsage{Day: day, Points: []tokenstore.Point{point(3, n), point(20, 2*n)}}
}

// save adds to tokens' usage.
func save(t testing.TB, b *Backend, usages map[token.ID]tokenstore.Usage) {
	t.Helper()
	check(t, b.SaveUsage(testTime, tokenstore.FlushState{Flush: 7}, maps.All(usages)))
}

// days returns a token's days from the days bucket.
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

// TestCheckDays verifies that Check reports a damaged day record and a day record without a
// token.
func TestCheckDays(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	tok := makeToken(t, s)
	save(t, b,
		map[token.ID]tokenstore.Usage{
			tok.ID: {Days: []tokenstore.DayUsage{usedOn(today-2, 1), usedOn(today-1, 1), usedOn(today, 1)}}})
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
		t.Errorf("got days %+v, want 1 day", got)
	}
	check(t, s.Close())
	report, err := Check(b.path)
	check(t, err)
	want := []string{
		fmt.Sprintf("usage of token %s on %s: the record is damaged: its checksum is wrong", tok.ID,
			(today - 1).Start().Format("2006-01-02")),
		"a day's usage record belongs to a token that doesn't exist",
	}
	if len(report.Problems) != 2 || report.Problems[1] != want[1] || report.Problems[0][:40] != want[0][:40] {
		t.Errorf("got problems %q, want %q", report.Problems, want)
	}
}
