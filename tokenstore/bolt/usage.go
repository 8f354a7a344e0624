package bolt

import (
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// Usage implements tokenstore.Backend.
func (b *Backend) Usage(id tokenstore.ID) (usage tokenstore.UsageOf, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		usage, err = savedUsage(tx, id)
		return err
	})
	if err == nil {
		usage = b.counters.withLeftover(usage)
	}
	return usage, err
}

func savedUsage(tx *bbolt.Tx, id tokenstore.ID) (tokenstore.UsageOf, error) {
	record := tx.Bucket(usageBucket).Get(id[:])
	if record == nil {
		return tokenstore.UsageOf{ID: id}, nil
	}
	return tokenstore.DecodeUsage(id, record)
}

// SaveUsage implements tokenstore.Backend.
func (b *Backend) SaveUsage(now time.Time, totals []tokenstore.UsageOf) error {
	return b.update(func(tx *bbolt.Tx) error {
		for _, total := range totals {
			if b.counters.unread.Load() && has(tx.Bucket(tokensBucket), total.ID[:]) {
				if err := keepTotals(tx, total.ID); err != nil {
					return err
				}
			}
			if err := saveUsage(tx, total); err != nil {
				return err
			}
		}
		return record(tx, now)
	})
}

func saveUsage(tx *bbolt.Tx, total tokenstore.UsageOf) error {
	if tx.Bucket(tokensBucket).Get(total.ID[:]) == nil {
		return nil
	}
	if total.OnlyTotals {
		stored, err := savedUsage(tx, total.ID)
		if err != nil { // a damaged record, which begins anew, without a history
			stored = tokenstore.UsageOf{ID: total.ID, Usage: total.Usage}
		}
		total = total.After(stored)
	}
	for i := range len(total.Days) - 1 {
		if err := saveDay(tx, total.ID, total.Days[i]); err != nil {
			return err
		}
	}
	return tx.Bucket(usageBucket).Put(total.ID[:], tokenstore.EncodeUsage(total))
}

// A day's key is the day and the token's id, so that days are removed in the order
// in which they end, and what is written at one time lies together.
const dayKeyLength = 4 + len(tokenstore.ID{})

// dayKey keeps the order of days, also of those before 1970.
func dayKey(day tokenstore.Day, id tokenstore.ID) []byte {
	key := binary.BigEndian.AppendUint32(make([]byte, 0, dayKeyLength), uint32(day)^1<<31)
	return append(key, id[:]...)
}

func keyDay(key []byte) tokenstore.Day {
	return tokenstore.Day(binary.BigEndian.Uint32(key) ^ 1<<31)
}

// saveDay keeps a day that is over.
func saveDay(tx *bbolt.Tx, id tokenstore.ID, day tokenstore.DayUsage) error {
	if saved, ok := savedDay(tx, id, day.Day); ok { // a damaged one is replaced
		day = day.Larger(saved)
	}
	key := dayKey(day.Day, id)
	return tx.Bucket(daysBucket).Put(key, tokenstore.EncodeDay(key, day))
}

// savedDay returns a day that is over, unless it is missing or damaged.
func savedDay(tx *bbolt.Tx, id tokenstore.ID, day tokenstore.Day) (tokenstore.DayUsage, bool) {
	key := dayKey(day, id)
	record := tx.Bucket(daysBucket).Get(key)
	if record == nil {
		return tokenstore.DayUsage{}, false
	}
	saved, err := tokenstore.DecodeDay(key, day, record)
	return saved, err == nil
}

// Days implements tokenstore.Backend. It takes one look-up a day.
func (b *Backend) Days(id tokenstore.ID, first, last tokenstore.Day, yield func(tokenstore.DayUsage) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(daysBucket)
		for day := first; day <= last; day++ {
			key := dayKey(day, id)
			record := bucket.Get(key)
			if record == nil {
				continue
			}
			if saved, err := tokenstore.DecodeDay(key, day, record); err == nil && !yield(saved) {
				return nil
			}
		}
		return nil
	})
}

// removeUsage forgets all of a token's usage.
func removeUsage(tx *bbolt.Tx, id tokenstore.ID) error {
	used, err := savedUsage(tx, id)
	if err != nil || len(used.Days) > 0 {
		if err := removeDays(tx.Bucket(daysBucket), id); err != nil {
			return err
		}
	}
	if unread := tx.Bucket(unreadBucket); unread != nil {
		if err := unread.Delete(id[:]); err != nil {
			return err
		}
	}
	return tx.Bucket(usageBucket).Delete(id[:])
}

// removeDays takes a look-up for each day that is kept.
func removeDays(days *bbolt.Bucket, id tokenstore.ID) error {
	first, _ := days.Cursor().First()
	last, _ := days.Cursor().Last()
	if len(first) != dayKeyLength || len(last) != dayKeyLength {
		return nil
	}
	for day := keyDay(first); day <= keyDay(last); day++ {
		if err := days.Delete(dayKey(day, id)); err != nil {
			return err
		}
	}
	return nil
}
