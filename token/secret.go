package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unsafe"
)

// A token's text is <prefix><kind>_<id>_<secret><check> and has 55 characters. Everything
// except the secret may be shown.
const (
	prefixLength = 2
	idLength     = 12
	secretLength = 32
	checkLength  = 6

	idStart     = prefixLength + len("k_")
	secretStart = idStart + idLength + len("_")
	checkStart  = secretStart + secretLength

	// SecretTextLength is the length in bytes of a token created by Mollygate.
	SecretTextLength = checkStart + checkLength
	// importedLength is the length of a UUID, which is the format of Mollymawk's own tokens
	// (RFC 9562 section 4).
	importedLength = 36
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// DefaultPrefix is the token prefix unless another is configured.
const DefaultPrefix = "mm"

// Kind is a token's kind. Its letter is the third character of the token's text.
type Kind uint8

const (
	// KindAPI tokens are for the backend, never for the admin API.
	KindAPI Kind = iota + 1
	// KindAdmin tokens are for the admin API, never for the backend.
	KindAdmin
)

// String returns the kind's name in the admin API.
func (k Kind) String() string {
	switch k {
	case KindAPI:
		return "api"
	case KindAdmin:
		return "admin"
	}
	return "unknown"
}

func (k Kind) letter() byte {
	if k == KindAdmin {
		return 'a'
	}
	return 'k'
}

func kindOfLetter(letter byte) (Kind, bool) {
	switch letter {
	case 'k':
		return KindAPI, true
	case 'a':
		return KindAdmin, true
	}
	return 0, false
}

// Format is the origin of a token's text.
type Format uint8

const (
	// FormatNative tokens were created by Mollygate.
	FormatNative Format = iota + 1
	// FormatImported tokens are UUIDs created by Mollymawk. They contain neither an ID nor a
	// checksum; the store finds them by their digest.
	FormatImported
)

// String returns the format's name in the admin API.
func (f Format) String() string {
	if f == FormatImported {
		return "imported"
	}
	return "native"
}

// ID is a token's public identifier: 12 base62 characters. It may be shown and logged.
type ID [idLength]byte

// ParseID parses an ID as [ID.String] prints it.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idLength || !isBase62(s) {
		return id, fmt.Errorf("a token ID has %d characters from 0-9, A-Z and a-z", idLength)
	}
	copy(id[:], s)
	return id, nil
}

// String returns the ID's 12 characters.
func (id ID) String() string { return string(id[:]) }

// Digest is the SHA-256 digest of a token's complete text. The secret isn't stored in any
// other form. 190 random bits don't need a slow password hash (OWASP ASVS 5.0 section 6.5.2).
type Digest [sha256.Size]byte

// String reveals nothing about the digest, so the digest can't end up in a log.
func (Digest) String() string { return "[digest]" }

// Format reveals nothing about the digest with any verb; %d and %#v wouldn't call String.
func (d Digest) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, d.String()) }

// MarshalText reveals nothing about the digest to JSON and other encoders.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// IsZero reports whether the digest is unset.
func (d Digest) IsZero() bool { return d == Digest{} }

// Secret is the text of a newly created token. It prints as its public part; only
// [Secret.Reveal] returns the complete text.
type Secret struct {
	// text is a pointer because fmt prints unexported fields of other structs without calling
	// their methods.
	text *string
}

// Reveal returns the token's complete text, for the one response that shows it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns the token's public part.
func (s Secret) String() string {
	if s.text == nil {
		return "[secret]"
	}
	return (*s.text)[:secretStart] + "…"
}

// Format prints the public part with any verb; %d and %#v wouldn't call String.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// MarshalText returns the public part, for JSON and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// newSecret generates a token's text from random, which is nil except in tests.
func newSecret(random io.Reader, prefix string, kind Kind, id ID) (Secret, error) {
	secret, err := randomBase62(random, secretLength)
	if err != nil {
		return Secret{}, fmt.Errorf("generating a secret: %w", err)
	}
	var b strings.Builder
	b.Grow(SecretTextLength)
	b.WriteString(prefix)
	b.WriteByte(kind.letter())
	b.WriteByte('_')
	b.Write(id[:])
	b.WriteByte('_')
	b.Write(secret)
	check := checkDigits(b.String())
	b.Write(check[:])
	text := b.String()
	return Secret{text: &text}, nil
}

// NewID returns a random ID. It uses the system's CSPRNG if random is nil.
func NewID(random io.Reader) (ID, error) {
	b, err := randomBase62(random, idLength)
	if err != nil {
		return ID{}, fmt.Errorf("generating a token ID: %w", err)
	}
	return ID(b), nil
}

// randomBase62 returns n uniformly distributed characters. It discards byte values of 248 and
// above, because 256 isn't a multiple of 62.
func randomBase62(random io.Reader, n int) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	const limit = 256 - 256%len(base62)
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4)
	for len(out) < n {
		if _, err := io.ReadFull(random, buf); err != nil {
			return nil, err
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, base62[int(b)%len(base62)])
			}
		}
	}
	return out, nil
}

// checkDigits returns the CRC-32 (IEEE) of s as six base62 digits.
func checkDigits(s string) [checkLength]byte {
	// Avoid a copy, which would cost an allocation per presented token; crc32 only reads.
	sum := crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s))) //nolint:gosec // see above
	var digits [checkLength]byte
	for i := checkLength - 1; i >= 0; i-- {
		digits[i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return digits
}

// DigestOf returns the digest of a token's text.
func DigestOf(text string) Digest {
	var buf [64]byte // large enough for a token's text, to avoid allocating
	if len(text) > len(buf) {
		return sha256.Sum256([]byte(text))
	}
	n := copy(buf[:], text)
	return sha256.Sum256(buf[:n])
}

// inBase62 is the set of base62 digits.
var inBase62 = func() (in [256]bool) {
	for i := range len(base62) {
		in[base62[i]] = true
	}
	return in
}()

func isBase62(s string) bool {
	for i := range len(s) {
		if !inBase62[s[i]] {
			return false
		}
	}
	return true
}

// Interface guards.
var (
	_ fmt.Formatter          = Secret{}
	_ fmt.Formatter          = Digest{}
	_ encoding.TextMarshaler = Secret{}
	_ encoding.TextMarshaler = Digest{}
)
