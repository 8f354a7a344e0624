package tokenstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

func FuzzDecodeUsage(f *testing.F) {
	f.Add(fieldsOf(EncodeUsage(testID, Usage{})))
	f.Add(
		fieldsOf(EncodeUsage(testID,
			Usage{Allowed: math.MaxUint64, Denied: 1,
				Last: LastUse{testTime, "203.0.113.7", "curl/8.9", "GET /api/unikernels"}})))
	f.Add(
		fieldsOf(EncodeUsage(testID,
			Usage{Days: []DayUsage{fullDay}, Previous: LastUse{Time: testTime, IP: "203.0.113.7", UserAgent: "curl/8.9",
				Route: "GET /api/unikernels"}})))
	f.Add(fieldsOf(EncodeUsage(testID, Usage{Resources: []ResourceUse{{"block/*", -1}, {"unikernel/web", 20000}}})))
	f.Add([]byte{8, 0})
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := DecodeUsage(testID, fields); err != nil && !errors.Is(err, token.ErrDamaged) {
			t.Fatalf("decoding without a checksum: got error %v, want ErrDamaged", err)
		}
		record := hostile(usageRecord, testID[:], fields)
		usage, err := DecodeUsage(testID, record)
		if err != nil {
			if !reflect.DeepEqual(usage, Usage{}) || !errors.Is(err, token.ErrDamaged) {
				t.Fatalf("failed decoding returned %v, %v, want no usage and ErrDamaged", usage, err)
			}
			return
		}
		if again, err := DecodeUsage(testID, EncodeUsage(testID, usage)); err != nil ||
			!reflect.DeepEqual(again, usage) {
			t.Fatalf("decoded %+v, but a round trip returned %+v, %v", usage, again, err)
		}
	})
}

func fullDayHour(hour time.Duration) time.Time { return Day(-3).Start().Add(hour * time.Hour) }

func FuzzDecodeDay(f *testing.F) {
	key := []byte("day and id")
	f.Add(fieldsOf(EncodeDay(key, DayUsage{})))
	f.Add(fieldsOf(EncodeDay(key, fullDay)))
	f.Add(fieldsOf(EncodeDay(key, fullDay.AsWhole())))
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := DecodeDay(key, 1, fields); err != nil && !errors.Is(err, token.ErrDamaged) {
			t.Fatalf("decoding without a checksum: got error %v, want ErrDamaged", err)
		}
		record := hostile(dayRecord, key, fields)
		day, err := DecodeDay(key, 1, record)
		if err != nil {
			if !errors.Is(err, token.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again, err := DecodeDay(key, 1, EncodeDay(key, day)); err != nil || !reflect.DeepEqual(again, day) {
			t.Fatalf("decoded %+v, but a round trip returned %+v, %v", day, again, err)
		}
	})
}

func FuzzDecodeAuditEntry(f *testing.F) {
	key := binary.BigEndian.AppendUint64(make([]byte, 8), 7)
	f.Add(fieldsOf(EncodeAuditEntry(key, AuditEntry{})))
	f.Add(
		fieldsOf(EncodeAuditEntry(key, AuditEntry{testTime, "caddy-admin", "create", testID, "CI", "127.0.0.1",
			map[string]string{"name": "a", "scopes": "b"}})))
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := DecodeAuditEntry(key, fields); err != nil && !errors.Is(err, token.ErrDamaged) {
			t.Fatalf("decoding without a checksum: got error %v, want ErrDamaged", err)
		}
		record := hostile(auditRecord, key, fields)
		entry, err := DecodeAuditEntry(key, record)
		if err != nil {
			if !reflect.ValueOf(entry).IsZero() || !errors.Is(err, token.ErrDamaged) {
				t.Fatalf("failed decoding returned %v, %v, want no entry and ErrDamaged", entry, err)
			}
			return
		}
		if again, err := DecodeAuditEntry(key, EncodeAuditEntry(key, entry)); err != nil ||
			!reflect.DeepEqual(again, entry) {
			t.Fatalf("decoded %+v, but a round trip returned %+v, %v", entry, again, err)
		}
	})
}

func FuzzDecodeEnded(f *testing.F) {
	digest := token.DigestOf("text")
	f.Add(fieldsOf(EncodeEnded(EndedSecret{digest, testTime})))
	f.Add(fieldsOf(EncodeEnded(EndedSecret{Digest: digest})))
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := DecodeEnded(digest, fields); err != nil && !errors.Is(err, token.ErrDamaged) {
			t.Fatalf("decoding without a checksum: got error %v, want ErrDamaged", err)
		}
		record := hostile(endedRecord, digest[:], fields)
		ended, err := DecodeEnded(digest, record)
		if err != nil {
			if ended != (EndedSecret{}) || !errors.Is(err, token.ErrDamaged) {
				t.Fatalf("failed decoding returned %v, %v, want nothing and ErrDamaged", ended, err)
			}
			return
		}
		if again, err := DecodeEnded(ended.Digest, EncodeEnded(ended)); err != nil || again != ended {
			t.Fatalf("decoded %+v, but a round trip returned %+v, %v", ended, again, err)
		}
	})
}

// fullDay has every kind of point.
var fullDay = DayUsage{Day: -3, Points: []Point{
	{fullDayHour(7), "", "route_not_allowed", 1},
	{fullDayHour(0), "unikernel:list", "insufficient_scope", 1},
	{fullDayHour(23), "unikernel:list", "insufficient_scope", 300},
	{fullDayHour(12), "unikernel:list", OutcomeOK, math.MaxUint64},
}}

func TestRecordChecksum(t *testing.T) {
	t.Parallel()
	tok := fullToken()
	one := RecordChecksum(token.EncodeToken(tok))
	tok.RevokedAt = time.Time{}
	if two := RecordChecksum(token.EncodeToken(tok)); one == two {
		t.Error("two versions of a token have the same checksum")
	}
	if RecordChecksum([]byte{1, 2, 3}) != [crc32.Size]byte{} {
		t.Error("RecordChecksum of a record that is too short isn't zero")
	}
}

// TestEncodeInvalidUTF8 verifies that invalid UTF-8 from a client doesn't make a record
// unreadable.
func TestEncodeInvalidUTF8(t *testing.T) {
	t.Parallel()
	entry := AuditEntry{Time: testTime, Actor: "\xff", Action: "create", TokenID: testID, Address: "\xc0",
		Changes: map[string]string{"name": "\x80"}}
	if _, err := DecodeAuditEntry(nil, EncodeAuditEntry(nil, entry)); err != nil {
		t.Error(err)
	}
	used := Usage{Last: LastUse{Time: testTime, IP: "\xff", UserAgent: "\xff", Route: "\xff"}}
	if _, err := DecodeUsage(testID, EncodeUsage(testID, used)); err != nil {
		t.Error(err)
	}
}
