package bolt

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// pruneLimit is how many entries of a bucket one transaction removes at most.
const pruneLimit = 1000

// Prune implements tokenstore.Backend.
func (b *Backend) Prune(keep tokenstore.Retention) (more bool, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		more = isOld(tx, keep)
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
			err = prune(tx, daysBucket, isDayBefore(keep.Days), nil)
		}
		if err == nil {
			err = addHours(tx, keep.Hours)
		}
		more = isOld(tx, keep)
		return err
	})
	return more, err
}

// isOld says whether there is something to prune.
func isOld(tx *bbolt.Tx, keep tokenstore.Retention) bool {
	for _, part := range []struct {
		bucket []byte
		old    func(key []byte) bool
	}{
		{auditBucket, isBefore(keep.Audit)}, {requestedBucket, isBefore(keep.Requests)},
		{daysBucket, isDayBefore(keep.Days)},
	} {
		if key, _ := tx.Bucket(part.bucket).Cursor().First(); key != nil && part.old(key) {
			return true
		}
	}
	key := firstWithHours(tx)
	return key != nil && isDayBefore(keep.Hours)(key)
}

// isBefore is about keys that begin with a time. A key that is too short is old.
func isBefore(t time.Time) func(key []byte) bool {
	return func(key []byte) bool { return len(key) < orderTimeLength || keyTime(key).Before(t) }
}

func isDayBefore(day tokenstore.Day) func(key []byte) bool {
	return func(key []byte) bool { return len(key) != dayKeyLength || keyDay(key) < day }
}

// prune removes the oldest entries of a bucket. also, unless it is nil, is called
// with the key of each.
func prune(tx *bbolt.Tx, name []byte, old func(key []byte) bool, also func(key []byte) error) error {
	bucket := tx.Bucket(name)
	var keys [][]byte // which are changed only when the cursor is done
	cursor := bucket.Cursor()
	for key, _ := cursor.First(); key != nil && len(keys) < pruneLimit && old(key); key, _ = cursor.Next() {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if also != nil && len(key) >= orderTimeLength {
			if err := also(key); err != nil {
				return err
			}
		}
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// firstWithHours returns the key of the first day that may have its hours, or nil.
func firstWithHours(tx *bbolt.Tx) []byte {
	key, _ := behindKey(tx.Bucket(daysBucket).Cursor(), tx.Bucket(metaBucket).Get(wholeKey))
	return key
}

// behindKey returns the first entry whose key comes after the given one.
func behindKey(cursor *bbolt.Cursor, after []byte) (key, value []byte) {
	key, value = cursor.Seek(after)
	if key != nil && bytes.Equal(key, after) {
		return cursor.Next()
	}
	return key, value
}

// addHours makes whole days of those before the given one.
func addHours(tx *bbolt.Tx, before tokenstore.Day) error {
	days := tx.Bucket(daysBucket)
	var keys, records [][]byte
	cursor := days.Cursor()
	for key, record := behindKey(cursor, tx.Bucket(metaBucket).Get(wholeKey)); key != nil && len(keys) < pruneLimit &&
		isDayBefore(before)(key); key, record = cursor.Next() {
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
			continue // check finds damaged ones
		}
		if err := days.Put(key, tokenstore.EncodeDay(key, day.AsWhole())); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(wholeKey, keys[len(keys)-1])
}
