package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Report is the result of [Check].
type Report struct {
	Tokens       int
	AuditEntries int
	// Damaged lists the tokens that a rebuild could not read. They remain in the store until
	// they are deleted.
	Damaged []token.ID
	// Problems lists damage and contradictions, up to 100 in total. It is empty for a sound
	// store.
	Problems []string
	// More is the number of problems beyond those listed in Problems.
	More int
}

// maxProblems is the maximum number of problems in a report.
const maxProblems = 100

func (r *Report) add(format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Check verifies the file of a store, a backup or a replica: every page, every record, and
// whether the indexes agree with the records. It doesn't change the file. It returns a
// [*LockedError] if the file is in use, and another error if the file isn't a token store.
func Check(path string) (Report, error) {
	if _, err := os.Stat(path); err != nil {
		return Report{}, fmt.Errorf("checking token store: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Report{}, fmt.Errorf("checking token store: %w", err)
	}
	file, err := unknownFormat.lockPath(path)
	if err != nil {
		return Report{}, err
	}
	structure, err := verify(file)
	if err != nil {
		return Report{}, errors.Join(storeError(path, err), file.Close())
	}
	var report Report
	f := formatOf(structure.File())
	for _, fault := range f.structureFaults(structure) {
		report.add("the file: %s", fault)
	}
	if len(report.Problems) > 0 { // bbolt must not read the file
		return report, file.Close()
	}
	b := &Backend{path: path, format: f}
	h, err := newHandle(file)
	if err != nil {
		return Report{}, storeError(path, err)
	}
	b.current.Store(h)
	if err = b.view(f.checkSchema); err == nil {
		err = f.checkRecords(b.view, checkStep, &report, func() bool { return false })
	}
	return report, errors.Join(err, b.Close())
}

// checkStep is the number of entries to check in one transaction. bbolt can't reuse pages
// while a read transaction is open, so transactions must be short while the store is in use.
const checkStep = 5000

// checkRecords checks all records, step records per transaction, until stop returns true.
func (f format) checkRecords(view func(func(*bbolt.Tx) error) error, step int, report *Report,
	stop func() bool) error {
	if err := view(func(tx *bbolt.Tx) error { checkMeta(tx, report); return nil }); err != nil {
		return err
	}
	for _, part := range f.checks() {
		var last []byte
		for more := true; more && !stop(); {
			err := view(func(tx *bbolt.Tx) error {
				more = false
				bucket := tx.Bucket(part.bucket)
				if bucket == nil {
					return nil
				}
				cursor := bucket.Cursor()
				n := 0
				for key, value := seekAfter(cursor, last); key != nil; key, value = cursor.Next() {
					if n++; n > step {
						more = true
						return nil
					}
					part.check(tx, report, key, value)
					last = append(last[:0], key...)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// bucketCheck is a bucket and the function that checks each of its entries.
type bucketCheck struct {
	bucket []byte
	check  func(tx *bbolt.Tx, report *Report, key, value []byte)
}

// checks returns the checks of all buckets with records.
func (f format) checks() []bucketCheck {
	return []bucketCheck{
		{tokensBucket, checkToken},
		{digestsBucket, checkDigest},
		{createdBucket, checkOrder(tokenstore.OrderCreated)},
		{expiresBucket, checkOrder(tokenstore.OrderExpires)},
		{usageBucket, checkUsage},
		{daysBucket, checkDay},
		{totalsBucket, checkTotal},
		{refusalsBucket, checkRefusals},
		{auditBucket, checkAudit},
		{requestsBucket, checkKeptRequest},
		{endedBucket, checkEndedSecret(f)},
		{elsewhereBucket, checkElsewhere(elsewhereBucket, len(token.ID{}))},
		{daysElsewhereBucket, checkElsewhere(daysElsewhereBucket, dayKeyLength)},
		{totalsElsewhereBucket, checkElsewhere(totalsElsewhereBucket, totalKeyLength)},
		{noteBucket, checkNote},
	}
}

// checkMeta checks the times and the flush state.
func checkMeta(tx *bbolt.Tx, report *Report) {
	meta := tx.Bucket(metaBucket)
	for _, key := range [][]byte{recordedKey, elapsedKey, announcedKey, backedUpKey} {
		if value := meta.Get(key); value != nil || bytes.Equal(key, recordedKey) {
			if _, err := decodeTime(value); err != nil {
				report.add("the %s: %v", timeNames[string(key)], err)
			}
		}
	}
	if bucket := tx.Bucket(flushBucket); bucket != nil {
		if _, err := tokenstore.DecodeFlushState(stateKey, bucket.Get(stateKey)); err != nil {
			report.add("the flush state: %v", err)
		}
	}
}

func checkToken(tx *bbolt.Tx, report *Report, key, _ []byte) {
	report.Tokens++
	if len(key) != len(token.ID{}) {
		report.add("a token's key has %d bytes", len(key))
		return
	}
	id := token.ID(key)
	tok, err := readToken(tx, id)
	if errors.Is(err, errLost) {
		report.Damaged = append(report.Damaged, id)
		return
	}
	if err != nil {
		report.add("token %s: %v", id, err)
		return
	}
	for _, order := range []tokenstore.Order{tokenstore.OrderCreated, tokenstore.OrderExpires} {
		if !has(tx.Bucket(orderBucket(order)), orderKey(order, tok)) {
			report.add("token %s is missing from an index", id)
		}
	}
	for _, digest := range tok.Digests() {
		if entry, err := entryID(tx.Bucket(digestsBucket).Get(digest[:])); err != nil || entry != id {
			report.add("token %s can't be found by one of its secrets", id)
		}
	}
}

func checkDigest(tx *bbolt.Tx, report *Report, key, entry []byte) {
	id, err := entryID(entry)
	if err != nil || len(key) != len(token.Digest{}) {
		report.add("a secret's index entry is damaged")
		return
	}
	tok, err := readToken(tx, id)
	if errors.Is(err, tokenstore.ErrNotFound) {
		report.add("a secret refers to token %s, which doesn't exist", id)
	} else if err == nil && !bytes.Equal(key, tok.Digest[:]) && !bytes.Equal(key, tok.PreviousDigest[:]) {
		report.add("a secret refers to token %s, which has a different secret", id)
	}
}

func checkOrder(order tokenstore.Order) func(tx *bbolt.Tx, report *Report, key, _ []byte) {
	return func(tx *bbolt.Tx, report *Report, key, _ []byte) {
		if len(key) != orderKeyLength {
			report.add("an index entry is damaged")
			return
		}
		id := token.ID(key[orderTimeLength:])
		tok, err := readToken(tx, id)
		if errors.Is(err, tokenstore.ErrNotFound) || err == nil && !bytes.Equal(key, orderKey(order, tok)) {
			report.add("token %s has an index entry in the wrong position", id)
		}
	}
}

func checkUsage(tx *bbolt.Tx, report *Report, key, record []byte) {
	if len(key) != len(token.ID{}) || !has(tx.Bucket(tokensBucket), key) {
		report.add("a usage record belongs to a token that doesn't exist")
		return
	}
	if _, err := tokenstore.DecodeUsage(token.ID(key), record); err != nil {
		report.add("usage of token %s: %v", key, err)
	}
}

func checkDay(tx *bbolt.Tx, report *Report, key, record []byte) {
	if len(key) != dayKeyLength || !has(tx.Bucket(tokensBucket), key[dayKeyLength-len(token.ID{}):]) {
		report.add("a day's usage record belongs to a token that doesn't exist")
		return
	}
	if _, err := tokenstore.DecodeDay(key, keyDay(key), record); err != nil {
		report.add("usage of token %s on %s: %v", key[dayKeyLength-len(token.ID{}):],
			keyDay(key).Start().Format(time.DateOnly), err)
	}
}

func checkTotal(_ *bbolt.Tx, report *Report, key, record []byte) {
	if len(key) != totalKeyLength {
		report.add("a day's total usage has a key of %d bytes", len(key))
	} else if _, err := tokenstore.DecodeDay(key, keyDay(key), record); err != nil {
		report.add("total usage on %s: %v", keyDay(key).Start().Format(time.DateOnly), err)
	}
}

func checkRefusals(tx *bbolt.Tx, report *Report, key, record []byte) {
	if len(key) != len(token.ID{}) || !has(tx.Bucket(tokensBucket), key) {
		report.add("a record of refused requests belongs to a token that doesn't exist")
		return
	}
	if _, err := tokenstore.DecodeRefusals(token.ID(key), record); err != nil {
		report.add("refused requests of token %s: %v", key, err)
	}
}

func checkAudit(_ *bbolt.Tx, report *Report, key, record []byte) {
	report.AuditEntries++
	if len(key) != auditKeyLength {
		report.add("an audit entry's key has %d bytes", len(key))
	} else if _, err := tokenstore.DecodeAuditEntry(key, record); err != nil {
		report.add("audit entry from %s: %v", auditPosition(key).Time.Format("2006-01-02 15:04:05"), err)
	}
}

func checkKeptRequest(tx *bbolt.Tx, report *Report, key, record []byte) {
	if len(key) != len(token.Digest{}) {
		report.add("an idempotency record's key has %d bytes", len(key))
		return
	}
	request, err := tokenstore.DecodeRequest(token.Digest(key), record)
	if err != nil {
		report.add("an idempotency record: %v", err)
	} else if !has(tx.Bucket(requestedBucket), requestedKey(&request)) {
		report.add("an idempotency record would never expire")
	}
}

// checkEndedSecret returns a function that checks the secrets that were taken out of service.
func checkEndedSecret(f format) func(tx *bbolt.Tx, report *Report, key, record []byte) {
	return func(tx *bbolt.Tx, report *Report, key, record []byte) {
		if len(key) != len(token.Digest{}) {
			report.add("a secret that was taken out of service has a key of %d bytes", len(key))
			return
		}
		if _, err := tokenstore.DecodeEnded(token.Digest(key), record); err != nil {
			report.add("a secret that was taken out of service: %v", err)
		}
		if f == replicaFormat {
			return // a shared store can have a token with such a secret, and the replica copies it
		}
		id, err := entryID(tx.Bucket(digestsBucket).Get(key))
		if err != nil {
			return // no token has this secret, as expected
		}
		if tok, err := readToken(tx, id); err == nil && bytes.Equal(key, tok.Digest[:]) {
			report.add("token %s has a secret that was taken out of service", id)
		}
	}
}

// checkElsewhere returns a function that checks other nodes' usage. Keys consist of a prefix of
// the given length and the node's name.
func checkElsewhere(name []byte, prefix int) func(tx *bbolt.Tx, report *Report, key, record []byte) {
	return func(tx *bbolt.Tx, report *Report, key, record []byte) {
		if !isElsewhereKey(key, prefix) {
			report.add("a record of another node's usage has an invalid key")
			return
		}
		for _, needed := range neededFor(name, key) {
			if !has(tx.Bucket(needed.bucket), needed.key) {
				report.add("a record of another node's usage has no matching record in bucket %q", needed.bucket)
			}
		}
		if !validElsewhere(name, key, record) {
			report.add("a record of another node's usage is damaged")
		}
	}
}

func checkNote(_ *bbolt.Tx, report *Report, key, record []byte) {
	if !validNote(key, record) {
		report.add("the replica's note is damaged")
	}
}

func has(bucket *bbolt.Bucket, key []byte) bool {
	found, _ := bucket.Cursor().Seek(key)
	return bytes.Equal(found, key)
}
