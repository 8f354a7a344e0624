package token

import (
	"errors"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
)

// ErrDamaged means that the token's record is missing, fails its checksum, can't be decoded or
// isn't the newest. The token must be treated as unusable, never as unknown.
var ErrDamaged = wire.ErrDamaged

// tokenRecord is the record kind for tokens.
const tokenRecord byte = 't'

// These are the field numbers in a token's record. Numbers are never reused; every new field
// needs a new number.
const (
	fieldKind protowire.Number = iota + 1
	fieldFormat
	fieldPrefix
	fieldName
	fieldAccount
	fieldScope
	fieldAllowedIP
	fieldMetadata
	fieldCreatedAt
	fieldCreatedBy
	fieldUpdatedAt
	fieldNotBefore
	fieldExpiresAt
	fieldRevokedAt
	fieldDisabledAt
	fieldDigest
	fieldSecretMadeAt
	fieldPreviousDigest
	fieldPreviousValidUntil
	fieldVersion
	fieldRateRequests
	fieldRateWindow // in seconds
	fieldQuotaRequests
	fieldQuotaPeriod
	fieldResource
)

// EncodeToken returns a token's record, which a backend stores under the token's ID.
func EncodeToken(t *Token) []byte { return wire.AddChecksum(tokenRecord, t.ID[:], t.fields()) }

func (t *Token) fields() []byte {
	b := t.Terms.fields(make([]byte, 0, 256))
	b = wire.AppendUint(b, fieldFormat, uint64(t.Format))
	b = wire.AppendString(b, fieldPrefix, t.Prefix)
	b = wire.AppendString(b, fieldName, t.Name)
	b = wire.AppendMap(b, fieldMetadata, t.Metadata)
	b = wire.AppendTime(b, fieldCreatedAt, t.CreatedAt)
	b = wire.AppendString(b, fieldCreatedBy, t.CreatedBy)
	b = wire.AppendTime(b, fieldUpdatedAt, t.UpdatedAt)
	b = wire.AppendTime(b, fieldNotBefore, t.NotBefore)
	b = wire.AppendTime(b, fieldExpiresAt, t.ExpiresAt)
	b = wire.AppendTime(b, fieldRevokedAt, t.RevokedAt)
	b = wire.AppendTime(b, fieldDisabledAt, t.DisabledAt)
	b = wire.AppendBytes(b, fieldDigest, t.Digest[:])
	b = wire.AppendTime(b, fieldSecretMadeAt, t.SecretMadeAt)
	if !t.PreviousDigest.IsZero() {
		b = wire.AppendBytes(b, fieldPreviousDigest, t.PreviousDigest[:])
	}
	b = wire.AppendTime(b, fieldPreviousValidUntil, t.PreviousValidUntil)
	return wire.AppendUint(b, fieldVersion, t.Version)
}

// fields appends the encoded terms to b. Terms are equal if and only if their encodings are.
func (t *Terms) fields(b []byte) []byte {
	b = wire.AppendUint(b, fieldKind, uint64(t.Kind))
	b = wire.AppendString(b, fieldAccount, t.Account)
	for _, scope := range t.Scopes {
		b = wire.AppendString(b, fieldScope, scope)
	}
	for _, prefix := range t.AllowedIPs {
		raw, _ := prefix.MarshalBinary() // never fails
		b = wire.AppendBytes(b, fieldAllowedIP, raw)
	}
	b = wire.AppendUint(b, fieldRateRequests, uint64(t.RateLimit.Requests))
	b = wire.AppendUint(b, fieldRateWindow, uint64(t.RateLimit.Window/time.Second))
	b = wire.AppendUint(b, fieldQuotaRequests, uint64(t.Quota.Requests))
	b = wire.AppendUint(b, fieldQuotaPeriod, uint64(t.Quota.Period))
	for _, pattern := range t.Resources {
		b = wire.AppendString(b, fieldResource, pattern)
	}
	return b
}

// DecodeToken decodes the record stored under id. The error wraps [ErrDamaged]. The token
// shares no memory with the record.
func DecodeToken(id ID, record []byte) (*Token, error) {
	t := new(Token)
	if err := t.Decode(id, record, false); err != nil {
		return nil, err
	}
	return t, nil
}

// Decode sets the token from the record stored under id. The error wraps [ErrDamaged]. If
// borrowed is true, the token must not be used after the record's memory becomes invalid.
// Decode reuses the token's slices and maps.
func (t *Token) Decode(id ID, record []byte, borrowed bool) error {
	clear(t.Metadata)
	*t = Token{ID: id, Terms: Terms{Scopes: t.Scopes[:0], Resources: t.Resources[:0],
		AllowedIPs: t.AllowedIPs[:0]}, Metadata: t.Metadata}
	fields, err := wire.VerifyChecksum(tokenRecord, t.ID[:], record)
	if err != nil {
		return err
	}
	err = wire.Each(fields, borrowed, t.setField)
	if err == nil && (t.Kind == 0 || t.Format == 0 || t.CreatedAt.IsZero() || t.Digest.IsZero() || t.Version == 0) {
		err = wire.ErrMissingField
	}
	if err == nil && (t.RateLimit != (RateLimit{}) && !t.RateLimit.valid() || t.Quota != (Quota{}) &&
		!t.Quota.valid()) {
		err = errors.New("a limit is incomplete")
	}
	return wire.Damaged(err)
}

func (t *Token) setField(number protowire.Number, f wire.Field) error {
	switch number {
	case fieldFormat:
		return wire.SetEnum(f, &t.Format, FormatImported)
	case fieldPrefix:
		return f.SetString(&t.Prefix)
	case fieldName:
		return f.SetString(&t.Name)
	case fieldMetadata:
		return f.AddEntry(&t.Metadata)
	case fieldCreatedAt:
		return f.SetTime(&t.CreatedAt)
	case fieldCreatedBy:
		return f.SetString(&t.CreatedBy)
	case fieldUpdatedAt:
		return f.SetTime(&t.UpdatedAt)
	case fieldNotBefore:
		return f.SetTime(&t.NotBefore)
	case fieldExpiresAt:
		return f.SetTime(&t.ExpiresAt)
	case fieldRevokedAt:
		return f.SetTime(&t.RevokedAt)
	case fieldDisabledAt:
		return f.SetTime(&t.DisabledAt)
	case fieldDigest:
		return f.SetFixed(t.Digest[:])
	case fieldSecretMadeAt:
		return f.SetTime(&t.SecretMadeAt)
	case fieldPreviousDigest:
		return f.SetFixed(t.PreviousDigest[:])
	case fieldPreviousValidUntil:
		return f.SetTime(&t.PreviousValidUntil)
	case fieldVersion:
		return f.SetUint(&t.Version)
	}
	return t.Terms.setField(number, f)
}

func (t *Terms) setField(number protowire.Number, f wire.Field) error {
	switch number {
	case fieldKind:
		return wire.SetEnum(f, &t.Kind, KindAdmin)
	case fieldAccount:
		return f.SetString(&t.Account)
	case fieldScope:
		return f.AddString((*[]string)(&t.Scopes))
	case fieldResource:
		return f.AddString((*[]string)(&t.Resources))
	case fieldAllowedIP:
		return f.AddPrefix(&t.AllowedIPs)
	case fieldRateRequests:
		return f.SetPositive(&t.RateLimit.Requests, maxRateRequests)
	case fieldRateWindow:
		var seconds int64
		err := f.SetPositive(&seconds, int64(maxWindow/time.Second))
		t.RateLimit.Window = time.Duration(seconds) * time.Second
		return err
	case fieldQuotaRequests:
		return f.SetPositive(&t.Quota.Requests, maxQuotaRequests)
	case fieldQuotaPeriod:
		return wire.SetEnum(f, &t.Quota.Period, PeriodMonth)
	}
	return wire.ErrUnknownField
}

// Clone returns a copy that shares no memory with t.
func (t *Token) Clone() *Token {
	c := &Token{ID: t.ID}
	copyFields(t.fields(), c.setField)
	return c
}
