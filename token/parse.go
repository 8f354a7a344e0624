package token

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrMalformed means that a text isn't a token: its prefix, length, alphabet or checksum is
// wrong. Detecting this requires no store lookup.
var ErrMalformed = errors.New("the token is malformed")

// Credential holds what a presented token reveals before any lookup.
type Credential struct {
	Format Format
	// Kind and ID are set for FormatNative only. They are unverified, because a store finds
	// tokens by Digest alone.
	Kind   Kind
	ID     ID
	Digest Digest
}

// Prefixes are the two-letter prefixes of tokens. New tokens use the first prefix; Parse
// accepts all of them.
type Prefixes []string

// Validate returns an error if the list is invalid.
func (p Prefixes) Validate() error {
	if len(p) == 0 {
		return errors.New("at least one token prefix is needed, for example: prefix mm")
	}
	for i, prefix := range p {
		if len(prefix) != prefixLength || strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz") != "" {
			return fmt.Errorf("token prefix %d of %d: write two lower-case letters, for example: prefix mm",
				i+1, len(p))
		}
		if slices.Contains(p[:i], prefix) {
			return fmt.Errorf("token prefix %q is listed twice", prefix)
		}
	}
	return nil
}

// Parse parses a presented token without a lookup. The error is always [ErrMalformed].
func (p Prefixes) Parse(text string) (Credential, error) {
	credential, err := p.ParseUnchecked(text)
	if err == nil && !credential.Check(text) {
		return Credential{}, ErrMalformed
	}
	return credential, err
}

// ParseUnchecked is like Parse, but doesn't check the checksum and the characters of Mollygate's own
// tokens; see [Credential.Check]. The check is not necessary if a token with the digest exists,
// because no other text has that digest.
func (p Prefixes) ParseUnchecked(text string) (Credential, error) {
	if len(text) == importedLength && isUUIDv4(text) {
		return Credential{Format: FormatImported, Digest: DigestOf(text)}, nil
	}
	kind, ok := p.outline(text)
	if !ok {
		return Credential{}, ErrMalformed
	}
	credential := Credential{Format: FormatNative, Kind: kind, Digest: DigestOf(text)}
	copy(credential.ID[:], text[idStart:])
	return credential, nil
}

// Check reports whether the text from which c was parsed is well-formed in every respect.
func (c *Credential) Check(text string) bool { return c.Format == FormatImported || isWellFormed(text) }

// outline reports whether a text has the length, prefix and separators of Mollygate's own tokens,
// and returns the token's kind.
func (p Prefixes) outline(text string) (Kind, bool) {
	if len(text) != SecretTextLength || text[idStart-1] != '_' || text[secretStart-1] != '_' {
		return 0, false
	}
	kind, ok := kindOfLetter(text[prefixLength])
	return kind, ok && slices.Contains(p, text[:prefixLength])
}

// isWellFormed reports whether a text with the outline of a token has a valid checksum and consists
// of base62 digits. The checksum comes first because it rules out nearly all other texts.
func isWellFormed(text string) bool {
	check := checkDigits(text[:checkStart])
	return string(check[:]) == text[checkStart:] &&
		isBase62(text[idStart:idStart+idLength]) && isBase62(text[secretStart:])
}

// isUUIDv4 reports whether s is a UUID as Mollymawk writes it: lower case, with dashes,
// version 4. Mollymawk compares tokens byte for byte, so it never accepted any other spelling.
func isUUIDv4(s string) bool {
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || s[14] != '4' ||
		strings.IndexByte("89ab", s[19]) < 0 {
		return false
	}
	var compact [32]byte
	n := 0
	for i := range len(s) {
		if s[i] == '-' {
			continue
		}
		if n == len(compact) || (s[i] >= 'A' && s[i] <= 'F') {
			return false
		}
		compact[n] = s[i]
		n++
	}
	var raw [16]byte
	_, err := hex.Decode(raw[:], compact[:n])
	return err == nil && n == len(compact)
}
