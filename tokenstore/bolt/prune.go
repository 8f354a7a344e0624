package bolt

import (
	"bytes"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// pruneLimit is the maximum number of entries to prune from a bucket in one transaction.
const pruneLimit = 1000

// Prune implements tokenstore.Backend.
func (b *Backend) Prune(keep tokenstore.Retention) (more bool, err error) {
	return b.prune([]pruning{
		expiredEntries(auditBucket, isBefore(keep.Audit), nil),
		expiredEntries(requestedBucket, isBefore(keep.Requests), func(tx *bbolt.Tx, key []byte) error {
			return tx.Bucket(requestsBucket).Delete(key[orderTimeLength:])
		}),
		expiredEntries(daysBucket, isDayBefore(dayKeyLength, keep.Days), nil),
		expiredHours(daysBucket, wholeKey, keep.Hours),
		expiredTotals(totalsBucket, keep),
	})
}

// pruning prunes one kind of record.
type pruning struct {
	// has reports whether there is anything to prune.
	has func(tx *bbolt.Tx) bool
	run func(tx *bbolt.Tx) error
}

// prune runs the given prunings, and reports whether more remains to be pruned.
func (b *Backend) prune(parts []pruning) (more bool, err error) {
	has := func(tx *bbolt.Tx) bool {
		return slices.ContainsFunc(parts, func(part pruning) bool { return part.has(tx) })
	}
	err = b.view(func(tx *bbolt.Tx) error {
		more = has(tx)
		return nil
	})
	if err != nil || !more {
		return false, err
	}
	err = b.update(func(tx *bbolt.Tx) error {
		for _, part := range parts {
			if err := part.run(tx); err != nil {
				return err
			}
		}
		more = has(tx)
		return nil
	})
	return more, err
}

// expiredEntries prunes a bucket with the function prune.
func expiredEntries(name []byte, expired func(key []byte) bool, onDelete func(tx *bbolt.Tx, key []byte) error) pruning {
	return pruning{
		has: func(tx *bbolt.Tx) bool {
			key, _ := tx.Bucket(name).Cursor().First()
			return key != nil && expired(key)
		},
		run: func(tx *bbolt.Tx) error {
			return prune(tx, name, expired, func(key []byte) error {
				if onDelete == nil {
					return nil
				}
				return onDelete(tx, key)
			})
		},
	}
}

// isBefore returns a function that reports whether the time at the start of a key is before t.
// For keys that are too short, the function returns true.
func isBefore(t time.Time) func(key []byte) bool {
	return func(key []byte) bool { return len(key) < orderTimeLength || keyTime(key).Before(t) }
}

// isDayBefore returns a function that reports whether the day at the start of a key is before
// the given day. For keys that are shorter than length, the function returns true.
func isDayBefore(length int, day tokenstore.Day) func(key []byte) bool {
	return func(key []byte) bool { return len(key) < length || keyDay(key) < day }
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

// expiredHours adds up the hours of days before the given day. metaKey is the key in the meta
// bucket of the last day record whose hours were added up.
func expiredHours(name, metaKey []byte, before tokenstore.Day) pruning {
	return pruning{
		has: func(tx *bbolt.Tx) bool {
			key, _ := seekAfter(tx.Bucket(name).Cursor(), tx.Bucket(metaBucket).Get(metaKey))
			return key != nil && isDayBefore(dayKeyLength, before)(key)
		},
		run: func(tx *bbolt.Tx) error { return addUpHours(tx, name, metaKey, before) },
	}
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
func addUpHours(tx *bbolt.Tx, name, metaKey []byte, before tokenstore.Day) error {
	days := tx.Bucket(name)
	var keys, records [][]byte
	cursor := days.Cursor()
	for key, record := seekAfter(cursor, tx.Bucket(metaBucket).Get(metaKey)); key != nil && len(keys) < pruneLimit &&
		isDayBefore(dayKeyLength, before)(key); key, record = cursor.Next() {
		keys, records = append(keys, bytes.Clone(key)), append(records, record)
	}
	if len(keys) == 0 {
		return nil
	}
	for i, key := range keys {
		if len(key) < dayKeyLength {
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
	return tx.Bucket(metaBucket).Put(metaKey, keys[len(keys)-1])
}
