package token

import (
	"bytes"
	"hash/crc32"
	"math"
	"net/netip"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
)

var testTime = time.Date(2027, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

var testPolicy = Policy{
	Prefixes:    Prefixes{DefaultPrefix},
	MaxLifetime: Lifetime{months: 24},
	Accounts:    []string{"alice", "default"},
	Catalog: Catalog{
		Scopes: []CatalogScope{
			{Scope: Scope{Name: "block:list"}}, {Scope: Scope{Name: "monitoring:update", Explicit: true}},
			{Scope: Scope{Name: "unikernel:create"}}, {Scope: Scope{Name: "unikernel:list"}},
		},
		Presets: map[string]Grants{"read": {"unikernel:list", "block:list"}, "full": {"*"}},
	},
}

var testID = ID([]byte("4fQ9Zt2LkVb7"))

// vector is a token in Mollygate's own format.
const vector = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

// fullToken has every field set.
func fullToken() *Token {
	at := func(hours time.Duration) time.Time { return testTime.Add(hours * time.Hour) }
	return &Token{
		ID: testID, Format: FormatNative, Prefix: "mm", Name: "GitHub CI",
		Terms: Terms{
			Kind: KindAPI, Account: "alice", Scopes: Grants{"block:*", "unikernel:list"},
			Resources: Resources{"instance/default", "unikernel/web-*"},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
				netip.MustParsePrefix("0.0.0.0/0")},
			RateLimit: RateLimit{maxRateRequests, maxWindow},
			Quota:     Quota{maxQuotaRequests, PeriodMonth},
		},
		Metadata:  map[string]string{"a": "1", "b": "", "": "no name", "ä": "ö"},
		CreatedAt: at(0), CreatedBy: "caddy-admin", UpdatedAt: at(1), NotBefore: at(2), ExpiresAt: at(3),
		RevokedAt: at(4), DisabledAt: at(5),
		Digest: DigestOf(vector), SecretMadeAt: at(6), PreviousDigest: DigestOf("old"), PreviousValidUntil: at(7),
		Version: math.MaxUint64,
	}
}

// minimalToken has only the required fields.
func minimalToken() *Token {
	return &Token{ID: testID, Terms: Terms{Kind: KindAdmin}, Format: FormatImported,
		CreatedAt: time.UnixMicro(1).UTC(), Digest: DigestOf(vector), Version: 1}
}

func validDraft() Draft {
	return Draft{Kind: KindAPI, Name: "GitHub CI", Scopes: Grants{"unikernel:list"},
		Expiry: Expiry{ExpiresIn: Lifetime{months: 1}}}
}

const importedText = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"

// seal turns fields from the fuzzer into a record with a valid checksum.
func seal(kind byte, key, fields []byte) []byte {
	return wire.AddChecksum(kind, key, bytes.Clone(fields))
}

func fieldsOf(record []byte) []byte { return record[:len(record)-crc32.Size] }
