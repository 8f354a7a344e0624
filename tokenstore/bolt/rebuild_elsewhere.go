package bolt

import (
	"bytes"
	"errors"
	"slices"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// sums reports whether the new file is a store with the sum of a replica's usage.
func (r *rebuilder) sums() bool {
	return r.format == storeFormat && formatOf(r.source.File()) == replicaFormat
}

// elsewhere copies the usage of other nodes, or adds it to this node's usage.
func (r *rebuilder) elsewhere() error {
	var readErr error
	keep := r.copyElsewhere
	switch {
	case r.sums():
		keep = r.addElsewhere
	case r.format != replicaFormat:
		return nil
	}
	for _, part := range elsewhereBuckets {
		if _, salvaged := r.salvaged[string(part.name)]; salvaged {
			r.lose(part.name, "the usage of other nodes, which is copied again from the shared store")
			continue
		}
		lost := 0
		for key, record := range r.entries(part.name, &readErr) {
			kept, err := false, error(nil)
			if isElsewhereKey(key, part.prefix) {
				kept, err = keep(part.name, key, record)
			}
			if err != nil {
				return err
			}
			if !kept {
				lost++
			}
		}
		if lost > 0 { // there can be millions
			r.lose(part.name, "records of other nodes' usage, %d in total", lost)
		}
	}
	return readErr
}

// copyElsewhere copies a valid record of an existing token.
func (r *rebuilder) copyElsewhere(name, key, record []byte) (kept bool, err error) {
	if !validElsewhere(name, key, record) {
		return false, nil
	}
	for _, needed := range neededFor(name, key) {
		found, err := r.sink.get(needed.bucket, needed.key)
		if err != nil || found == nil {
			return false, err
		}
	}
	return true, r.sink.put(name, key, record)
}

// validElsewhere reports whether a record with a valid key is valid.
func validElsewhere(name, key, record []byte) bool {
	var err error
	if bytes.Equal(name, elsewhereBucket) {
		_, err = tokenstore.DecodeUsage(token.ID(key[:len(token.ID{})]), record)
	} else {
		_, err = tokenstore.DecodeDay(key, keyDay(key), record)
	}
	return err == nil
}

// neededFor returns the entries without which a record of another node's usage is useless. Its
// days couldn't be found without the usage record.
func neededFor(name, key []byte) []indexEntry {
	switch {
	case bytes.Equal(name, elsewhereBucket):
		return []indexEntry{{tokensBucket, key[:len(token.ID{})]}}
	case bytes.Equal(name, daysElsewhereBucket):
		return []indexEntry{{elsewhereBucket, key[totalKeyLength:]}}
	}
	return nil
}

// addElsewhere adds a record to the usage in the new file.
func (r *rebuilder) addElsewhere(name, key, record []byte) (kept bool, err error) {
	if !validElsewhere(name, key, record) {
		return false, nil
	}
	tx, err := r.sink.transaction()
	if err != nil {
		return false, err
	}
	if bytes.Equal(name, elsewhereBucket) {
		id := token.ID(key[:len(token.ID{})])
		used, _ := tokenstore.DecodeUsage(id, record)
		return true, addUsage(tx, id, used, make(totals))
	}
	day, _ := tokenstore.DecodeDay(key, keyDay(key), record)
	if bytes.Equal(name, totalsElsewhereBucket) {
		return true, addTotals(tx, totals{day.Day: &day})
	}
	id := token.ID(key[totalKeyLength:dayKeyLength])
	return true, addUsage(tx, id, tokenstore.Usage{Days: []tokenstore.DayUsage{day}}, make(totals))
}

// note copies a replica's note, and marks the replica as incomplete if it may lack records.
func (r *rebuilder) note() error {
	if r.format != replicaFormat {
		return nil
	}
	var readErr error
	incomplete, found := false, false
	for key, record := range r.entries(noteBucket, &readErr) {
		switch {
		case bytes.Equal(key, incompleteKey):
			incomplete = true
		case validNote(key, record):
			found = true
			if err := r.sink.put(noteBucket, key, record); err != nil {
				return err
			}
		default:
			r.lose(noteBucket, "the replica's note")
		}
	}
	if _, salvaged := r.salvaged[string(noteBucket)]; salvaged && !found && r.mayHaveNote() {
		r.lose(noteBucket, "the replica's note")
	}
	if incomplete || r.damaged || len(r.lost.Records) > 0 {
		readErr = errors.Join(readErr, r.sink.put(noteBucket, incompleteKey, nil))
	}
	return readErr
}

// mayHaveNote reports whether the damaged source may have had a note. A replica has none until it
// follows for the first time.
func (r *rebuilder) mayHaveNote() bool {
	file := r.source.File()
	isNote := func(name []byte) bool { return bytes.Equal(name, noteBucket) }
	return file.Err() != nil || file.HasBucket(noteBucket) ||
		slices.ContainsFunc(r.format.missingBuckets(file), isNote)
}
