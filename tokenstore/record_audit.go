package tokenstore

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
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

// EncodeAuditEntry encodes an audit entry as the record that a backend stores under key.
func EncodeAuditEntry(key []byte, e AuditEntry) []byte {
	b := make([]byte, 0, 128)
	b = wire.AppendTime(b, auditTime, e.Time)
	b = wire.AppendString(b, auditActor, e.Actor)
	b = wire.AppendString(b, auditAction, e.Action)
	b = wire.AppendBytes(b, auditTokenID, e.TokenID[:])
	b = wire.AppendString(b, auditTokenName, e.TokenName)
	b = wire.AppendString(b, auditAddress, e.Address)
	b = wire.AppendMap(b, auditChange, e.Changes)
	return wire.AddChecksum(auditRecord, key, b)
}

// DecodeAuditEntry decodes the audit entry stored under key. The error wraps
// [token.ErrDamaged].
func DecodeAuditEntry(key, record []byte) (AuditEntry, error) {
	fields, err := wire.VerifyChecksum(auditRecord, key, record)
	if err != nil {
		return AuditEntry{}, err
	}
	var e AuditEntry
	found := false
	err = wire.Each(fields, false, func(number protowire.Number, f wire.Field) error {
		switch number {
		case auditTime:
			return f.SetTime(&e.Time)
		case auditActor:
			return f.SetString(&e.Actor)
		case auditAction:
			return f.SetString(&e.Action)
		case auditTokenID:
			found = true
			return f.SetFixed(e.TokenID[:])
		case auditTokenName:
			return f.SetString(&e.TokenName)
		case auditAddress:
			return f.SetString(&e.Address)
		case auditChange:
			return f.AddEntry(&e.Changes)
		}
		return wire.ErrUnknownField
	})
	if err == nil && !found {
		err = errors.New("the token ID field is missing")
	}
	if err != nil {
		return AuditEntry{}, wire.Damaged(err)
	}
	return e, nil
}
