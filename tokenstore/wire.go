package tokenstore

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Records have one spelling: fields in the order of their numbers, those with
// their zero value left out, numbers as short as they can be. Whatever is spelled
// otherwise wasn't written by this program and is refused, so that nothing can
// say two things.

func appendUint(b []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

// appendTime writes microseconds since 1970, which reach beyond the year 9999.
func appendTime(b []byte, number protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = protowire.AppendTag(b, number, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeZigZag(t.UnixMicro()))
}

func appendString(b []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), validText(s))
}

func appendBytes(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

func appendDigest(b []byte, number protowire.Number, d Digest) []byte {
	if d.IsZero() {
		return b
	}
	return appendBytes(b, number, d[:])
}

// appendMap writes an entry a field, each a key and a value, in the order of the
// keys, which must be valid UTF-8.
func appendMap(b []byte, number protowire.Number, m map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		entry := protowire.AppendString(nil, key)
		b = appendBytes(b, number, protowire.AppendString(entry, validText(m[key])))
	}
	return b
}

// validText keeps a record readable whatever a caller calls itself.
func validText(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }

var (
	errUnknownField = errors.New("it holds a field that this version doesn't know; a newer Mollygate may have written it")
	errSpelling     = errors.New("its fields are not spelled as this program does")
)

// eachField calls yield with the fields in their order, which may share the memory
// of b if borrowed.
func eachField(b []byte, borrowed bool, yield func(protowire.Number, field) error) error {
	last := protowire.Number(0)
	var f field
	for len(b) > 0 {
		number, wireType, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if number < last || n != protowire.SizeTag(number) {
			return errSpelling
		}
		b = b[n:]
		next := field{wireType: wireType, repeated: number == last, before: f.bytes, borrowed: borrowed}
		switch wireType {
		case protowire.VarintType:
			next.uint, n = protowire.ConsumeVarint(b)
			if n >= 0 && n != protowire.SizeVarint(next.uint) {
				return errSpelling
			}
		case protowire.BytesType:
			next.bytes, n = protowire.ConsumeBytes(b)
			if n >= 0 && n != protowire.SizeBytes(len(next.bytes)) {
				return errSpelling
			}
		default:
			return errUnknownField
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := yield(number, next); err != nil {
			return err
		}
		f, last = next, number
	}
	return nil
}

// field is a field's value: a number or bytes, by its wire type.
type field struct {
	wireType protowire.Type
	uint     uint64
	bytes    []byte
	// repeated says that the field before has the same number; before is its
	// bytes then.
	repeated bool
	before   []byte
	// borrowed says that texts may share the record's memory.
	borrowed bool
}

// text returns bytes of the record as a text.
func (f field) text(b []byte) string {
	if f.borrowed {
		return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see Reader
	}
	return string(b)
}

// once says whether the field is of the type and the only one of its number.
func (f field) once(wireType protowire.Type) bool {
	return f.wireType == wireType && !f.repeated
}

func (f field) setUint(v *uint64) error {
	if !f.once(protowire.VarintType) || f.uint == 0 {
		return errSpelling
	}
	*v = f.uint
	return nil
}

// setPositive reads a number from 1 to most.
func (f field) setPositive(v *int64, most int64) error {
	if !f.once(protowire.VarintType) || f.uint == 0 || f.uint > uint64(most) {
		return errSpelling
	}
	*v = int64(f.uint)
	return nil
}

// setEnum reads a value from 1 to last.
func setEnum[T ~uint8](f field, v *T, last T) error {
	if !f.once(protowire.VarintType) || f.uint == 0 || f.uint > uint64(last) {
		return errSpelling
	}
	*v = T(f.uint)
	return nil
}

func (f field) setTime(t *time.Time) error {
	if !f.once(protowire.VarintType) {
		return errSpelling
	}
	decoded := time.UnixMicro(protowire.DecodeZigZag(f.uint)).UTC()
	if year := decoded.Year(); year < minYear || year > maxYear {
		return errors.New("a time lies outside of all years that are used")
	}
	*t = decoded
	return nil
}

func (f field) setString(s *string) error {
	if !f.once(protowire.BytesType) || len(f.bytes) == 0 || !utf8.Valid(f.bytes) {
		return errSpelling
	}
	*s = f.text(f.bytes)
	return nil
}

func (f field) addString(s *[]string) error {
	if f.wireType != protowire.BytesType || len(f.bytes) == 0 || !utf8.Valid(f.bytes) {
		return errSpelling
	}
	*s = append(*s, f.text(f.bytes))
	return nil
}

func (f field) setDigest(d *Digest) error {
	if !f.once(protowire.BytesType) || len(f.bytes) != len(d) {
		return errSpelling
	}
	copy(d[:], f.bytes)
	if d.IsZero() {
		return errSpelling
	}
	return nil
}

func (f field) setID(id *ID) error {
	if !f.once(protowire.BytesType) || len(f.bytes) != len(id) {
		return errSpelling
	}
	copy(id[:], f.bytes)
	return nil
}

func (f field) addPrefix(prefixes *[]netip.Prefix) error {
	var prefix netip.Prefix
	if f.wireType != protowire.BytesType {
		return errSpelling
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

// addEntry reads an entry of a map. Its key comes after the one before.
func (f field) addEntry(m *map[string]string) error {
	key, value, err := f.entry(f.bytes)
	if err != nil {
		return err
	}
	if f.repeated {
		if before, _, err := f.entry(f.before); err != nil || bytes.Compare(before, key) >= 0 {
			return errSpelling
		}
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[f.text(key)] = f.text(value)
	return nil
}

func (f field) entry(b []byte) (key, value []byte, err error) {
	key, b, err = consumeText(b)
	if err == nil {
		value, b, err = consumeText(b)
	}
	if err == nil && (f.wireType != protowire.BytesType || len(b) > 0) {
		err = errSpelling
	}
	return key, value, err
}

func consumeText(b []byte) (text, rest []byte, err error) {
	text, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return nil, nil, protowire.ParseError(n)
	}
	if n != protowire.SizeBytes(len(text)) || !utf8.Valid(text) {
		return nil, nil, errSpelling
	}
	return text, b[n:], nil
}
