package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Usage implements tokenstore.Backend. It takes one lookup per day.
func (b *Backend) Usage(id token.ID, first, last tokenstore.Day) (usage tokenstore.Usage, state tokenstore.FlushState,
	err error) {
	err = b.viewNow(func(tx *bbolt.Tx) error {
		state = flushState(tx)
		saved, damaged := savedUsage(tx, id)
		usage = saved
		for day := first; day <= last; day++ {
			if d, ok := savedDay(tx, id, day); ok {
				usage = usage.Plus(tokenstore.Usage{Days: []tokenstore.DayUsage{d}})
			}
		}
		return damaged
	})
	return usage, state, err
}

func savedUsage(tx *bbolt.Tx, id token.ID) (tokenstore.Usage, error) {
	record := tx.Bucket(usageBucket).Get(id[:])
	if record == nil {
		return tokenstore.Usage{}, nil
	}
	return tokenstore.DecodeUsage(id, record)
}

// SaveUsage implements tokenstore.Backend.
func (b *Backend) SaveUsage(now time.Time, state tokenstore.FlushState,
	usages iter.Seq2[token.ID, tokenstore.Usage]) error {
	return b.update(func(tx *bbolt.Tx) error {
		added := make(totals)
		for id, usage := range usages {
			if err := addUsage(tx, id, usage, added); err != nil {
				return err
			}
		}
		return errors.Join(addTotals(tx, added), putFlushState(tx, state), recordTime(tx, now))
	})
}

// addUsage adds to a token's usage and refusals and to sums, if the token exists.
func addUsage(tx *bbolt.Tx, id token.ID, added tokenstore.Usage, sums totals) error {
	record := tx.Bucket(tokensBucket).Get(id[:])
	if record == nil {
		return nil
	}
	for _, day := range added.Days {
		sums.add(id, record, day)
	}
	saved, _ := savedUsage(tx, id) // zero if it can't be read
	usage := saved.Plus(added)
	past := usage.Days[:max(0, len(usage.Days)-1)]
	if n := len(usage.Days); n > 0 && usage.Days[n-1].Whole {
		past, usage.Days = usage.Days, nil // a usage record can't hold a day without hours
	}
	for _, day := range past {
		if err := addDay(tx, id, day); err != nil {
			return err
		}
	}
	return errors.Join(addRefusals(tx, id, added.Refusals),
		tx.Bucket(usageBucket).Put(id[:], tokenstore.EncodeUsage(id, usage)))
}

// A day record's key consists of the day and the token's ID. Records that are written or
// deleted at the same time are therefore adjacent.
const dayKeyLength = 4 + len(token.ID{})

// dayKey returns the key of a day record. Keys sort by day, including days before 1970.
func dayKey(day tokenstore.Day, id token.ID) []byte {
	key := binary.BigEndian.AppendUint32(make([]byte, 0, dayKeyLength), uint32(day)^1<<31)
	return append(key, id[:]...)
}

func keyDay(key []byte) tokenstore.Day {
	return tokenstore.Day(binary.BigEndian.Uint32(key) ^ 1<<31)
}

// addDay adds to a past day's record.
func addDay(tx *bbolt.Tx, id token.ID, day tokenstore.DayUsage) error {
	if saved, ok := savedDay(tx, id, day.Day); ok { // a damaged record is replaced
		day = saved.Plus(day)
	}
	key := dayKey(day.Day, id)
	return tx.Bucket(daysBucket).Put(key, tokenstore.EncodeDay(key, day))
}

// savedDay returns a past day's record, unless it is missing or damaged.
func savedDay(tx *bbolt.Tx, id token.ID, day tokenstore.Day) (tokenstore.DayUsage, bool) {
	key := dayKey(day, id)
	record := tx.Bucket(daysBucket).Get(key)
	if record == nil {
		return tokenstore.DayUsage{}, false
	}
	saved, err := tokenstore.DecodeDay(key, day, record)
	return saved, err == nil
}

// removeUsage deletes all of a token's usage.
func removeUsage(tx *bbolt.Tx, id token.ID) error {
	if tx.Bucket(usageBucket).Get(id[:]) != nil {
		if err := removeDays(tx.Bucket(daysBucket), id); err != nil {
			return err
		}
	}
	if refusals := tx.Bucket(refusalsBucket); refusals != nil {
		if err := refusals.Delete(id[:]); err != nil {
			return err
		}
	}
	return tx.Bucket(usageBucket).Delete(id[:])
}

// removeDays deletes a token's day records. It takes two lookups per day that has records.
func removeDays(days *bbolt.Bucket, id token.ID) error {
	var keys [][]byte
	cursor := days.Cursor()
	for key, _ := cursor.First(); len(key) >= dayKeyLength; {
		day := keyDay(key)
		prefix := dayKey(day, id)
		for key, _ = cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
			keys = append(keys, bytes.Clone(key))
		}
		key, _ = cursor.Seek(dayKey(day+1, token.ID{}))
	}
	return deleteKeys(days, keys)
}

func deleteKeys(bucket *bbolt.Bucket, keys [][]byte) error {
	for _, key := range keys {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
