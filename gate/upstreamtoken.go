package gate

import (
	"encoding/hex"
	"slices"
	"strings"
)

// UpstreamToken is the token that the gate sends to the backend. No client may see it, in any form in
// which a backend may echo it. The zero UpstreamToken stands for none.
//
// If the token has at least 16 letters and digits, the search compares
// only those, case-insensitively, and ignores everything between them, such as dashes, quotes
// or invisible characters. With a shorter token, this would cause false matches, so the token
// is compared as a whole. The search also covers everything that decoding produces, with
// encodings nested in any order and to any depth.
type UpstreamToken struct {
	token string
	// minLength is the length in bytes of the shortest spelling.
	minLength int
	// loose reports whether only letters and digits are compared.
	loose bool
}

const minLooseLength = 16 // letters and digits

// NewUpstreamToken returns a token that can be searched for.
func NewUpstreamToken(token string) UpstreamToken {
	n := 0
	for i := range len(token) {
		if folded[token[i]] != 0 {
			n++
		}
	}
	if n >= minLooseLength {
		return UpstreamToken{token, n, true}
	}
	return UpstreamToken{token, len(token), false}
}

// maxTexts is the maximum number of decoded forms of a text to search. A text with more
// decoded forms is treated as if it contained the token.
const maxTexts = 100

// inText reports whether a text contains the token. For each decoded form, it takes time
// proportional to the text's length.
func (s UpstreamToken) inText(text string) bool {
	if s.token == "" {
		return false
	}
	want := searchTarget{s.loose, s.minLength, s.binary()}
	for _, bytes := range want.binary {
		want.minLength = min(want.minLength, len(bytes))
	}
	if len(text) < want.minLength {
		return false
	}
	texts := []string{text}
	for i := 0; i < len(texts); i++ {
		if s.contains(texts[i]) || containsAny(texts[i], want.binary) {
			return true
		}
		for _, decode := range decoders {
			for _, decoded := range decode(texts[i], want) {
				if len(decoded) < want.minLength || slices.Contains(texts, decoded) {
					continue
				}
				if len(texts) == maxTexts {
					return true
				}
				texts = append(texts, decoded)
			}
		}
	}
	return false
}

// binary returns the bytes encoded by a token with 32 hexadecimal digits, such as a UUID, in
// normal order and in Windows GUID order. It returns nil for any other token.
func (s UpstreamToken) binary() []string {
	const uuid = 32 // digits
	digits := foldedOnly(s.token)
	bytes, err := hex.DecodeString(digits)
	if err != nil || len(digits) != uuid {
		return nil
	}
	swapped := slices.Clone(bytes)
	for _, field := range [][]byte{swapped[:4], swapped[4:6], swapped[6:8]} {
		slices.Reverse(field)
	}
	return []string{string(bytes), string(swapped)}
}

func containsAny(text string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

// inHeaderLine is inText for header lines. For most header lines of successful responses, it
// only checks the length or scans the bytes once.
func (s UpstreamToken) inHeaderLine(line string) bool {
	if s.token == "" || len(line) < s.minLength {
		return false
	}
	return s.contains(line) || s.mayBeEncoded(line) && s.inText(line)
}

// minEncodedRun is the minimum length of a word in a header that could be base64. Words in
// common headers are shorter, and the encoding of a 24-byte token is longer.
const minEncodedRun = 32

// mayBeEncoded reports whether a line contains an escape character that occurs in headers, or
// an unbroken run that is long enough to hold the token in base64 or hexadecimal digits.
func (s UpstreamToken) mayBeEncoded(line string) bool {
	run, minRun := 0, max(base64Length(s.minLength), minEncodedRun)
	for i := range len(line) {
		c := line[i]
		if c == '%' || c == '&' || c == '\\' || c == 0 {
			return true
		}
		if base64Digits[c] == 0 {
			run = 0
			continue
		}
		if run++; run >= minRun {
			return true
		}
	}
	return false
}

// contains reports whether the text contains the token without decoding.
func (s UpstreamToken) contains(text string) bool {
	if len(text) < s.minLength {
		return false
	}
	first := s.firstByte()
	for i := range len(text) - s.minLength + 1 {
		if folded[text[i]] == first && s.matchLength(text[i:]) > 0 {
			return true
		}
	}
	return false
}

// firstByte returns the folded first byte that all of the token's spellings share.
func (s UpstreamToken) firstByte() byte {
	i := 0
	for s.loose && folded[s.token[i]] == 0 {
		i++
	}
	return folded[s.token[i]]
}

// matchLength returns the length of the token's spelling at the start of the text, or 0 if the
// text doesn't start with the token.
func (s UpstreamToken) matchLength(text string) int {
	if !s.loose {
		if len(text) < len(s.token) || !strings.EqualFold(text[:len(s.token)], s.token) {
			return 0
		}
		return len(s.token)
	}
	length := 0
	for i := range len(s.token) {
		c := folded[s.token[i]]
		if c == 0 {
			continue
		}
		for length > 0 && length < len(text) && folded[text[length]] == 0 {
			length++
		}
		if length == len(text) || folded[text[length]] != c {
			return 0
		}
		length++
	}
	return length
}

// folded maps letters to lower case, digits to themselves, and all other bytes to 0.
var folded = func() (letters [256]byte) {
	for c := range letters {
		if isAlphanumeric(byte(c)) {
			letters[c] = lower(byte(c))
		}
	}
	return letters
}()

// foldedOnly returns the letters and digits in s, with the letters in lower case.
func foldedOnly(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := folded[s[i]]; c != 0 {
			b = append(b, c)
		}
	}
	return string(b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Redact returns a text, such as an error message, without the token.
func (s UpstreamToken) Redact(text string) string {
	if !s.inText(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if length := s.matchLength(text[i:]); length > 0 {
			b.WriteString("[redacted]")
			i += length
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	if redacted := b.String(); !s.inText(redacted) {
		return redacted
	}
	// The text contains the token in another spelling, probably in an error's quoted input.
	if before, _, quoted := strings.Cut(text, `"`); quoted && !s.inText(before) {
		return before + `"[redacted]"`
	}
	return "[redacted: it repeats the upstream token]"
}

func isAlphanumeric(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }
