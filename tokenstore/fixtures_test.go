package tokenstore

import (
	"bytes"
	"hash/crc32"
	"math"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

var testID = token.ID([]byte("4fQ9Zt2LkVb7"))

// vector is the secret of a native token.
const vector = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"

// fullToken has every field set.
func fullToken() *token.Token {
	at := func(hours time.Duration) time.Time { return testTime.Add(hours * time.Hour) }
	return &token.Token{
		ID: testID, Format: token.FormatNative, Prefix: "mm", Name: "GitHub CI",
		Terms: token.Terms{
			Kind: token.KindAPI, Account: "alice", Scopes: token.Grants{"block:*", "unikernel:list"},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
				netip.MustParsePrefix("0.0.0.0/0")},
			RateLimit: token.RateLimit{Requests: 1_000_000_000, Window: 24 * time.Hour},
			Quota:     token.Quota{Requests: 999_999_999_999_999, Period: token.PeriodMonth},
		},
		Metadata:  map[string]string{"a": "1", "b": "", "": "no name", "ä": "ö"},
		CreatedAt: at(0), CreatedBy: "caddy-admin", UpdatedAt: at(1), NotBefore: at(2), ExpiresAt: at(3),
		RevokedAt: at(4), DisabledAt: at(5),
		Digest: token.DigestOf(vector), SecretMadeAt: at(6), PreviousDigest: token.DigestOf("old"),
		PreviousValidUntil: at(7), Version: math.MaxUint64,
	}
}

// leastToken has only the required fields set.
func leastToken() *token.Token {
	return &token.Token{ID: testID, Terms: token.Terms{Kind: token.KindAdmin}, Format: token.FormatImported,
		CreatedAt: time.UnixMicro(1).UTC(), Digest: token.DigestOf(vector), Version: 1}
}

func validDraft() token.Draft {
	return token.Draft{Kind: token.KindAPI, Name: "GitHub CI", Scopes: token.Grants{"unikernel:list"},
		Expiry: token.Expiry{ExpiresIn: months(1)}}
}

func mustLifetime(t *testing.T, text string) token.Lifetime {
	t.Helper()
	lifetime, err := token.ParseLifetime(text)
	if err != nil {
		t.Fatal(err)
	}
	return lifetime
}

// Offsets in a token's secret; see token.Secret.
const (
	idOffset     = 4
	secretOffset = 17
	checkOffset  = 49
	importedText = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"

	longestName = 100
)

// months and seconds return lifetimes.
func months(n int) token.Lifetime { return lifetime(n, "mo") }

func seconds(n int64) token.Lifetime { return lifetime(int(n), "s") }

func lifetime(n int, unit string) token.Lifetime {
	l, err := token.ParseLifetime(strconv.Itoa(n) + unit)
	if err != nil {
		panic(err)
	}
	return l
}

// checksumOf returns the checksum for a token's secret.
func checksumOf(text string) string {
	digits := []byte("000000")
	for i, sum := 5, crc32.ChecksumIEEE([]byte(text)); i >= 0; i-- {
		digits[i] = digits62[sum%62]
		sum /= 62
	}
	return string(digits)
}

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// hostile turns the fuzzer's fields into a record with a correct checksum.
func hostile(kind byte, key, fields []byte) []byte {
	return wire.AddChecksum(kind, key, bytes.Clone(fields))
}

func fieldsOf(record []byte) []byte { return record[:len(record)-crc32.Size] }
