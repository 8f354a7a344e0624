package bolt

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// recordBuckets lists the buckets whose entries are copied. Each function reports whether an
// entry is valid for its bucket.
var recordBuckets = map[string]func(key, value []byte) bool{
	string(tokensBucket): func(key, value []byte) bool {
		if len(key) != len(token.ID{}) {
			return false
		}
		_, err := token.DecodeToken(token.ID(key), value)
		return err == nil || bytes.Equal(value, lostRecord)
	},
	string(digestsBucket): func(key, value []byte) bool {
		id, err := entryID(value)
		if err == nil {
			_, err = token.ParseID(id.String()) // records from other buckets may have the same length
		}
		return err == nil && len(key) == len(token.Digest{})
	},
	string(usageBucket): func(key, value []byte) bool {
		if len(key) != len(token.ID{}) {
			return false
		}
		_, err := tokenstore.DecodeUsage(token.ID(key), value)
		return err == nil
	},
	string(daysBucket): func(key, value []byte) bool {
		if len(key) != dayKeyLength {
			return false
		}
		_, err := tokenstore.DecodeDay(key, keyDay(key), value)
		return err == nil
	},
	string(totalsBucket): func(key, value []byte) bool {
		if len(key) != totalKeyLength {
			return false
		}
		_, err := tokenstore.DecodeDay(key, keyDay(key), value)
		return err == nil
	},
	string(refusalsBucket): func(key, value []byte) bool {
		if len(key) != len(token.ID{}) {
			return false
		}
		_, err := tokenstore.DecodeRefusals(token.ID(key), value)
		return err == nil
	},
	string(auditBucket): func(key, value []byte) bool {
		_, err := tokenstore.DecodeAuditEntry(key, value)
		return err == nil && len(key) == auditKeyLength
	},
	string(requestsBucket): func(key, value []byte) bool {
		if len(key) != len(token.Digest{}) {
			return false
		}
		_, err := tokenstore.DecodeRequest(token.Digest(key), value)
		return err == nil
	},
	string(endedBucket): func(key, value []byte) bool {
		if len(key) != len(token.Digest{}) {
			return false
		}
		_, err := tokenstore.DecodeEnded(token.Digest(key), value)
		return err == nil
	},
	// A rebuilt replica gets the usage of other nodes from the shared store again.
	string(elsewhereBucket):       notSalvaged,
	string(daysElsewhereBucket):   notSalvaged,
	string(totalsElsewhereBucket): notSalvaged,
	string(noteBucket):            validNote,
	string(metaBucket): func(key, _ []byte) bool {
		return slices.ContainsFunc(metaKeys, func(known []byte) bool { return bytes.Equal(key, known) })
	},
	string(flushBucket): func(key, _ []byte) bool { return bytes.Equal(key, stateKey) },
}

func notSalvaged([]byte, []byte) bool { return false }

// salvagedFormat returns a file's format. If its root can't tell, salvagedFormat looks for
// records that only a replica has.
func salvagedFormat(source *boltfile.Structure) format {
	if f := formatOf(source.File()); f != unknownFormat {
		return f
	}
	for key, value := range source.Salvage() {
		if validNote(key, value) {
			return replicaFormat
		}
		for _, part := range elsewhereBuckets {
			if part.prefix == totalKeyLength && len(key) == dayKeyLength {
				continue // it may be a token's day in a store
			}
			if isElsewhereKey(key, part.prefix) && validElsewhere(part.name, key, value) {
				return replicaFormat
			}
		}
	}
	return storeFormat
}

// salvage finds the records of unsound buckets.
func (r *rebuilder) salvage() {
	r.salvaged = make(map[string][]entry)
	for _, name := range r.format.missingBuckets(r.source.File()) {
		r.salvaged[string(name)] = nil
	}
	for name := range recordBuckets {
		if !r.source.Sound() && !r.source.BucketSound(name) {
			r.salvaged[name] = nil
		}
	}
	if len(r.salvaged) == 0 {
		return
	}
	for key, value := range r.source.Salvage() {
		for name := range r.salvaged {
			if valid := recordBuckets[name]; valid != nil && valid(key, value) {
				r.salvaged[name] = append(r.salvaged[name], entry{bytes.Clone(key), bytes.Clone(value)})
			}
		}
		// A damaged token or usage record still shows that the token existed.
		if tokens, ok := r.salvaged[string(tokensBucket)]; ok && isID(key) &&
			!recordBuckets[string(usageBucket)](key, value) && !recordBuckets[string(tokensBucket)](key, value) &&
			!recordBuckets[string(refusalsBucket)](key, value) {
			r.salvaged[string(tokensBucket)] = append(tokens, entry{bytes.Clone(key), lostRecord})
		}
	}
	for name := range r.salvaged {
		slices.SortStableFunc(r.salvaged[name], func(a, b entry) int {
			return cmp.Or(bytes.Compare(a.key, b.key), bytes.Compare(a.value, b.value))
		})
	}
}

// entries yields a bucket's entries in key order. If it can't yield all of them, it sets *err.
func (r *rebuilder) entries(bucket []byte, err *error) iter.Seq2[[]byte, []byte] {
	salvaged, ok := r.salvaged[string(bucket)]
	if !ok {
		return r.source.Entries(string(bucket), err)
	}
	return func(yield func(key, value []byte) bool) {
		for _, e := range salvaged {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}
