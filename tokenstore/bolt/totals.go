package bolt

import (
	"bytes"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// The totals bucket holds one day record per day. Its key is the start of a token's day key. In
// the totals elsewhere bucket, the name of the node follows.
const totalKeyLength = 4

func totalKey(day tokenstore.Day) []byte {
	return dayKey(day, token.ID{})[:totalKeyLength]
}

// Totals implements tokenstore.Backend.
func (b *Backend) Totals(first, last tokenstore.Day) (days []tokenstore.DayUsage, err error) {
	err = b.viewNow(func(tx *bbolt.Tx) error {
		days = savedTotals(tx.Bucket(totalsBucket), first, last)
		return nil
	})
	return days, err
}

// savedTotals returns the totals in a bucket, which may be nil. It adds up the totals of the
// same day.
func savedTotals(bucket *bbolt.Bucket, first, last tokenstore.Day) (days []tokenstore.DayUsage) {
	if bucket == nil {
		return nil
	}
	cursor := bucket.Cursor()
	for key, record := cursor.Seek(totalKey(first)); len(key) >= totalKeyLength && keyDay(key) <= last; {
		day, err := tokenstore.DecodeDay(key, keyDay(key), record)
		switch n := len(days) - 1; {
		case err != nil: // Check reports damaged records
		case n >= 0 && days[n].Day == day.Day:
			days[n] = days[n].Plus(day)
		default:
			days = append(days, day)
		}
		key, record = cursor.Next()
	}
	return days
}

// addTotals adds a difference to the totals. A store that was written by an earlier version has
// no totals; addTotals creates them from the usage of all tokens, which already includes the
// difference.
func addTotals(tx *bbolt.Tx, difference totals) error {
	if len(difference) == 0 {
		return nil
	}
	bucket := tx.Bucket(totalsBucket)
	if bucket == nil {
		var err error
		if bucket, err = tx.CreateBucket(totalsBucket); err != nil {
			return err
		}
		difference, err = sumUsage(tx.Bucket(tokensBucket), tx.Bucket(usageBucket), tx.Bucket(daysBucket))
		if err != nil {
			return err
		}
	}
	for _, day := range difference {
		key := totalKey(day.Day)
		sum := *day
		if saved, err := tokenstore.DecodeDay(key, day.Day, bucket.Get(key)); err == nil {
			sum = saved.Plus(sum) // a damaged record is replaced
		}
		if err := bucket.Put(key, tokenstore.EncodeDay(key, sum)); err != nil {
			return err
		}
	}
	return nil
}

// totals adds up the requests that reached a gate, per day. Its points have no scope.
type totals map[tokenstore.Day]*tokenstore.DayUsage

// add adds a day of a token's usage. It ignores admin tokens. record is the token's record.
func (t totals) add(id token.ID, record []byte, day tokenstore.DayUsage) {
	noScope := func(p tokenstore.Point) bool { return p.Scope == "" }
	if slices.ContainsFunc(day.Points, noScope) { // the usage of an admin token never has a scope
		if tok, err := token.DecodeToken(id, record); err == nil && tok.Kind == token.KindAdmin {
			return
		}
	}
	sum := t[day.Day]
	if sum == nil {
		sum = &tokenstore.DayUsage{Day: day.Day, Whole: day.Whole}
		t[day.Day] = sum
	} else if day.Whole {
		*sum = sum.AsWhole()
	}
	for _, p := range day.Points {
		p.Scope = ""
		sum.Add(p)
	}
}

// sumUsage returns the totals of all tokens in the given buckets. It skips damaged records.
func sumUsage(tokens, usage, days *bbolt.Bucket) (totals, error) {
	sums := make(totals)
	err := usage.ForEach(func(key, record []byte) error {
		if len(key) != len(token.ID{}) {
			return nil
		}
		if used, err := tokenstore.DecodeUsage(token.ID(key), record); err == nil {
			for _, day := range used.Days {
				sums.add(token.ID(key), tokens.Get(key), day)
			}
		}
		return nil
	})
	return sums, errors.Join(err, days.ForEach(func(key, record []byte) error {
		if len(key) != dayKeyLength {
			return nil
		}
		if day, err := tokenstore.DecodeDay(key, keyDay(key), record); err == nil {
			id := key[dayKeyLength-len(token.ID{}):]
			sums.add(token.ID(id), tokens.Get(id), day)
		}
		return nil
	}))
}

// expiredTotals deletes the totals of days before keep.Days and adds up the hours of days before
// keep.Hours. The bucket may be missing.
func expiredTotals(name []byte, keep tokenstore.Retention) pruning {
	return pruning{
		has: func(tx *bbolt.Tx) bool { return hasExpiredTotals(tx.Bucket(name), keep) },
		run: func(tx *bbolt.Tx) error { return pruneTotals(tx, name, keep) },
	}
}

func pruneTotals(tx *bbolt.Tx, name []byte, keep tokenstore.Retention) error {
	bucket := tx.Bucket(name)
	if bucket == nil {
		return nil
	}
	if err := prune(tx, name, isDayBefore(totalKeyLength, keep.Days), nil); err != nil {
		return err
	}
	for _, t := range totalsWithHours(bucket, keep.Hours) {
		if err := bucket.Put(t.key, tokenstore.EncodeDay(t.key, t.day.AsWhole())); err != nil {
			return err
		}
	}
	return nil
}

// hasExpiredTotals reports whether there is anything for pruneTotals to do.
func hasExpiredTotals(bucket *bbolt.Bucket, keep tokenstore.Retention) bool {
	if bucket == nil {
		return false
	}
	key, _ := bucket.Cursor().First()
	return key != nil && isDayBefore(totalKeyLength, keep.Days)(key) || len(totalsWithHours(bucket, keep.Hours)) > 0
}

// keyedDay is a day's totals and their key.
type keyedDay struct {
	key []byte
	day tokenstore.DayUsage
}

// totalsWithHours returns the totals of days before the given day that still have hours.
func totalsWithHours(bucket *bbolt.Bucket, before tokenstore.Day) (found []keyedDay) {
	cursor, old := bucket.Cursor(), isDayBefore(totalKeyLength, before)
	for key, record := cursor.First(); key != nil && old(key); key, record = cursor.Next() {
		if len(key) < totalKeyLength {
			continue
		}
		day, err := tokenstore.DecodeDay(key, keyDay(key), record)
		if err == nil && !day.Whole { // Check reports damaged records
			found = append(found, keyedDay{bytes.Clone(key), day})
		}
	}
	return found
}
