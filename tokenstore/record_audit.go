package tokenstore

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of an audit entry.
const (
	auditTime protowire.Number = iota + 1
	auditActor
	auditAction
	auditTokenID
	auditTokenName
	auditAddress
	auditChange
)

// EncodeAuditEntry returns the record of an audit entry for a backend to keep
// under key.
func EncodeAuditEntry(key []byte, e AuditEntry) []byte {
	b := make([]byte, 0, 128)
	b = appendTime(b, auditTime, e.Time)
	b = appendString(b, auditActor, e.Actor)
	b = appendString(b, auditAction, e.Action)
	b = appendBytes(b, auditTokenID, e.TokenID[:])
	b = appendString(b, auditTokenName, e.TokenName)
	b = appendString(b, auditAddress, e.Address)
	b = appendMap(b, auditChange, e.Changes)
	return seal(auditRecord, key, b)
}

// DecodeAuditEntry reads the audit entry kept under key. The error wraps
// [ErrDamaged].
func DecodeAuditEntry(key, record []byte) (AuditEntry, error) {
	fields, err := unseal(auditRecord, key, record)
	if err != nil {
		return AuditEntry{}, err
	}
	var e AuditEntry
	found := false
	err = eachField(fields, false, func(number protowire.Number, f field) error {
		switch number {
		case auditTime:
			return f.setTime(&e.Time)
		case auditActor:
			return f.setString(&e.Actor)
		case auditAction:
			return f.setString(&e.Action)
		case auditTokenID:
			found = true
			return f.setID(&e.TokenID)
		case auditTokenName:
			return f.setString(&e.TokenName)
		case auditAddress:
			return f.setString(&e.Address)
		case auditChange:
			return f.addEntry(&e.Changes)
		}
		return errUnknownField
	})
	if err == nil && !found {
		err = errors.New("it names no token")
	}
	if err != nil {
		return AuditEntry{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return e, nil
}
