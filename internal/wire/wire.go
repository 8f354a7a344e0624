// Package wire is the form of records at rest, the same for every backend: fields in
// protobuf's wire format, followed by a CRC-32C over the record's kind, its key and the
// fields, so that a flipped bit or a record in another's place is noticed. A field that
// this version doesn't know makes the record unreadable, because it may be a restriction.
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

// ErrDamaged reports a record that can't be read.
var ErrDamaged = errors.New("the token's record is damaged")

// Errors of fields. Their text is for people.
var (
	ErrUnknownField = errors.New(
		"it holds a field that this version doesn't know; a newer Mollygate may have written it")
	ErrMissingField = errors.New("a needed field is missing")
	ErrField        = errors.New("a field has a value that it can't have, or is there twice")
)

// Damaged returns an error that wraps [ErrDamaged], or nil for nil.
func Damaged(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// AppendUint writes a number, unless it is 0.
func AppendUint(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

// AppendTime writes microseconds since 1970, which reach beyond the year 9999, unless the
// time is zero.
func AppendTime(b []byte, number protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeZigZag(t.UnixMicro()))
}

// AppendString writes a text, unless it is empty.
func AppendString(b []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), ValidText(s))
}

// AppendBytes writes bytes.
func AppendBytes(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

// AppendMap writes an entry a field, each a key and a value, in the order of the
// keys, which must be valid UTF-8.
func AppendMap(b []byte, number protowire.Number, m map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		entry := protowire.AppendString(nil, key)
		b = AppendBytes(b, number, protowire.AppendString(entry, ValidText(m[key])))
	}
	return b
}

// ValidText keeps a record readable whatever a caller calls itself.
func ValidText(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }

// Each calls yield with the fields in their order. Texts of the fields share the memory of
// b if borrowed.
func Each(b []byte, borrowed bool, yield func(protowire.Number, Field) error) error {
	var seen uint64
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if number >= 64 { // of which seen has no bit, and no record a field
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

// Field is a field's value: a number or bytes, by its wire type.
type Field struct {
	wireType protowire.Type
	number   uint64
	bytes    []byte
	// repeated is set if there was a field of this number before.
	repeated bool
	// borrowed is set if texts may share the record's memory.
	borrowed bool
}

// text returns bytes of the record as a text.
func (f Field) text(b []byte) string {
	if f.borrowed {
		return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see Each
	}
	return string(b)
}

// once reports whether the field is of the type and the first of its number.
func (f Field) once(wireType protowire.Type) bool { return f.wireType == wireType && !f.repeated }

// SetUint reads a number.
func (f Field) SetUint(v *uint64) error {
	if !f.once(protowire.VarintType) {
		return ErrField
	}
	*v = f.number
	return nil
}

// SetPositive reads a number from 1 to most.
func (f Field) SetPositive(v *int64, most int64) error {
	if !f.once(protowire.VarintType) || f.number == 0 || f.number > uint64(most) {
		return ErrField
	}
	*v = int64(f.number)
	return nil
}

// SetEnum reads a value from 1 to last.
func SetEnum[T ~uint8](f Field, v *T, last T) error {
	if !f.once(protowire.VarintType) || f.number == 0 || f.number > uint64(last) {
		return ErrField
	}
	*v = T(f.number)
	return nil
}

// The years that times may be in: what RFC 3339 can write, without the year in which the
// zero time.Time is another way to write "none".
const (
	MinYear = 2
	MaxYear = 9999
)

// SetTime reads a time in microseconds since 1970.
func (f Field) SetTime(t *time.Time) error {
	if !f.once(protowire.VarintType) {
		return ErrField
	}
	decoded := time.UnixMicro(protowire.DecodeZigZag(f.number)).UTC()
	if year := decoded.Year(); year < MinYear || year > MaxYear {
		return fmt.Errorf("a time is in the year %d, which is not between %d and %d", year, MinYear, MaxYear)
	}
	*t = decoded
	return nil
}

// SetString reads a text.
func (f Field) SetString(s *string) error {
	if !f.once(protowire.BytesType) || !utf8.Valid(f.bytes) {
		return ErrField
	}
	*s = f.text(f.bytes)
	return nil
}

// AddString reads one of several texts.
func (f Field) AddString(s *[]string) error {
	if f.wireType != protowire.BytesType || len(f.bytes) == 0 || !utf8.Valid(f.bytes) {
		return ErrField
	}
	*s = append(*s, f.text(f.bytes))
	return nil
}

// SetFixed reads bytes of a fixed length.
func (f Field) SetFixed(to []byte) error {
	if !f.once(protowire.BytesType) || len(f.bytes) != len(to) {
		return ErrField
	}
	copy(to, f.bytes)
	return nil
}

// Bytes returns the value of a field that may be there several times.
func (f Field) Bytes() ([]byte, error) {
	if f.wireType != protowire.BytesType {
		return nil, ErrField
	}
	return f.bytes, nil
}

// AddPrefix reads one of several address ranges.
func (f Field) AddPrefix(prefixes *[]netip.Prefix) error {
	var prefix netip.Prefix
	if f.wireType != protowire.BytesType {
		return ErrField
	}
	if err := prefix.UnmarshalBinary(f.bytes); err != nil {
		return err
	}
	// An address with a zone is longer, and an address of no kind shorter.
	if !prefix.IsValid() || len(f.bytes) != prefix.Addr().BitLen()/8+1 {
		return errors.New("an address range is none")
	}
	*prefixes = append(*prefixes, prefix)
	return nil
}

// AddEntry reads an entry of a map.
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
	if _, twice := (*m)[string(key)]; twice || len(b) > 0 {
		return ErrField
	}
	(*m)[f.text(key)] = f.text(value)
	return nil
}

// ConsumeText reads a text after its length.
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
