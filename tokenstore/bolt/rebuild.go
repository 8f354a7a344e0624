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

// Losses are what a rebuild could not copy.
type Losses struct {
	// Tokens are in the new file as damaged ones: their secrets are refused as such, and
	// they can be deleted.
	Tokens []token.ID
	// Records says of each bucket what is lost.
	Records []tokenstore.Loss
}

// A rebuild reads a bucket whose tree is sound in its order. Of one that isn't, it takes
// what it finds in the pages that are not free (see [boltfile.Structure.Salvage]), sorted.
// A page that was never written holds what was there before, so a sound record may be an
// outdated one. A token is copied only if the entry of a secret vouches for its record;
// of usage that is there twice, the larger counts.
//
// The orders and the entries of the secrets are made anew from the tokens.
type rebuilder struct {
	source *boltfile.Structure
	// salvaged are the records of buckets that are not sound, by bucket and key.
	salvaged map[string][]entry
	sink     sink
	lost     Losses

	created, expires []orderEntry
	digests          []secretEntry
	// endedSecrets are those that were taken out of service.
	endedSecrets map[token.Digest]bool
	newest       time.Time // of what was copied
}

// entry is a key and its value.
type entry struct{ key, value []byte }

type orderEntry [orderKeyLength]byte

// secretEntry is an entry of the bucket digests.
type secretEntry struct {
	digest token.Digest
	entry  [entryLength]byte
}

var errNothingFound = errors.New("nothing of a token store was found in it; restore a backup")

// rebuild copies what verifies of a file into a new store at path, where an empty file is.
func rebuild(source *boltfile.Structure, path string) (lost Losses, err error) {
	options := boltOptions()
	options.NoSync, options.NoGrowSync = true, true // until the end
	db, err := bbolt.Open(path, fileMode, options)
	if err != nil {
		return Losses{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(makeSchema); err != nil {
		return Losses{}, err
	}
	r := &rebuilder{source: source, sink: sink{db: db}, endedSecrets: make(map[token.Digest]bool)}
	r.salvage()
	for _, part := range []func() error{r.readEnded, r.tokens, r.orders, r.usage, r.days, r.restoreUsage, r.audit,
		r.requests, r.ended, r.meta, r.sink.commit} {
		if err := part(); err != nil {
			r.sink.rollback()
			return Losses{}, err
		}
	}
	return r.lost, db.Sync()
}

// lose notes records that can't be copied.
func (r *rebuilder) lose(bucket []byte, format string, args ...any) {
	r.lost.Records = append(r.lost.Records, tokenstore.Loss{Bucket: string(bucket), What: fmt.Sprintf(format, args...)})
}

// readEnded collects the secrets that were taken out of service: a token that has one of
// them is an outdated one.
func (r *rebuilder) readEnded() (err error) {
	for key := range r.entries(endedBucket, &err) {
		r.endedSecrets[digestOf(key)] = true
	}
	return err
}

// damagedTokens are tokens that become damaged ones. The value is false for those that were
// damaged before.
type damagedTokens map[token.ID]bool

func (d damagedTokens) has(id token.ID) bool {
	_, found := d[id]
	return found
}

// tokens copies the tokens that an entry of a secret vouches for. All others that there
// are signs of become damaged ones.
func (r *rebuilder) tokens() error {
	vouched, outdated, err := r.vouched()
	if err != nil {
		return err
	}
	damaged := make(damagedTokens)
	var reader tokenstore.Reader
	var best entry // of the entries with one id
	flush := func() error {
		if best.key == nil {
			return nil
		}
		id := token.ID(best.key)
		sum, known := vouched[id]
		delete(vouched, id)
		tok, err := reader.Token(id, best.value)
		switch {
		case err == nil && known && sum == tokenstore.RecordChecksum(best.value) && !outdated[id] &&
			!r.endedSecrets[tok.Digest]:
			return r.copyToken(tok, best.value)
		case err == nil:
			for _, d := range tok.Digests() {
				r.digests = append(r.digests, secretEntry{d, [entryLength]byte(digestEntry(id, nil))})
			}
		}
		damaged[id] = !bytes.Equal(best.value, lostRecord)
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
	for id := range vouched {
		damaged[id] = true
	}
	if err := r.addUnfound(damaged); err != nil {
		return err
	}
	return r.keepDamaged(damaged)
}

// addUnfound adds the tokens of which only the place in a list or the usage is left.
func (r *rebuilder) addUnfound(damaged damagedTokens) (err error) {
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

// newer reports whether a record of a token is sound and newer than another.
func newer(id token.ID, record, than []byte) bool {
	a, err := token.DecodeToken(id, record)
	if err != nil {
		return false
	}
	b, err := token.DecodeToken(id, than)
	return err != nil || a.Version > b.Version || a.Version == b.Version && b.RevokedAt.IsZero() &&
		!a.RevokedAt.IsZero()
}

// vouched returns the checksums of the tokens' records that the entries of secrets have.
// outdated are the tokens of which two entries disagree.
func (r *rebuilder) vouched() (sums map[token.ID][4]byte, outdated map[token.ID]bool, err error) {
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

func (r *rebuilder) seen(t time.Time) {
	if t.After(r.newest) {
		r.newest = t
	}
}

// keepDamaged keeps the ids of tokens that can't be read, where they were in the orders,
// and the entries of their secrets.
func (r *rebuilder) keepDamaged(damaged damagedTokens) error {
	if len(damaged) == 0 {
		return nil
	}
	var err error
	places := make(map[token.ID]orderEntry)
	if r.source.BucketSound(string(createdBucket)) {
		for key := range r.source.Entries(string(createdBucket), &err) {
			if len(key) == orderKeyLength && damaged.has(token.ID(key[orderTimeLength:])) {
				places[token.ID(key[orderTimeLength:])] = orderEntry(key)
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
		place, ok := places[id]
		if !ok {
			place = orderEntry(orderKey(tokenstore.OrderCreated, unknown))
		}
		r.created = append(r.created, place)
		r.expires = append(r.expires, orderEntry(orderKey(tokenstore.OrderExpires, unknown)))
		if damaged[id] {
			r.lose(tokensBucket, "token %s", id)
		}
		err = errors.Join(err, r.sink.put(tokensBucket, id[:], lostRecord))
	}
	return err
}

// orders makes the buckets that lead to tokens.
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
	// Of two entries of a secret, the one of a sound token counts, which comes later.
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

// usage copies the usage of tokens that there are.
func (r *rebuilder) usage() error {
	return r.copyRecords(usageBucket, len(token.ID{}), func(key, value, before []byte) (bool, string) {
		used, err := tokenstore.DecodeUsage(token.ID(key), value)
		if err != nil {
			return false, fmt.Sprintf("the usage of token %s", key)
		}
		r.seen(used.Last.Time)
		kept, _ := tokenstore.DecodeUsage(token.ID(key), before)
		return used.Allowed+used.Denied >= kept.Allowed+kept.Denied, ""
	})
}

func (r *rebuilder) days() error {
	return r.copyRecords(daysBucket, dayKeyLength, func(key, value, before []byte) (bool, string) {
		day, err := tokenstore.DecodeDay(key, keyDay(key), value)
		if err != nil {
			return false, fmt.Sprintf("the usage of token %s on %s", key[dayKeyLength-len(token.ID{}):],
				keyDay(key).Start().Format(time.DateOnly))
		}
		kept, _ := tokenstore.DecodeDay(key, keyDay(key), before)
		return dayTotal(day) >= dayTotal(kept), ""
	})
}

// restoreUsage makes the usage of tokens whose record of it is lost from their days: the
// totals are the sum of them, and the newest day becomes part of it. Without usage, the
// deletion of a token would leave its days.
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
		usage.Days = []tokenstore.DayUsage{day} // the newest comes last
		restored[id] = usage
		return nil
	})
	for id, usage := range restored {
		newest := dayKey(usage.Days[0].Day, id)
		err = errors.Join(err, r.sink.put(usageBucket, id[:], tokenstore.EncodeUsage(id, usage)),
			r.sink.delete(daysBucket, newest))
	}
	return err
}

func dayTotal(day tokenstore.DayUsage) (n uint64) {
	for _, p := range day.Points {
		n += p.Count
	}
	return n
}

// copyRecords copies records of tokens, whose keys have a length and end with the id. better
// reports whether a record replaces another with its key, or what is lost if it is damaged.
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
			r.lose(bucket, "an entry of a token that does not exist, %s", printableID(id))
			continue
		}
		before, err := r.sink.get(bucket, key)
		if err != nil {
			return err
		}
		keep, lost := better(key, value, before)
		if lost != "" {
			r.lose(bucket, "%s", lost)
		}
		if keep {
			if err := r.sink.put(bucket, key, value); err != nil {
				return err
			}
		}
	}
	return readErr
}

// printableID returns an id, or what a damaged one can be called.
func printableID(id []byte) string {
	if _, err := token.ParseID(string(id)); err != nil {
		return "with a damaged id"
	}
	return string(id)
}

func (r *rebuilder) audit() error {
	var readErr error
	var first, last, count uint64
	for key, value := range r.entries(auditBucket, &readErr) {
		entry, err := tokenstore.DecodeAuditEntry(key, value)
		if err != nil || len(key) != auditKeyLength {
			continue // counted below
		}
		r.seen(entry.Time)
		sequence := auditPosition(key).Sequence
		if count == 0 || sequence < first {
			first = sequence
		}
		last = max(last, sequence)
		had, err := r.sink.get(auditBucket, key)
		if err == nil && had == nil {
			count++
		}
		if err := errors.Join(err, r.sink.put(auditBucket, key, value)); err != nil {
			return err
		}
	}
	newest := max(last, r.source.File().Sequence(auditBucket))
	if count > 0 && newest-first+1 > count {
		r.lose(auditBucket, "%d entries", newest-first+1-count)
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

// digestOf returns a key as a digest; one of another length is that of nothing.
func digestOf(key []byte) (d token.Digest) {
	if len(key) == len(d) {
		copy(d[:], key)
	}
	return d
}

// meta copies the times and how far the counts are saved. A recorded time that can't be
// read is that of the newest record.
func (r *rebuilder) meta() error {
	var readErr error
	found := make(map[string][]byte)
	for key, value := range r.entries(metaBucket, &readErr) {
		found[string(key)] = bytes.Clone(value) // of two, the later one, as times are in order
	}
	if r.newest.IsZero() && len(found) == 0 {
		return errNothingFound
	}
	for _, key := range metaKeys {
		value := found[string(key)]
		if value != nil && !bytes.Equal(key, wholeKey) && !bytes.Equal(key, identityKey) {
			if _, err := decodeTime(value); err != nil {
				value = nil
				r.lose(metaBucket, "the time %q", key)
			}
		}
		if bytes.Equal(key, recordedKey) {
			// An outdated one would bring expired tokens back to life if the clock is wrong.
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
			// It may be an outdated one, by which requests would be counted twice.
			r.lose(flushBucket, "how far the usage journal is saved: counts of a killed process are lost")
			break
		}
		if _, err := tokenstore.DecodeFlushState(key, value); err != nil {
			r.lose(flushBucket, "how far the usage journal is saved: counts of a killed process are lost")
			continue
		}
		readErr = errors.Join(readErr, r.sink.put(flushBucket, key, value))
	}
	return errors.Join(readErr, r.sink.setSequence(metaBucket, r.sequence()+1), putTransaction(r.sink.tx))
}

// sequence returns the number of the newest change, or one that is surely higher if that
// can't be read: a lower one would be taken for that of an older store.
func (r *rebuilder) sequence() uint64 {
	file := r.source.File()
	if sequence := file.Sequence(metaBucket); sequence > 0 || file.Err() == nil && file.HasBucket(metaBucket) {
		if rootAge(file) == boltfile.RootOutdated { // each transaction is a change
			sequence += file.Transaction() - binary.BigEndian.Uint64(file.Get(metaBucket, transactionKey))
		}
		return sequence
	}
	return 1<<32 + file.Transaction()
}
