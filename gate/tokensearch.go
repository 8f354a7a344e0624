package gate

import (
	"encoding/hex"
	"slices"
	"strings"
)

// tokenSearch finds the upstream token, which no client may see, in any spelling in which a
// backend may repeat it. It compares a token with 16 or more letters and digits by these
// alone, case-insensitively, and skips everything between them, such as other dashes, quotes
// or invisible characters. A shorter token would cause false matches this way, so it is
// compared as a whole. The search repeats on everything that decoding yields, with encodings
// nested in any order and to any depth.
type tokenSearch struct {
	token string
	// minLength is the length in bytes of the shortest spelling.
	minLength int
	// loose reports whether only letters and digits are compared.
	loose bool
}

const minLooseLength = 16 // letters and digits

func searchFor(token string) tokenSearch {
	n := 0
	for i := range len(token) {
		if folded[token[i]] != 0 {
			n++
		}
	}
	if n >= minLooseLength {
		return tokenSearch{token, n, true}
	}
	return tokenSearch{token, len(token), false}
}

// maxTexts is how many decodings of a text are searched. A text with more is treated as
// containing the token.
const maxTexts = 100

// inText reports whether a text contains the token. It takes time proportional to the length
// of the text, for each of its decodings.
func (s tokenSearch) inText(text string) bool {
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

// binary returns the bytes that the token encodes if it is 32 hexadecimal digits, as in a
// UUID: in their own order and in that of a Windows GUID. Otherwise it returns nil.
func (s tokenSearch) binary() []string {
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

// inHeaderLine is inText for header lines. For most lines of successful responses it only
// checks the length, or scans the bytes once.
func (s tokenSearch) inHeaderLine(line string) bool {
	if s.token == "" || len(line) < s.minLength {
		return false
	}
	return s.contains(line) || s.mayBeEncoded(line) && s.inText(line)
}

// minEncodedRun is the length from which a word in a header may be base64. Words in common
// headers are shorter, and the encoding of a 24-byte token is longer.
const minEncodedRun = 32

// mayBeEncoded reports whether a line contains an escape character that occurs in headers, or
// an unbroken run that is long enough to hold the token in base64 or hexadecimal digits.
func (s tokenSearch) mayBeEncoded(line string) bool {
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
func (s tokenSearch) contains(text string) bool {
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

// firstByte returns the folded first byte of any spelling of the token.
func (s tokenSearch) firstByte() byte {
	i := 0
	for s.loose && folded[s.token[i]] == 0 {
		i++
	}
	return folded[s.token[i]]
}

// matchLength returns the length of the spelling of the token at the start of the text, or 0.
func (s tokenSearch) matchLength(text string) int {
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

// foldedOnly returns the letters of s, in lower case, and its digits.
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

// Redact returns a text, such as that of an error, without the upstream token.
func Redact(text, upstreamToken string) string {
	s := searchFor(upstreamToken)
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
	// The text has the token in another spelling. Errors quote their input.
	if before, _, quoted := strings.Cut(text, `"`); quoted && !s.inText(before) {
		return before + `"[redacted]"`
	}
	return "[redacted: it repeats the upstream token]"
}

func isAlphanumeric(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }
