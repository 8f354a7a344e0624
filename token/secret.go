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

// The text form of a token: <prefix><kind>_<id>_<secret><check>, 55 characters,
// of which everything but the secret may be shown.
const (
	prefixLength = 2
	idLength     = 12
	secretLength = 32
	checkLength  = 6

	idStart     = prefixLength + len("k_")
	secretStart = idStart + idLength + len("_")
	checkStart  = secretStart + secretLength

	// SecretTextLength is the length in bytes of a token as Mollygate makes it.
	SecretTextLength = checkStart + checkLength
	// importedLength is the length of a UUID's text, the form of Mollymawk's
	// own tokens (RFC 9562 section 4).
	importedLength = 36
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// DefaultPrefix is the two letters that tokens begin with unless configured
// otherwise.
const DefaultPrefix = "mm"

// Kind says what a token is for. Its letter is the third of the token's text.
type Kind uint8

const (
	// KindAPI tokens call the backend, never the admin API.
	KindAPI Kind = iota + 1
	// KindAdmin tokens call the admin API, never the backend.
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

// Format says where a token's text comes from.
type Format uint8

const (
	// FormatNative tokens were made by Mollygate.
	FormatNative Format = iota + 1
	// FormatImported tokens are UUIDs that Mollymawk made; they carry no id and
	// no checksum and are found by their digest.
	FormatImported
)

// String returns the format's name in the admin API.
func (f Format) String() string {
	if f == FormatImported {
		return "imported"
	}
	return "native"
}

// ID is a token's public handle: 12 base62 characters. It may be shown and
// logged.
type ID [idLength]byte

// ParseID reads an id as [ID.String] prints it.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idLength || !isBase62(s) {
		return id, fmt.Errorf("a token id is %d characters of 0-9, A-Z, a-z", idLength)
	}
	copy(id[:], s)
	return id, nil
}

// String returns the id's 12 characters.
func (id ID) String() string { return string(id[:]) }

// Digest is the SHA-256 of a token's whole text, the only form of a secret that
// is kept. A slow password hash is not needed for 190 random bits (OWASP ASVS 5.0
// section 6.5.2).
type Digest [sha256.Size]byte

// String returns nothing of the digest, so that none can reach a log.
func (Digest) String() string { return "[digest]" }

// Format prints nothing of the digest, whatever the verb; %d and %#v would not
// ask String.
func (d Digest) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, d.String()) }

// MarshalText returns nothing of the digest, for JSON and other encoders.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// IsZero says whether no digest is set.
func (d Digest) IsZero() bool { return d == Digest{} }

// Secret is the text of a token just made. It prints as its public part; only
// [Secret.Reveal] gives the text away.
type Secret struct {
	// text is pointed to, because fmt prints what an unexported field of another
	// struct holds without asking its methods.
	text *string
}

// Reveal returns the token's whole text, for the one answer that shows it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// String returns the public part of the token.
func (s Secret) String() string {
	if s.text == nil {
		return "[secret]"
	}
	return (*s.text)[:secretStart] + "…"
}

// Format prints the public part, whatever the verb; %d and %#v would not ask
// String.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// MarshalText returns the public part, for JSON and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// newSecret makes a token's text from random, which is the system's CSPRNG
// except in tests.
func newSecret(random io.Reader, prefix string, kind Kind, id ID) (Secret, error) {
	secret, err := randomBase62(random, secretLength)
	if err != nil {
		return Secret{}, fmt.Errorf("making a secret: %w", err)
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

// NewID makes a random id. random is the system's CSPRNG if it is nil.
func NewID(random io.Reader) (ID, error) {
	b, err := randomBase62(random, idLength)
	if err != nil {
		return ID{}, fmt.Errorf("making a token id: %w", err)
	}
	return ID(b), nil
}

// randomBase62 draws n characters, each equally likely: bytes from 248 on are
// thrown away, because 256 is no multiple of 62.
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
	// A copy would be allocated, for each presented token; crc32 only reads.
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
	var buf [64]byte // a token's text fits, so nothing is allocated
	if len(text) > len(buf) {
		return sha256.Sum256([]byte(text))
	}
	n := copy(buf[:], text)
	return sha256.Sum256(buf[:n])
}

// inBase62 says of every byte whether it is a base62 digit.
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

// Interface guards
var (
	_ fmt.Formatter          = Secret{}
	_ fmt.Formatter          = Digest{}
	_ encoding.TextMarshaler = Secret{}
	_ encoding.TextMarshaler = Digest{}
)
