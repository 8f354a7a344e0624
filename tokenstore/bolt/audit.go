package bolt

import (
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// An audit entry's key is its time and a sequence number, which tells entries of
// the same time apart and is never used again.
const auditKeyLength = orderTimeLength + 8

func auditKey(at tokenstore.AuditPosition) []byte {
	return binary.BigEndian.AppendUint64(timeKey(make([]byte, 0, auditKeyLength), at.Time), at.Sequence)
}

func auditPosition(key []byte) tokenstore.AuditPosition {
	return tokenstore.AuditPosition{Time: keyTime(key), Sequence: binary.BigEndian.Uint64(key[orderTimeLength:])}
}

// appendAudit adds a line to the audit.
func appendAudit(tx *bbolt.Tx, entry tokenstore.AuditEntry) error {
	audit := tx.Bucket(auditBucket)
	sequence, err := audit.NextSequence()
	if err != nil {
		return err
	}
	key := auditKey(tokenstore.AuditPosition{Time: entry.Time, Sequence: sequence})
	return audit.Put(key, tokenstore.EncodeAuditEntry(key, entry))
}

// Audit implements tokenstore.Backend.
func (b *Backend) Audit(before *tokenstore.AuditPosition, yield func(tokenstore.AuditPosition, tokenstore.AuditEntry) bool) error {
	return b.view(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket(auditBucket).Cursor()
		key, record := cursor.Last()
		if before != nil {
			if found, _ := cursor.Seek(auditKey(*before)); found != nil {
				key, record = cursor.Prev()
			} else {
				key, record = cursor.Last()
			}
		}
		for ; key != nil; key, record = cursor.Prev() {
			entry, err := tokenstore.DecodeAuditEntry(key, record)
			if err != nil || len(key) != auditKeyLength {
				continue
			}
			if !yield(auditPosition(key), entry) {
				return nil
			}
		}
		return nil
	})
}

// pruneLimit is how many entries one transaction removes at most.
const pruneLimit = 1000

// Prune implements tokenstore.Backend.
func (b *Backend) Prune(audit, requests time.Time) (more bool, err error) {
	old := false
	err = b.view(func(tx *bbolt.Tx) error {
		old = isOld(tx, auditBucket, audit) || isOld(tx, requestedBucket, requests)
		return nil
	})
	if err != nil || !old {
		return false, err
	}
	err = b.update(func(tx *bbolt.Tx) error {
		more = false
		err := prune(tx, auditBucket, audit, func([]byte) error { return nil })
		if err == nil {
			err = prune(tx, requestedBucket, requests, func(key []byte) error {
				return tx.Bucket(requestsBucket).Delete(key[orderTimeLength:])
			})
		}
		more = isOld(tx, auditBucket, audit) || isOld(tx, requestedBucket, requests)
		return err
	})
	return more, err
}

// isOld says whether the first entry of a bucket whose keys begin with a time is
// older.
func isOld(tx *bbolt.Tx, bucket []byte, before time.Time) bool {
	key, _ := tx.Bucket(bucket).Cursor().First()
	return key != nil && isBefore(key, before)
}

func isBefore(key []byte, t time.Time) bool {
	return len(key) < orderTimeLength || keyTime(key).Before(t)
}

// prune removes the oldest entries of such a bucket. also is called with the key
// of each.
func prune(tx *bbolt.Tx, name []byte, before time.Time, also func(key []byte) error) error {
	bucket := tx.Bucket(name)
	var keys [][]byte // which are changed only when the cursor is done
	cursor := bucket.Cursor()
	for key, _ := cursor.First(); key != nil && len(keys) < pruneLimit && isBefore(key, before); key, _ = cursor.Next() {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if len(key) >= orderTimeLength {
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
