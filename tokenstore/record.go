package tokenstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The form of records at rest, the same for every backend: fields in protobuf's
// wire format, followed by a CRC-32C over the record's key and the fields, so
// that a flipped bit or a record in another's place is noticed. bbolt itself
// checks no data pages. A field that this version doesn't know makes the record
// unreadable, because it may be a restriction.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const checksumLength = 4

// Record kinds, part of what the checksum covers.
const (
	tokenRecord   byte = 't'
	usageRecord   byte = 'u'
	dayRecord     byte = 'd'
	auditRecord   byte = 'a'
	requestRecord byte = 'r'
	endedRecord   byte = 'e'
	flushRecord   byte = 'f'
)

func seal(kind byte, key, fields []byte) []byte {
	return binary.BigEndian.AppendUint32(fields, recordChecksum(kind, key, fields))
}

func unseal(kind byte, key, record []byte) ([]byte, error) {
	if len(record) < checksumLength {
		return nil, fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	fields, sum := record[:len(record)-checksumLength], record[len(record)-checksumLength:]
	if binary.BigEndian.Uint32(sum) != recordChecksum(kind, key, fields) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return fields, nil
}

func recordChecksum(kind byte, key, fields []byte) uint32 {
	// The first two bytes by hand: a slice of them would be allocated.
	sum := ^uint32(0)
	for _, b := range [...]byte{kind, byte(len(key))} {
		sum = castagnoli[byte(sum)^b] ^ sum>>8
	}
	sum = crc32.Update(^sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, fields)
}

// RecordChecksum returns the checksum that a record carries. It differs between
// two versions of a token, so that a backend can notice an outdated one.
func RecordChecksum(record []byte) [checksumLength]byte {
	var sum [checksumLength]byte
	if len(record) >= checksumLength {
		copy(sum[:], record[len(record)-checksumLength:])
	}
	return sum
}

// Field numbers of a token. A number is never used for something else; new fields
// get new numbers.
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
)

// EncodeToken returns the record of a token for a backend to keep under its id.
func EncodeToken(t *Token) []byte {
	b := make([]byte, 0, 256)
	b = appendUint(b, fieldKind, uint64(t.Kind))
	b = appendUint(b, fieldFormat, uint64(t.Format))
	b = appendString(b, fieldPrefix, t.Prefix)
	b = appendString(b, fieldName, t.Name)
	b = appendString(b, fieldAccount, t.Account)
	for _, scope := range t.Scopes {
		b = appendString(b, fieldScope, scope)
	}
	for _, prefix := range t.AllowedIPs {
		raw, _ := prefix.MarshalBinary() // never fails
		b = appendBytes(b, fieldAllowedIP, raw)
	}
	b = appendMap(b, fieldMetadata, t.Metadata)
	b = appendTime(b, fieldCreatedAt, t.CreatedAt)
	b = appendString(b, fieldCreatedBy, t.CreatedBy)
	b = appendTime(b, fieldUpdatedAt, t.UpdatedAt)
	b = appendTime(b, fieldNotBefore, t.NotBefore)
	b = appendTime(b, fieldExpiresAt, t.ExpiresAt)
	b = appendTime(b, fieldRevokedAt, t.RevokedAt)
	b = appendTime(b, fieldDisabledAt, t.DisabledAt)
	b = appendDigest(b, fieldDigest, t.Digest)
	b = appendTime(b, fieldSecretMadeAt, t.SecretMadeAt)
	b = appendDigest(b, fieldPreviousDigest, t.PreviousDigest)
	b = appendTime(b, fieldPreviousValidUntil, t.PreviousValidUntil)
	b = appendUint(b, fieldVersion, t.Version)
	b = appendUint(b, fieldRateRequests, uint64(t.RateLimit.Requests))
	b = appendUint(b, fieldRateWindow, uint64(t.RateLimit.Window/time.Second))
	b = appendUint(b, fieldQuotaRequests, uint64(t.Quota.Requests))
	b = appendUint(b, fieldQuotaPeriod, uint64(t.Quota.Period))
	return seal(tokenRecord, t.ID[:], b)
}

// DecodeToken reads the record kept under id. The error wraps [ErrDamaged]. The
// token shares no memory with the record.
func DecodeToken(id ID, record []byte) (*Token, error) {
	t := new(Token)
	if err := t.decode(id, record, false); err != nil {
		return nil, err
	}
	return t, nil
}

// decode makes the token what a record says, whose memory its texts may share if
// borrowed. Slices and maps that the token had are used again.
func (t *Token) decode(id ID, record []byte, borrowed bool) error {
	clear(t.Metadata)
	*t = Token{ID: id, Scopes: t.Scopes[:0], AllowedIPs: t.AllowedIPs[:0], Metadata: t.Metadata}
	fields, err := unseal(tokenRecord, t.ID[:], record)
	if err != nil {
		return err
	}
	err = eachField(fields, borrowed, func(number protowire.Number, f field) error {
		switch number {
		case fieldKind:
			return setEnum(f, &t.Kind, KindAdmin)
		case fieldFormat:
			return setEnum(f, &t.Format, FormatImported)
		case fieldPrefix:
			return f.setString(&t.Prefix)
		case fieldName:
			return f.setString(&t.Name)
		case fieldAccount:
			return f.setString(&t.Account)
		case fieldScope:
			return f.addString((*[]string)(&t.Scopes))
		case fieldAllowedIP:
			return f.addPrefix(&t.AllowedIPs)
		case fieldMetadata:
			return f.addEntry(&t.Metadata)
		case fieldCreatedAt:
			return f.setTime(&t.CreatedAt)
		case fieldCreatedBy:
			return f.setString(&t.CreatedBy)
		case fieldUpdatedAt:
			return f.setTime(&t.UpdatedAt)
		case fieldNotBefore:
			return f.setTime(&t.NotBefore)
		case fieldExpiresAt:
			return f.setTime(&t.ExpiresAt)
		case fieldRevokedAt:
			return f.setTime(&t.RevokedAt)
		case fieldDisabledAt:
			return f.setTime(&t.DisabledAt)
		case fieldDigest:
			return f.setDigest(&t.Digest)
		case fieldSecretMadeAt:
			return f.setTime(&t.SecretMadeAt)
		case fieldPreviousDigest:
			return f.setDigest(&t.PreviousDigest)
		case fieldPreviousValidUntil:
			return f.setTime(&t.PreviousValidUntil)
		case fieldVersion:
			return f.setUint(&t.Version)
		case fieldRateRequests:
			return f.setPositive(&t.RateLimit.Requests, maxRateRequests)
		case fieldRateWindow:
			var seconds int64
			err := f.setPositive(&seconds, int64(maxWindow/time.Second))
			t.RateLimit.Window = time.Duration(seconds) * time.Second
			return err
		case fieldQuotaRequests:
			return f.setPositive(&t.Quota.Requests, maxQuotaRequests)
		case fieldQuotaPeriod:
			return setEnum(f, &t.Quota.Period, PeriodMonth)
		}
		return errUnknownField
	})
	if err == nil && (t.Kind == 0 || t.Format == 0 || t.CreatedAt.IsZero() || t.Digest.IsZero() || t.Version == 0) {
		err = errors.New("a needed field is missing")
	}
	if err == nil && (t.RateLimit != (RateLimit{}) && !t.RateLimit.valid() || t.Quota != (Quota{}) && !t.Quota.valid()) {
		err = errors.New("a limit is only half there")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
