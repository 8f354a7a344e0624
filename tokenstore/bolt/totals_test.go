package bolt

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// usedTotals returns the totals of days as usedOn returns them.
func usedTotals(days ...tokenstore.DayUsage) []tokenstore.DayUsage {
	for _, day := range days {
		for i := range day.Points {
			day.Points[i].Scope = ""
		}
	}
	return days
}

func totalsOf(t *testing.T, b *Backend) []tokenstore.DayUsage {
	t.Helper()
	days, err := b.Totals(today-2000, today+2000)
	check(t, err)
	return days
}

// TestTotalsOfEarlierVersion verifies that a store without totals gets them, from the usage of
// all tokens, when usage is saved.
func TestTotalsOfEarlierVersion(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	one, two := makeToken(t, s), makeToken(t, s)
	save(t, b, map[token.ID]tokenstore.Usage{
		one.ID: {Days: []tokenstore.DayUsage{usedOn(today-9, 1).AsWhole(), usedOn(today-1, 1), usedOn(today, 1)}},
		two.ID: {Days: []tokenstore.DayUsage{usedOn(today-9, 1), usedOn(today, 2)}},
	})
	check(t, b.update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(totalsBucket) }))
	if got := totalsOf(t, b); len(got) > 0 {
		t.Fatalf("got totals %+v, want none", got)
	}
	save(t, b, map[token.ID]tokenstore.Usage{one.ID: {Days: []tokenstore.DayUsage{usedOn(today, 1)}}})
	want := usedTotals(usedOn(today-9, 2).AsWhole(), usedOn(today-1, 1), usedOn(today, 4))
	if got := totalsOf(t, b); !reflect.DeepEqual(got, want) {
		t.Errorf("got totals\n%+v\nwant\n%+v", got, want)
	}
	check(t, s.Close())
	if report, err := Check(b.path); err != nil || len(report.Problems) > 0 {
		t.Errorf("got problems %q, err %v", report.Problems, err)
	}
}

// TestDamagedTotals verifies that a damaged totals or refusals record is reported and rebuilt
// without losing anything else.
func TestDamagedTotals(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	tok, gone := makeToken(t, s), makeToken(t, s)
	refusals := []tokenstore.Refusal{{Time: testTime, Method: "GET", Path: "/a", Code: "ip_denied"}}
	save(t, b, map[token.ID]tokenstore.Usage{
		tok.ID:  {Days: []tokenstore.DayUsage{usedOn(today-2, 1), usedOn(today, 1)}, Refusals: refusals},
		gone.ID: {Days: []tokenstore.DayUsage{usedOn(today-2, 1), usedOn(today, 1)}, Refusals: refusals},
	})
	check(t, s.Delete(gone.ID, token.AnyVersion, tokenstore.Actor{Name: "me"}))
	want := usedTotals(usedOn(today-2, 1), usedOn(today, 2)) // the deleted token's part of the first day is lost
	check(t, b.update(func(tx *bbolt.Tx) error {
		totals := tx.Bucket(totalsBucket)
		record := slices.Clone(totals.Get(totalKey(today - 2)))
		record[3] ^= 1
		refused := tx.Bucket(refusalsBucket)
		return errors.Join(totals.Put(totalKey(today-2), record), refused.Put(gone.ID[:], refused.Get(tok.ID[:])))
	}))
	check(t, s.Close())
	report, err := Check(b.path)
	check(t, err)
	if len(report.Problems) != 2 {
		t.Errorf("got problems %q, want 2", report.Problems)
	}
	b = mustOpen(t, b.path)
	defer func() { check(t, b.Close()) }()
	if got := totalsOf(t, b); !reflect.DeepEqual(got, want) {
		t.Errorf("got totals\n%+v\nwant\n%+v", got, want)
	}
	if got, _, err := b.Refusals(tok.ID); err != nil || !reflect.DeepEqual(got, refusals) {
		t.Errorf("got refusals %+v, %v", got, err)
	}
	if len(b.Health().Repairs) != 1 {
		t.Errorf("got repairs %+v, want one", b.Health().Repairs)
	}
}

// TestLastBackup verifies that a backup counts once it has been read to its end.
func TestLastBackup(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, newPath(t))
	s := openStore(t, b)
	defer func() { check(t, s.Close()) }()
	for _, whole := range []bool{false, true} {
		content, length, err := s.Backup()
		check(t, err)
		if !whole {
			length--
		}
		_, err = content.Read(make([]byte, length))
		check(t, errors.Join(err, content.Close()))
		at, err := s.LastBackup()
		check(t, err)
		if want := testTime; whole && !at.Equal(want) || !whole && !at.IsZero() {
			t.Errorf("read to its end: %v: the last backup was made at %s", whole, at.Format(time.RFC3339))
		}
	}
}
