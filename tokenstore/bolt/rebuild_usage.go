package bolt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// usage copies the usage records of existing tokens.
func (r *rebuilder) usage() error {
	return r.copyRecords(usageBucket, len(token.ID{}), func(key, value, before []byte) (bool, string) {
		used, err := tokenstore.DecodeUsage(token.ID(key), value)
		if err != nil {
			return false, fmt.Sprintf("the usage of token %s", key)
		}
		r.seen(used.Last.Time)
		copied, _ := tokenstore.DecodeUsage(token.ID(key), before)
		return used.Allowed+used.Denied >= copied.Allowed+copied.Denied, ""
	})
}

func (r *rebuilder) days() error {
	return r.copyRecords(daysBucket, dayKeyLength, func(key, value, before []byte) (bool, string) {
		day, err := tokenstore.DecodeDay(key, keyDay(key), value)
		if err != nil {
			return false, fmt.Sprintf("the usage of token %s on %s", key[dayKeyLength-len(token.ID{}):],
				keyDay(key).Start().Format(time.DateOnly))
		}
		copied, _ := tokenstore.DecodeDay(key, keyDay(key), before)
		return dayTotal(day) >= dayTotal(copied), ""
	})
}

// restoreUsage recreates lost usage records from day records: the totals are the sums over all
// days, and the newest day becomes part of the usage record. Deleting a token without a usage
// record would leave its day records behind.
func (r *rebuilder) restoreUsage() error {
	if r.source.Sound() {
		return nil
	}
	days, err := r.sink.bucket(daysBucket)
	if err != nil {
		return err
	}
	restored := make(map[token.ID]tokenstore.Usage)
	err = days.ForEach(func(key, record []byte) error {
		id := token.ID(key[dayKeyLength-len(token.ID{}):])
		saved, err := r.sink.get(usageBucket, id[:])
		if err != nil || saved != nil {
			return err
		}
		day, err := tokenstore.DecodeDay(key, keyDay(key), record)
		if err != nil {
			return err
		}
		usage := restored[id]
		for _, p := range day.Points {
			if p.Outcome == tokenstore.OutcomeOK {
				usage.Allowed += p.Count
			} else {
				usage.Denied += p.Count
			}
		}
		usage.Days = []tokenstore.DayUsage{day} // ForEach reaches the newest day last
		restored[id] = usage
		return nil
	})
	for id, usage := range restored {
		if newest := usage.Days[0]; newest.Whole { // a usage record can't hold a day without hours
			usage.Days = nil
		} else {
			err = errors.Join(err, r.sink.delete(daysBucket, dayKey(newest.Day, id)))
		}
		err = errors.Join(err, r.sink.put(usageBucket, id[:], tokenstore.EncodeUsage(id, usage)))
	}
	return err
}

// refusals copies the refusals of existing tokens. If a token has two records, refusals copies
// the one with the newest refusal.
func (r *rebuilder) refusals() error {
	newest := func(refusals []tokenstore.Refusal) (t time.Time) {
		if len(refusals) > 0 {
			t = refusals[len(refusals)-1].Time
		}
		return t
	}
	return r.copyRecords(refusalsBucket, len(token.ID{}), func(key, value, before []byte) (bool, string) {
		refusals, err := tokenstore.DecodeRefusals(token.ID(key), value)
		if err != nil {
			return false, fmt.Sprintf("the refused requests of token %s", key)
		}
		r.seen(newest(refusals))
		copied, _ := tokenstore.DecodeRefusals(token.ID(key), before)
		return !newest(refusals).Before(newest(copied)), ""
	})
}

// totals copies the total usage of each day. It recreates lost totals from the usage of the
// existing tokens.
func (r *rebuilder) totals() error {
	found := make(totals)
	complete := r.source.Sound() && r.source.File().HasBucket(totalsBucket)
	var readErr error
	for key, value := range r.entries(totalsBucket, &readErr) {
		if len(key) != totalKeyLength {
			r.lose(totalsBucket, "an entry with a damaged key")
			complete = false
			continue
		}
		day, err := tokenstore.DecodeDay(key, keyDay(key), value)
		if err != nil {
			r.lose(totalsBucket, "the total usage on %s", keyDay(key).Start().Format(time.DateOnly))
			complete = false
		} else if found[day.Day] == nil || dayTotal(day) >= dayTotal(*found[day.Day]) {
			found[day.Day] = &day
		}
	}
	if !complete {
		if err := r.sink.commit(); err != nil {
			return err
		}
		var sums totals
		err := r.sink.db.View(func(tx *bbolt.Tx) (err error) {
			sums, err = sumUsage(tx.Bucket(tokensBucket), tx.Bucket(usageBucket), tx.Bucket(daysBucket))
			return err
		})
		if err != nil {
			return err
		}
		for day, sum := range sums {
			if found[day] == nil || dayTotal(*sum) > dayTotal(*found[day]) {
				found[day] = sum
			}
		}
	}
	for _, day := range slices.Sorted(maps.Keys(found)) {
		key := totalKey(day)
		readErr = errors.Join(readErr, r.sink.put(totalsBucket, key, tokenstore.EncodeDay(key, *found[day])))
	}
	return readErr
}

func dayTotal(day tokenstore.DayUsage) (n uint64) {
	for _, p := range day.Points {
		n += p.Count
	}
	return n
}

// copyRecords copies a bucket's records, whose keys must have the given length and end with a
// token's ID. better reports whether a record replaces the previous one, which either has the
// same key or is nil. If the record is damaged, better describes the loss.
func (r *rebuilder) copyRecords(bucket []byte, length int,
	better func(key, value, before []byte) (bool, string)) error {
	var readErr error
	for key, value := range r.entries(bucket, &readErr) {
		if len(key) != length {
			r.lose(bucket, "an entry with a damaged key")
			continue
		}
		id := key[length-len(token.ID{}):]
		record, err := r.sink.get(tokensBucket, id)
		if err != nil {
			return err
		}
		if record == nil {
			r.lose(bucket, "an entry for a token that does not exist, %s", printableID(id))
			continue
		}
		before, err := r.sink.get(bucket, key)
		if err != nil {
			return err
		}
		replace, lost := better(key, value, before)
		if lost != "" {
			r.lose(bucket, "%s", lost)
		}
		if replace {
			if err := r.sink.put(bucket, key, value); err != nil {
				return err
			}
		}
	}
	return readErr
}

// printableID returns an ID as a string, or a description if the ID is damaged.
func printableID(id []byte) string {
	if _, err := token.ParseID(string(id)); err != nil {
		return "with a damaged ID"
	}
	return string(id)
}
