// Package wire encodes and decodes stored records. The format is the same for every backend:
// fields in the protobuf wire format, followed by a CRC-32C checksum of the record's kind, key
// and fields. The checksum detects flipped bits and records stored under the wrong key.
// Decoding fails if a record has an unknown field, because that field may be a restriction.
package wire

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrDamaged is returned for a record that can't be decoded.
var ErrDamaged = errors.New("the record is damaged")

// Errors for invalid fields. Users see these messages.
var (
	ErrUnknownField = errors.New(
		"it has an unknown field; a newer version of Mollygate may have written it")
	ErrMissingField = errors.New("a required field is missing")
	ErrField        = errors.New("a field has an invalid value or appears twice")
)

// Damaged returns an error that wraps [ErrDamaged] and err, or nil if err is nil.
func Damaged(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// AppendUint appends a number, unless it is 0.
func AppendUint(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

// AppendTime appends a time in microseconds since 1970, unless it is zero. The encoding can
// represent years beyond 9999.
func AppendTime(b []byte, number protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeZigZag(t.UnixMicro()))
}

// AppendString appends a string, unless it is empty.
func AppendString(b []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), ValidText(s))
}

// AppendBytes appends a byte slice, even if it is empty.
func AppendBytes(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

// AppendMap appends a map as one field per entry, sorted by key. Keys must be valid UTF-8.
func AppendMap(b []byte, number protowire.Number, m map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		entry := protowire.AppendString(nil, key)
		b = AppendBytes(b, number, protowire.AppendString(entry, ValidText(m[key])))
	}
	return b
}

// ValidText replaces invalid UTF-8 in s, so the record can be decoded even if a client sent an
// invalid name.
func ValidText(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }

// Each calls yield for every field in b, in order, and stops at the first error. If borrowed
// is true, strings read from the fields share memory with b.
func Each(b []byte, borrowed bool, yield func(protowire.Number, Field) error) error {
	var seen uint64
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if number >= 64 { // seen has no bit for this number, and no record uses it
			return ErrUnknownField
		}
		f := Field{wireType: wireType, repeated: seen&(1<<number) != 0, borrowed: borrowed}
		seen |= 1 << number
		switch wireType {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			return ErrUnknownField
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := yield(number, f); err != nil {
			return err
		}
	}
	return nil
}

// Field is the value of a field: a number or bytes, depending on its wire type.
type Field struct {
	wireType protowire.Type
	number   uint64
	bytes    []byte
	// repeated is set if an earlier field has the same number.
	repeated bool
	// borrowed is set if strings may share the record's memory.
	borrowed bool
}

// text returns part of the record as a string.
func (f Field) text(b []byte) string {
	if f.borrowed {
		return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see Each
	}
	return string(b)
}

// once reports whether the field has the given type and is the first with its number.
func (f Field) once(wireType protowire.Type) bool { return f.wireType == wireType && !f.repeated }

// SetUint sets *v to the field's numeric value.
func (f Field) SetUint(v *uint64) error {
	if !f.once(protowire.VarintType) {
		return ErrField
	}
	*v = f.number
	return nil
}

// SetPositive sets *v to the field's numeric value, which must be between 1 and most.
func (f Field) SetPositive(v *int64, most int64) error {
	if !f.once(protowire.VarintType) || f.number == 0 || f.number > uint64(most) {
		return ErrField
	}
	*v = int64(f.number)
	return nil
}

// SetEnum sets *v to the field's numeric value, which must be between 1 and last.
func SetEnum[T ~uint8](f Field, v *T, last T) error {
	if !f.once(protowire.VarintType) || f.number == 0 || f.number > uint64(last) {
		return ErrField
	}
	*v = T(f.number)
	return nil
}

// MinYear and MaxYear limit stored times to the years that RFC 3339 can represent, excluding
// year 1, which contains the zero time.Time.
const (
	MinYear = 2
	MaxYear = 9999
)

// SetTime sets *t to the field's time, which is stored in microseconds since 1970.
func (f Field) SetTime(t *time.Time) error {
	if !f.once(protowire.VarintType) {
		return ErrField
	}
	decoded := time.UnixMicro(protowire.DecodeZigZag(f.number)).UTC()
	if year := decoded.Year(); year < MinYear || year > MaxYear {
		return fmt.Errorf("a time is in the year %d; the year must be between %d and %d", year, MinYear, MaxYear)
	}
	*t = decoded
	return nil
}

// SetString sets *s to the field's string, which must be valid UTF-8.
func (f Field) SetString(s *string) error {
	if !f.once(protowire.BytesType) || !utf8.Valid(f.bytes) {
		return ErrField
	}
	*s = f.text(f.bytes)
	return nil
}

// AddString appends a repeated field's string to *s. The string must be non-empty and valid
// UTF-8.
func (f Field) AddString(s *[]string) error {
	if f.wireType != protowire.BytesType || len(f.bytes) == 0 || !utf8.Valid(f.bytes) {
		return ErrField
	}
	*s = append(*s, f.text(f.bytes))
	return nil
}

// SetFixed copies the field's bytes into to, which must have the same length.
func (f Field) SetFixed(to []byte) error {
	if !f.once(protowire.BytesType) || len(f.bytes) != len(to) {
		return ErrField
	}
	copy(to, f.bytes)
	return nil
}

// Bytes returns the field's bytes, which share memory with the record. The field may be
// repeated.
func (f Field) Bytes() ([]byte, error) {
	if f.wireType != protowire.BytesType {
		return nil, ErrField
	}
	return f.bytes, nil
}

// AddPrefix appends a repeated field's address range to *prefixes.
func (f Field) AddPrefix(prefixes *[]netip.Prefix) error {
	var prefix netip.Prefix
	if f.wireType != protowire.BytesType {
		return ErrField
	}
	if err := prefix.UnmarshalBinary(f.bytes); err != nil {
		return err
	}
	// An address with a zone has a longer encoding, and a missing address has a shorter one.
	if !prefix.IsValid() || len(f.bytes) != prefix.Addr().BitLen()/8+1 {
		return errors.New("an address range is invalid")
	}
	*prefixes = append(*prefixes, prefix)
	return nil
}

// AddEntry adds a repeated field's map entry to *m, creating the map if it is nil. Keys must
// be unique.
func (f Field) AddEntry(m *map[string]string) error {
	b, err := f.Bytes()
	if err != nil {
		return err
	}
	key, b, err := ConsumeText(b)
	if err != nil {
		return err
	}
	value, b, err := ConsumeText(b)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	if _, duplicate := (*m)[string(key)]; duplicate || len(b) > 0 {
		return ErrField
	}
	(*m)[f.text(key)] = f.text(value)
	return nil
}

// ConsumeText returns the length-prefixed string at the start of b and the rest of b. The
// string must be valid UTF-8.
func ConsumeText(b []byte) (text, rest []byte, err error) {
	text, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return nil, nil, protowire.ParseError(n)
	}
	if !utf8.Valid(text) {
		return nil, nil, ErrField
	}
	return text, b[n:], nil
}
