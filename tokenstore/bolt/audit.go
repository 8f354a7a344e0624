package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// An audit entry's key consists of its time and a sequence number, which is never reused and
// distinguishes entries with the same time.
const auditKeyLength = orderTimeLength + 8

func auditKey(at tokenstore.AuditPosition) []byte {
	return binary.BigEndian.AppendUint64(timeKey(make([]byte, 0, auditKeyLength), at.Time), at.Sequence)
}

func auditPosition(key []byte) tokenstore.AuditPosition {
	return tokenstore.AuditPosition{Time: keyTime(key), Sequence: binary.BigEndian.Uint64(key[orderTimeLength:])}
}

// appendAudit adds an entry to the audit log.
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
func (b *Backend) Audit(before *tokenstore.AuditPosition,
	yield func(tokenstore.AuditPosition, tokenstore.AuditEntry) bool) error {
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
