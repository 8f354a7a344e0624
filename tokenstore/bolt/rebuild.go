package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// Losses lists the records that a rebuild could not copy.
type Losses struct {
	// Tokens lists the tokens that are damaged in the new file. Requests that use their
	// secrets are refused. The tokens can still be deleted.
	Tokens []token.ID
	// Records describes the lost records in each bucket.
	Records []tokenstore.Loss
}

// A rebuilder copies the records of a damaged file. It reads sound buckets in key order. For
// unsound buckets, it sorts the records found in pages that aren't free (see
// [boltfile.Structure.Salvage]). After a lost write, a page still has its earlier content, so
// a valid record may be outdated. The rebuilder therefore copies a token only if an entry in
// the digests bucket contains the record's checksum. If a token has two usage records, the
// rebuilder copies the one with the larger count.
//
// It recreates the sort orders and the digest entries from the tokens.
type rebuilder struct {
	source *boltfile.Structure
	// format is the new file's format.
	format format
	// damaged is set unless the source is believed to be sound.
	damaged bool
	// salvaged holds the records from unsound buckets, by bucket and sorted by key.
	salvaged map[string][]entry
	sink     sink
	lost     Losses

	created, expires []orderEntry
	digests          []secretEntry
	// endedSecrets contains the secrets that were taken out of service.
	endedSecrets map[token.Digest]bool
	newest       time.Time // latest time in the copied records
}

// entry is a key and its value.
type entry struct{ key, value []byte }

type orderEntry [orderKeyLength]byte

// secretEntry is an entry in the digests bucket, with its key.
type secretEntry struct {
	digest token.Digest
	entry  [entryLength]byte
}

var errNothingFound = errors.New("no token store data was found in the file; restore a backup")

// rebuild copies source's valid records into a new file of the given format at path, which must
// be an empty file. damaged states whether the reason for the rebuild is damage.
//
// If source is a replica and the new file is a store, each token's usage is the sum of all nodes'
// usage.
//
// A new replica is marked as incomplete if source was, if damaged is set or if records were lost.
func rebuild(source *boltfile.Structure, path string, f format, damaged bool) (lost Losses, err error) {
	options := boltOptions()
	options.NoSync, options.NoGrowSync = true, true // synced once at the end
	db, err := bbolt.Open(path, fileMode, options)
	if err != nil {
		return Losses{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(f.createSchema); err != nil {
		return Losses{}, err
	}
	r := &rebuilder{source: source, format: f, damaged: damaged, sink: sink{db: db},
		endedSecrets: make(map[token.Digest]bool)}
	r.salvage()
	for _, part := range []func() error{r.readEnded, r.tokens, r.orders, r.usage, r.days, r.restoreUsage, r.refusals,
		r.totals, r.audit, r.requests, r.ended, r.elsewhere, r.note, r.meta, r.sink.commit} {
		if err := part(); err != nil {
			r.sink.rollback()
			return Losses{}, err
		}
	}
	return r.lost, db.Sync()
}

// lose records a loss in r.lost.
func (r *rebuilder) lose(bucket []byte, format string, args ...any) {
	r.lost.Records = append(r.lost.Records, tokenstore.Loss{Bucket: string(bucket), What: fmt.Sprintf(format, args...)})
}

// readEnded collects the secrets that were taken out of service. A token record with one of
// these secrets is outdated, except in a sound replica: the shared store may have such a token too.
func (r *rebuilder) readEnded() (err error) {
	if r.format == replicaFormat && !r.damaged {
		return nil
	}
	for key := range r.entries(endedBucket, &err) {
		r.endedSecrets[digestOf(key)] = true
	}
	return err
}

// damagedTokens contains the tokens that will be damaged in the new file. The value is false
// for tokens that aren't lost: they were already damaged, or a store can't have them.
type damagedTokens map[token.ID]bool

func (d damagedTokens) has(id token.ID) bool {
	_, found := d[id]
	return found
}

// tokens copies each token whose record's checksum is in a digest entry. Any other token that
// has left a trace is added as a damaged token.
func (r *rebuilder) tokens() error {
	sums, outdated, err := r.digestSums()
	if err != nil {
		return err
	}
	damaged := make(damagedTokens)
	var reader tokenstore.Reader
	var best entry // among the entries with the same ID
	flush := func() error {
		if best.key == nil {
			return nil
		}
		id := token.ID(best.key)
		sum, known := sums[id]
		delete(sums, id)
		tok, err := reader.Token(id, best.value)
		current := err == nil && known && sum == tokenstore.RecordChecksum(best.value) && !outdated[id]
		switch {
		case current && !r.endedSecrets[tok.Digest]:
			return r.copyToken(tok, best.value)
		case err == nil:
			for _, d := range tok.Digests() {
				r.digests = append(r.digests, secretEntry{d, [entryLength]byte(digestEntry(id, nil))})
			}
		}
		// A replica can have a token whose secret was taken out of service, but a store can't.
		refused := current && r.sums()
		damaged[id] = !refused && !bytes.Equal(best.value, lostRecord)
		return nil
	}
	var readErr error
	for key, value := range r.entries(tokensBucket, &readErr) {
		if len(key) != len(token.ID{}) {
			r.lose(tokensBucket, "an entry with a damaged key")
			continue
		}
		if !bytes.Equal(key, best.key) {
			if err := flush(); err != nil {
				return err
			}
			best = entry{bytes.Clone(key), bytes.Clone(value)}
		} else if newer(token.ID(key), value, best.value) {
			best.value = bytes.Clone(value)
		}
	}
	if err := errors.Join(readErr, flush()); err != nil {
		return err
	}
	for id := range sums {
		damaged[id] = true
	}
	if err := r.addMissing(damaged); err != nil {
		return err
	}
	return r.putDamaged(damaged)
}

// addMissing adds the tokens whose only remaining trace is an entry in the created or usage
// bucket.
func (r *rebuilder) addMissing(damaged damagedTokens) (err error) {
	add := func(key []byte) {
		id, idErr := token.ParseID(string(key))
		if idErr != nil || damaged.has(id) {
			return
		}
		record, getErr := r.sink.get(tokensBucket, id[:])
		if err = errors.Join(err, getErr); record == nil {
			damaged[id] = true
		}
	}
	var readErr error
	if r.source.BucketSound(string(createdBucket)) {
		for key := range r.source.Entries(string(createdBucket), &readErr) {
			add(key[min(len(key), orderTimeLength):])
		}
	}
	for key := range r.entries(usageBucket, &readErr) {
		add(key)
	}
	return errors.Join(err, readErr)
}

// newer reports whether record is a valid record for the token and newer than another.
func newer(id token.ID, record, than []byte) bool {
	a, err := token.DecodeToken(id, record)
	if err != nil {
		return false
	}
	b, err := token.DecodeToken(id, than)
	return err != nil || a.Version > b.Version || a.Version == b.Version && b.RevokedAt.IsZero() &&
		!a.RevokedAt.IsZero()
}

// digestSums returns the checksums of token records from the digest entries. outdated contains
// the tokens whose two entries disagree.
func (r *rebuilder) digestSums() (sums map[token.ID][4]byte, outdated map[token.ID]bool, err error) {
	sums, outdated = make(map[token.ID][4]byte), make(map[token.ID]bool)
	for _, value := range r.entries(digestsBucket, &err) {
		id, entryErr := entryID(value)
		if _, idErr := token.ParseID(id.String()); entryErr != nil || idErr != nil {
			continue
		}
		sum := [4]byte(value[len(id):])
		if before, ok := sums[id]; ok && before != sum {
			outdated[id] = true
		}
		sums[id] = sum
	}
	return sums, outdated, err
}

func (r *rebuilder) copyToken(tok *token.Token, record []byte) error {
	r.created = append(r.created, orderEntry(orderKey(tokenstore.OrderCreated, tok)))
	r.expires = append(r.expires, orderEntry(orderKey(tokenstore.OrderExpires, tok)))
	value := [entryLength]byte(digestEntry(tok.ID, record))
	for _, d := range tok.Digests() {
		r.digests = append(r.digests, secretEntry{d, value})
	}
	r.seen(tok.UpdatedAt)
	return r.sink.put(tokensBucket, tok.ID[:], record)
}

// seen updates r.newest.
func (r *rebuilder) seen(t time.Time) {
	if t.After(r.newest) {
		r.newest = t
	}
}

// putDamaged writes the damaged tokens. It preserves their IDs, their positions in the created
// bucket and their digest entries.
func (r *rebuilder) putDamaged(damaged damagedTokens) error {
	if len(damaged) == 0 {
		return nil
	}
	var err error
	positions := make(map[token.ID]orderEntry)
	if r.source.BucketSound(string(createdBucket)) {
		for key := range r.source.Entries(string(createdBucket), &err) {
			if len(key) == orderKeyLength && damaged.has(token.ID(key[orderTimeLength:])) {
				positions[token.ID(key[orderTimeLength:])] = orderEntry(key)
			}
		}
	}
	for key, value := range r.entries(digestsBucket, &err) {
		if id, entryErr := entryID(value); entryErr == nil && damaged.has(id) && len(key) == len(token.Digest{}) {
			r.digests = append(r.digests, secretEntry{token.Digest(key), [entryLength]byte(digestEntry(id, nil))})
		}
	}
	r.lost.Tokens = slices.SortedFunc(maps.Keys(damaged), func(a, b token.ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range r.lost.Tokens {
		unknown := &token.Token{ID: id}
		position, ok := positions[id]
		if !ok {
			position = orderEntry(orderKey(tokenstore.OrderCreated, unknown))
		}
		r.created = append(r.created, position)
		r.expires = append(r.expires, orderEntry(orderKey(tokenstore.OrderExpires, unknown)))
		if damaged[id] {
			r.lose(tokensBucket, "token %s", id)
		}
		err = errors.Join(err, r.sink.put(tokensBucket, id[:], lostRecord))
	}
	return err
}

// orders writes the created, expires and digests buckets.
func (r *rebuilder) orders() error {
	for _, order := range []struct {
		bucket  []byte
		entries []orderEntry
	}{{createdBucket, r.created}, {expiresBucket, r.expires}} {
		slices.SortFunc(order.entries, func(a, b orderEntry) int { return bytes.Compare(a[:], b[:]) })
		for i := range order.entries {
			if err := r.sink.put(order.bucket, order.entries[i][:], nil); err != nil {
				return err
			}
		}
	}
	// If a digest has two entries, the valid token's entry must win, so it sorts last.
	slices.SortFunc(r.digests, func(a, b secretEntry) int {
		if c := bytes.Compare(a.digest[:], b.digest[:]); c != 0 {
			return c
		}
		return bytes.Compare(a.entry[len(token.ID{}):], b.entry[len(token.ID{}):])
	})
	for i := range r.digests {
		if err := r.sink.put(digestsBucket, r.digests[i].digest[:], r.digests[i].entry[:]); err != nil {
			return err
		}
	}
	return nil
}

// maxAuditSpan is the range of sequence numbers from which gaps no longer count as lost audit
// entries. A shared store makes its numbers from the time, so they have large gaps although nothing
// is lost: in two seconds, they grow by more than maxAuditSpan. A store that was restored from a
// backup of a replica contains such numbers.
const maxAuditSpan = 1 << 32

func (r *rebuilder) audit() error {
	var readErr error
	_, salvaged := r.salvaged[string(auditBucket)]
	var first, last, count, unreadable uint64
	for key, value := range r.entries(auditBucket, &readErr) {
		entry, err := tokenstore.DecodeAuditEntry(key, value)
		if err != nil || len(key) != auditKeyLength {
			unreadable++
			continue
		}
		r.seen(entry.Time)
		sequence := auditPosition(key).Sequence
		if count == 0 || sequence < first {
			first = sequence
		}
		last = max(last, sequence)
		before, err := r.sink.get(auditBucket, key)
		if err == nil && before == nil {
			count++
		}
		if err := errors.Join(err, r.sink.put(auditBucket, key, value)); err != nil {
			return err
		}
	}
	newest := max(last, r.source.File().Sequence(auditBucket))
	span := newest - first + 1
	countable := salvaged && r.format == storeFormat && count > 0
	switch {
	case !salvaged && unreadable > 0:
		r.lose(auditBucket, "%d entries", unreadable)
	case countable && span >= maxAuditSpan:
		r.lose(auditBucket, "an unknown number of entries")
	case countable && span > count: // gaps in a store's sequence numbers are lost entries
		r.lose(auditBucket, "%d entries", span-count)
	}
	return errors.Join(readErr, r.sink.setSequence(auditBucket, newest))
}

func (r *rebuilder) requests() error {
	var readErr error
	for key, value := range r.entries(requestsBucket, &readErr) {
		request, err := tokenstore.DecodeRequest(digestOf(key), value)
		if err != nil {
			r.lose(requestsBucket, "an idempotency key")
			continue
		}
		if err := errors.Join(r.sink.put(requestsBucket, key, value),
			r.sink.put(requestedBucket, requestedKey(&request), nil)); err != nil {
			return err
		}
	}
	return readErr
}

func (r *rebuilder) ended() error {
	var readErr error
	for key, value := range r.entries(endedBucket, &readErr) {
		if _, err := tokenstore.DecodeEnded(digestOf(key), value); err != nil {
			r.lose(endedBucket, "a secret that was taken out of service")
			if len(key) != len(token.Digest{}) {
				continue
			}
			value = tokenstore.EncodeEnded(tokenstore.EndedSecret{Digest: digestOf(key), At: r.newest})
		}
		if err := r.sink.put(endedBucket, key, value); err != nil {
			return err
		}
	}
	return readErr
}

// digestOf converts a key to a digest. It returns the zero Digest if the key has the wrong
// length.
func digestOf(key []byte) (d token.Digest) {
	if len(key) == len(d) {
		copy(d[:], key)
	}
	return d
}

// meta copies the times and the flush state. If the recorded time can't be read or is earlier
// than the newest copied record's time, meta replaces it with that record's time.
func (r *rebuilder) meta() error {
	var readErr error
	found := make(map[string][]byte)
	for key, value := range r.entries(metaBucket, &readErr) {
		found[string(key)] = bytes.Clone(value) // the latest time sorts last and wins
	}
	if r.newest.IsZero() && len(found) == 0 {
		return errNothingFound
	}
	for _, key := range metaKeys {
		value := found[string(key)]
		if r.sums() && (bytes.Equal(key, wholeKey) || bytes.Equal(key, wholeElsewhereKey)) {
			continue // the sums may have hours again
		}
		if _, isTime := timeNames[string(key)]; isTime && value != nil {
			if _, err := decodeTime(value); err != nil {
				value = nil
				r.lose(metaBucket, "the %s", timeNames[string(key)])
			}
		}
		if bytes.Equal(key, recordedKey) {
			// With an outdated time and a wrong clock, expired tokens could become valid
			// again.
			if recorded, err := decodeTime(value); err != nil || recorded.Before(r.newest) {
				value = encodeTime(r.newest)
			}
		}
		if value != nil {
			readErr = errors.Join(readErr, r.sink.put(metaBucket, key, value))
		}
	}
	for key, value := range r.entries(flushBucket, &readErr) {
		if _, salvaged := r.salvaged[string(flushBucket)]; salvaged {
			// An outdated state would cause requests to be counted twice.
			r.lose(flushBucket, "the flush state: counts found only in the usage journal were lost")
			break
		}
		if _, err := tokenstore.DecodeFlushState(key, value); err != nil {
			r.lose(flushBucket, "the flush state: counts found only in the usage journal were lost")
			continue
		}
		readErr = errors.Join(readErr, r.sink.put(flushBucket, key, value))
	}
	return errors.Join(readErr, r.sink.setSequence(metaBucket, r.sequence()+1), putTransaction(r.sink.tx))
}

// sequence returns the number of the last change. If that number can't be read, sequence
// returns one that is guaranteed to be higher, because a lower number would make the store
// look like an older copy.
func (r *rebuilder) sequence() uint64 {
	file := r.source.File()
	if sequence := file.Sequence(metaBucket); sequence > 0 || file.Err() == nil && file.HasBucket(metaBucket) {
		if rootAge(file) == boltfile.RootOutdated { // each transaction increments the sequence
			sequence += file.Transaction() - binary.BigEndian.Uint64(file.Get(metaBucket, transactionKey))
		}
		return sequence
	}
	return 1<<32 + file.Transaction()
}
