package token

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mollygate/mollygate/internal/wire"
)

func TestTokenRecord(t *testing.T) {
	t.Parallel()
	for _, token := range []*Token{fullToken(), minimalToken()} {
		record := EncodeToken(token)
		decoded, err := DecodeToken(token.ID, record)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(decoded, token) {
			t.Errorf("got  %+v\nwant %+v", decoded, token)
		}
		// The token shares no memory with the record.
		clear(record)
		if !reflect.DeepEqual(decoded, token) {
			t.Error("changing the record changed the token")
		}
	}
	if a, b := EncodeToken(fullToken()), EncodeToken(fullToken()); !bytes.Equal(a, b) {
		t.Error("encoding the same token twice returned different records")
	}
}

// TestEveryFieldIsRecorded checks that fullToken sets every field, which makes TestTokenRecord
// fail if a field is missing from the record. It also checks that terms that differ in any
// field have different keys.
func TestEveryFieldIsRecorded(t *testing.T) {
	t.Parallel()
	full := reflect.ValueOf(fullToken()).Elem()
	eachField(full, func(name string, field reflect.Value) {
		if field.IsZero() && name != "Damaged" { // set only if the record is unreadable
			t.Errorf("fullToken doesn't set %s", name)
		}
	})
	key := fullToken().Key()
	var terms Terms
	eachField(reflect.ValueOf(&terms).Elem(), func(name string, field reflect.Value) {
		terms = fullToken().Terms
		if field.SetZero(); terms.Key() == key {
			t.Errorf("terms that differ in %s have the same key", name)
		}
	})
}

// eachField calls visit for each field of a struct, including the fields of nested structs
// from this package.
func eachField(v reflect.Value, visit func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Kind() == reflect.Struct && field.Type().PkgPath() == v.Type().PkgPath() {
			eachField(field, visit)
			continue
		}
		visit(v.Type().Field(i).Name, field)
	}
}

// TestClone checks that a clone is equal and shares no memory.
func TestClone(t *testing.T) {
	t.Parallel()
	for _, token := range []*Token{fullToken(), minimalToken(), {}} {
		record := EncodeToken(token)
		clone, terms := token.Clone(), token.Terms.Clone()
		if !reflect.DeepEqual(clone, token) || !reflect.DeepEqual(*terms, token.Terms) {
			t.Fatalf("got  %+v, %+v\nwant %+v", clone, terms, token)
		}
		clear(token.Scopes)
		clear(token.AllowedIPs)
		clear(token.Metadata)
		if !bytes.Equal(EncodeToken(clone), record) || terms.Key() != clone.Key() {
			t.Errorf("changing the token changed its clones %+v, %+v", clone, terms)
		}
	}
}

// TestCloneInvalid checks that Clone panics on invalid terms rather than returning a copy
// without restrictions.
func TestCloneInvalid(t *testing.T) {
	t.Parallel()
	terms := Terms{Kind: KindAPI, RateLimit: RateLimit{Requests: maxRateRequests + 1, Window: time.Second},
		Quota: Quota{1, PeriodDay}}
	defer func() {
		if recover() == nil {
			t.Error("Clone didn't panic")
		}
	}()
	t.Errorf("Clone returned %+v, want a panic", terms.Clone())
}

// TestTokenRecordTimes checks that every valid time survives encoding.
func TestTokenRecordTimes(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		time.Date(minYear, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0).UTC(), time.UnixMicro(-1).UTC(),
		time.Date(maxYear, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		token := minimalToken()
		token.ExpiresAt = at
		decoded, err := DecodeToken(token.ID, EncodeToken(token))
		if err != nil || !decoded.ExpiresAt.Equal(at) {
			t.Errorf("%s was decoded as %v, error %v", at, decoded, err)
		}
	}
}

// TestEncodeInvalidUTF8 checks that an actor's name can't make a token unreadable.
func TestEncodeInvalidUTF8(t *testing.T) {
	t.Parallel()
	token := minimalToken()
	token.CreatedBy = "bob\xff"
	if decoded, err := DecodeToken(token.ID, EncodeToken(token)); err != nil || decoded.CreatedBy != "bob\ufffd" {
		t.Errorf("got %v, error %v; want the invalid byte replaced", decoded, err)
	}
}

func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	record := EncodeToken(fullToken())
	refused := func(what string, id ID, record []byte) {
		t.Helper()
		if token, err := DecodeToken(id, record); !errors.Is(err, ErrDamaged) || token != nil {
			t.Errorf("%s: got %v, error %v; want ErrDamaged", what, token, err)
		}
	}
	for i := range record {
		for bit := range 8 {
			flipped := bytes.Clone(record)
			flipped[i] ^= 1 << bit
			refused("a flipped bit", testID, flipped)
		}
		refused("a truncation", testID, record[:i])
	}
	refused("another token's record", ID([]byte("4fQ9Zt2LkVb8")), record)
	refused("a usage record", testID, wire.AddChecksum('u', testID[:], nil))
	refused("an audit record", testID, wire.AddChecksum('a', testID[:], nil))
	refused("a trailing zero", testID, append(bytes.Clone(record), 0))
	refused("a repeated record", testID, append(bytes.Clone(record), record...))
	refused("an empty record", testID, nil)
	refused("zeros", testID, make([]byte, 100))
}

// TestInvalidFields adds valid checksums to fields that EncodeToken never writes. Decoding
// must fail for all of them: a lenient decoder might return a token that allows more.
func TestInvalidFields(t *testing.T) {
	t.Parallel()
	const tag = protowire.VarintType
	minimal := func() []byte {
		record := EncodeToken(minimalToken())
		return record[:len(record)-crc32.Size]
	}
	// with returns the minimal token's fields and replaces the fields with this number.
	with := func(number protowire.Number, fields ...[]byte) []byte {
		var out []byte
		added := false
		b := minimal()
		for len(b) > 0 {
			n, _, length := protowire.ConsumeField(b)
			if !added && n >= number {
				out = append(out, bytes.Join(fields, nil)...)
				added = true
			}
			if n != number {
				out = append(out, b[:length]...)
			}
			b = b[length:]
		}
		if !added {
			out = append(out, bytes.Join(fields, nil)...)
		}
		return out
	}
	number := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, tag), v)
	}
	text := func(n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
	}
	timeField := func(n protowire.Number, micros int64) []byte { return number(n, protowire.EncodeZigZag(micros)) }
	digest := DigestOf(vector)
	entry := func(parts ...string) []byte {
		var b []byte
		for _, part := range parts {
			b = protowire.AppendString(b, part)
		}
		return text(fieldMetadata, string(b))
	}
	if _, err := DecodeToken(testID, wire.AddChecksum(tokenRecord, testID[:], minimal())); err != nil {
		t.Fatal(err)
	}
	for name, fields := range map[string][]byte{
		"no fields":                  {},
		"no kind":                    with(fieldKind),
		"no format":                  with(fieldFormat),
		"no creation time":           with(fieldCreatedAt),
		"no digest":                  with(fieldDigest),
		"no version":                 with(fieldVersion),
		"unknown field":              with(100, number(100, 1)),
		"next field":                 with(fieldQuotaPeriod+1, number(fieldQuotaPeriod+1, 1)),
		"half a rate limit":          with(fieldRateRequests, number(fieldRateRequests, 1)),
		"other half of a rate limit": with(fieldRateWindow, number(fieldRateWindow, 1)),
		"rate too high": with(fieldRateRequests, number(fieldRateRequests, maxRateRequests+1),
			number(fieldRateWindow, 1)),
		"rate, negative": with(fieldRateRequests, number(fieldRateRequests, 1<<63), number(fieldRateWindow, 1)),
		"rate of 0":      with(fieldRateRequests, number(fieldRateRequests, 0), number(fieldRateWindow, 1)),
		"window too long": with(fieldRateRequests, number(fieldRateRequests, 1),
			number(fieldRateWindow, 24*60*60+1)),
		"window that overflows": with(fieldRateRequests, number(fieldRateRequests, 1), number(fieldRateWindow, 1<<63)),
		"half a quota":          with(fieldQuotaRequests, number(fieldQuotaRequests, 1)),
		"quota's other half":    with(fieldQuotaPeriod, number(fieldQuotaPeriod, 1)),
		"quota too high": with(fieldQuotaRequests, number(fieldQuotaRequests, maxQuotaRequests+1),
			number(fieldQuotaPeriod, 1)),
		"unknown period":  with(fieldQuotaRequests, number(fieldQuotaRequests, 1), number(fieldQuotaPeriod, 3)),
		"field 0":         append([]byte{0}, minimal()...),
		"kind 0":          with(fieldKind, number(fieldKind, 0)),
		"kind 3":          with(fieldKind, number(fieldKind, 3)),
		"kind 257":        with(fieldKind, number(fieldKind, 257)),
		"kind 2^32+1":     with(fieldKind, number(fieldKind, 1<<32+1)),
		"kind twice":      with(fieldKind, number(fieldKind, 1), number(fieldKind, 2)),
		"kind as text":    with(fieldKind, text(fieldKind, "\x01")),
		"format 3":        with(fieldFormat, number(fieldFormat, 3)),
		"version 0":       with(fieldVersion, number(fieldVersion, 0)),
		"version twice":   with(fieldVersion, number(fieldVersion, 1), number(fieldVersion, 1)),
		"name twice":      with(fieldName, text(fieldName, "a"), text(fieldName, "b")),
		"name invalid":    with(fieldName, text(fieldName, "\xff")),
		"name as number":  with(fieldName, number(fieldName, 1)),
		"scope invalid":   with(fieldScope, text(fieldScope, "*\xff")),
		"empty scope":     with(fieldScope, text(fieldScope, "")),
		"scope as number": with(fieldScope, number(fieldScope, '*')),
		"digest twice": with(fieldDigest, text(fieldDigest, string(digest[:])),
			text(fieldDigest, string(digest[:]))),
		"digest, short":   with(fieldDigest, text(fieldDigest, string(digest[:31]))),
		"digest, long":    with(fieldDigest, text(fieldDigest, string(digest[:])+"x")),
		"digest of zeros": with(fieldDigest, text(fieldDigest, string(make([]byte, 32)))),
		// The zero time would mean that the token never expires.
		"expiry at the zero time": with(fieldExpiresAt, timeField(fieldExpiresAt, time.Time{}.UnixMicro())),
		"expiry twice": with(fieldExpiresAt, timeField(fieldExpiresAt, 1),
			timeField(fieldExpiresAt, math.MaxInt64)),
		"expiry after the last year": with(fieldExpiresAt, timeField(fieldExpiresAt, math.MaxInt64)),
		"expiry in the year 0":       with(fieldExpiresAt, timeField(fieldExpiresAt, math.MinInt64)),
		"expiry as text":             with(fieldExpiresAt, text(fieldExpiresAt, "\x01")),
		"expiry as fixed64": with(fieldExpiresAt,
			protowire.AppendFixed64(protowire.AppendTag(nil, fieldExpiresAt, protowire.Fixed64Type), 1)),
		"expiry as fixed32": with(fieldExpiresAt,
			protowire.AppendFixed32(protowire.AppendTag(nil, fieldExpiresAt, protowire.Fixed32Type), 1)),
		"expiry as group": with(fieldExpiresAt,
			protowire.AppendGroup(protowire.AppendTag(nil, fieldExpiresAt, protowire.StartGroupType),
				fieldExpiresAt, nil)),
		"revocation at the zero time": with(fieldRevokedAt, timeField(fieldRevokedAt, time.Time{}.UnixMicro())),
		"range of no family":          with(fieldAllowedIP, text(fieldAllowedIP, "\x00")),
		"range, empty":                with(fieldAllowedIP, text(fieldAllowedIP, "")),
		"range, too long":             with(fieldAllowedIP, text(fieldAllowedIP, "\x0a\x00\x00\x00\x21")),
		"range with a zone":           with(fieldAllowedIP, text(fieldAllowedIP, string(make([]byte, 16))+"eth0\x40")),
		"range, odd length":           with(fieldAllowedIP, text(fieldAllowedIP, "\x0a\x00\x00\x00\x00\x08")),
		"range as number":             with(fieldAllowedIP, number(fieldAllowedIP, 1)),
		"entry, empty":                with(fieldMetadata, entry()),
		"entry, only a key":           with(fieldMetadata, entry("a")),
		"entry with more":             with(fieldMetadata, entry("a", "b", "c")),
		"entry invalid":               with(fieldMetadata, entry("a", "\xff")),
		"entry as number":             with(fieldMetadata, number(fieldMetadata, 1)),
		"duplicate entries":           with(fieldMetadata, entry("a", "b"), entry("a", "c")),
		"entry after a number":        with(fieldMetadata, number(fieldMetadata, 1), entry("a", "")),
		"cut in a tag":                append(minimal(), 0x80),
		"cut in a number":             append(minimal(), number(fieldVersion, 1)[0], 0x80),
		"cut in a text":               append(minimal(), byte(100<<3&0x7f)|2, 9, 'a'),
		"length beyond the end":       with(fieldName, []byte{byte(fieldName)<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f}),
		"trailing zero":               append(minimal(), 0),
	} {
		token, err := DecodeToken(testID, wire.AddChecksum(tokenRecord, testID[:], fields))
		if !errors.Is(err, ErrDamaged) || token != nil {
			t.Errorf("%s: got %v, error %v; want ErrDamaged", name, token, err)
		}
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add(fieldsOf(EncodeToken(fullToken())))
	f.Add(fieldsOf(EncodeToken(minimalToken())))
	f.Add([]byte{})
	f.Add([]byte{8, 1, 16, 1})
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := DecodeToken(testID, fields); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("without a checksum: got error %v, want ErrDamaged", err)
		}
		record := seal(tokenRecord, testID[:], fields)
		token, err := DecodeToken(testID, record)
		if err != nil {
			if token != nil || !errors.Is(err, ErrDamaged) {
				t.Fatalf("got token %v, error %v; want only ErrDamaged", token, err)
			}
			return
		}
		if again, err := DecodeToken(testID, EncodeToken(token)); err != nil || !reflect.DeepEqual(again, token) {
			t.Fatalf("decoded %+v, but after encoding it again, decoded %+v, error %v", token, again, err)
		}
		if clone := token.Clone(); !reflect.DeepEqual(clone, token) {
			t.Fatalf("the clone of %+v is %+v", token, clone)
		}
		if token.Status(testTime) == 0 || token.Digest.IsZero() || token.ExpiresAt.Year() > maxYear {
			t.Fatalf("decoding accepted an invalid token: %+v", token)
		}
	})
}
