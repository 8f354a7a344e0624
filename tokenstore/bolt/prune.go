package bolt

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// pruneLimit is the maximum number of entries to prune from a bucket in one transaction.
const pruneLimit = 1000

// Prune implements tokenstore.Backend.
func (b *Backend) Prune(keep tokenstore.Retention) (more bool, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		more = hasExpired(tx, keep)
		return nil
	})
	if err != nil || !more {
		return false, err
	}
	err = b.update(func(tx *bbolt.Tx) error {
		err := prune(tx, auditBucket, isBefore(keep.Audit), nil)
		if err == nil {
			err = prune(tx, requestedBucket, isBefore(keep.Requests), func(key []byte) error {
				return tx.Bucket(requestsBucket).Delete(key[orderTimeLength:])
			})
		}
		if err == nil {
			err = prune(tx, daysBucket, isDayBefore(dayKeyLength, keep.Days), nil)
		}
		if err == nil {
			err = addUpHours(tx, keep.Hours)
		}
		if err == nil {
			err = pruneTotals(tx, keep)
		}
		more = hasExpired(tx, keep)
		return err
	})
	return more, err
}

// hasExpired reports whether there is anything to prune.
func hasExpired(tx *bbolt.Tx, keep tokenstore.Retention) bool {
	for _, part := range []struct {
		bucket  []byte
		expired func(key []byte) bool
	}{
		{auditBucket, isBefore(keep.Audit)}, {requestedBucket, isBefore(keep.Requests)},
		{daysBucket, isDayBefore(dayKeyLength, keep.Days)},
	} {
		if key, _ := tx.Bucket(part.bucket).Cursor().First(); key != nil && part.expired(key) {
			return true
		}
	}
	key := firstWithHours(tx)
	return key != nil && isDayBefore(dayKeyLength, keep.Hours)(key) || hasExpiredTotals(tx, keep)
}

// isBefore returns a function that reports whether the time at the start of a key is before t.
// For keys that are too short, the function returns true.
func isBefore(t time.Time) func(key []byte) bool {
	return func(key []byte) bool { return len(key) < orderTimeLength || keyTime(key).Before(t) }
}

// isDayBefore returns a function that reports whether the day at the start of a key is before
// the given day. For keys that don't have the given length, the function returns true.
func isDayBefore(length int, day tokenstore.Day) func(key []byte) bool {
	return func(key []byte) bool { return len(key) != length || keyDay(key) < day }
}

// prune deletes a bucket's oldest entries while expired returns true, up to pruneLimit
// entries. If onDelete is not nil, prune calls it with each deleted key.
func prune(tx *bbolt.Tx, name []byte, expired func(key []byte) bool, onDelete func(key []byte) error) error {
	bucket := tx.Bucket(name)
	var keys [][]byte // deleted later, because deleting would disturb the cursor
	cursor := bucket.Cursor()
	for key, _ := cursor.First(); key != nil && len(keys) < pruneLimit && expired(key); key, _ = cursor.Next() {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if onDelete != nil && len(key) >= orderTimeLength {
			if err := onDelete(key); err != nil {
				return err
			}
		}
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// firstWithHours returns the key of the first day record that may still have hours, or nil.
func firstWithHours(tx *bbolt.Tx) []byte {
	key, _ := seekAfter(tx.Bucket(daysBucket).Cursor(), tx.Bucket(metaBucket).Get(wholeKey))
	return key
}

// seekAfter moves the cursor to the first entry whose key is greater than after, and returns
// it.
func seekAfter(cursor *bbolt.Cursor, after []byte) (key, value []byte) {
	key, value = cursor.Seek(after)
	if key != nil && bytes.Equal(key, after) {
		return cursor.Next()
	}
	return key, value
}

// addUpHours adds up the hours in day records from before the given day, up to pruneLimit
// records per call.
func addUpHours(tx *bbolt.Tx, before tokenstore.Day) error {
	days := tx.Bucket(daysBucket)
	var keys, records [][]byte
	cursor := days.Cursor()
	for key, record := seekAfter(cursor, tx.Bucket(metaBucket).Get(wholeKey)); key != nil && len(keys) < pruneLimit &&
		isDayBefore(dayKeyLength, before)(key); key, record = cursor.Next() {
		keys, records = append(keys, bytes.Clone(key)), append(records, record)
	}
	if len(keys) == 0 {
		return nil
	}
	for i, key := range keys {
		if len(key) != dayKeyLength {
			continue
		}
		day, err := tokenstore.DecodeDay(key, keyDay(key), records[i])
		if err != nil || day.Whole {
			continue // Check reports damaged records
		}
		if err := days.Put(key, tokenstore.EncodeDay(key, day.AsWhole())); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(wholeKey, keys[len(keys)-1])
}
