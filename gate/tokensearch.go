package gate

import (
	"encoding/hex"
	"slices"
	"strings"
)

// tokenSearch finds the token that the gate sent to the backend and that no client may see,
// in any spelling in which a backend may repeat it. A token of 16 letters and
// digits or more is compared by these alone, without regard to letter case: whatever
// stands between them, such as other dashes, quotes or invisible characters, is skipped.
// A shorter token would be found in other texts then, so it is compared as a whole. Both
// are done again with what is left when encodings are undone, in any order and as often
// as there is something to undo.
type tokenSearch struct {
	token string
	// least is the number of bytes of the shortest spelling.
	least int
	// loose says that only letters and digits are compared.
	loose bool
}

const leastLoose = 16 // letters and digits

func searchFor(token string) tokenSearch {
	n := 0
	for i := range len(token) {
		if folded[token[i]] != 0 {
			n++
		}
	}
	if n >= leastLoose {
		return tokenSearch{token, n, true}
	}
	return tokenSearch{token, len(token), false}
}

// maxTexts is how many decodings of a text are looked into. One that has more isn't
// trusted.
const maxTexts = 100

// inText reports whether a text holds the token. It takes time in proportion to the
// length of the text, for each of its decodings.
func (s tokenSearch) inText(text string) bool {
	if s.token == "" {
		return false
	}
	want := wanted{s.loose, s.least, s.binary()}
	for _, bytes := range want.binary {
		want.least = min(want.least, len(bytes))
	}
	if len(text) < want.least {
		return false
	}
	texts := []string{text}
	for i := 0; i < len(texts); i++ {
		if s.in(texts[i]) || containsAny(texts[i], want.binary) {
			return true
		}
		for _, decode := range decodings {
			for _, decoded := range decode(texts[i], want) {
				if len(decoded) < want.least || slices.Contains(texts, decoded) {
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

// binary returns the bytes that the token stands for if it is hexadecimal, as a UUID is:
// in its own order and in that of Windows. Otherwise it returns nil.
func (s tokenSearch) binary() []string {
	const uuid = 32 // digits
	digits := onlyFolded(s.token)
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

// inLine is inText for the lines of a header. Most lines of good answers cost a look at
// their length, or at each of their bytes.
func (s tokenSearch) inLine(line string) bool {
	if s.token == "" || len(line) < s.least {
		return false
	}
	return s.in(line) || s.mayBeEncoded(line) && s.inText(line)
}

// leastRun is the length of a word in a header that is taken for base64. Words of usual
// headers are shorter, and a token of 24 bytes is longer in it.
const leastRun = 32

// mayBeEncoded reports whether a line has a mark of an encoding that headers have, or
// is long enough without a break to hold the token in base64 or hexadecimal digits.
func (s tokenSearch) mayBeEncoded(line string) bool {
	run, enough := 0, max(base64Length(s.least), leastRun)
	for i := range len(line) {
		c := line[i]
		if c == '%' || c == '&' || c == '\\' || c == 0 {
			return true
		}
		if base64Digits[c] == 0 {
			run = 0
			continue
		}
		if run++; run >= enough {
			return true
		}
	}
	return false
}

// in reports whether the token is in the text as it is.
func (s tokenSearch) in(text string) bool {
	if len(text) < s.least {
		return false
	}
	first := s.first()
	for i := range len(text) - s.least + 1 {
		if folded[text[i]] == first && s.begins(text[i:]) > 0 {
			return true
		}
	}
	return false
}

// first returns what folded has for the byte that a spelling of the token begins with.
func (s tokenSearch) first() byte {
	i := 0
	for s.loose && folded[s.token[i]] == 0 {
		i++
	}
	return folded[s.token[i]]
}

// begins returns the length of the spelling of the token that the text begins with, or 0.
func (s tokenSearch) begins(text string) int {
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

// folded has the letters, in lower case, and the digits. It has 0 for all other bytes.
var folded = func() (letters [256]byte) {
	for c := range letters {
		if isAlphanumeric(byte(c)) {
			letters[c] = lower(byte(c))
		}
	}
	return letters
}()

// onlyFolded returns the letters, in lower case, and the digits of s.
func onlyFolded(s string) string {
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

// Redact returns a text, such as that of an error, without the token that the gate sent
// to the backend.
func Redact(text, upstreamToken string) string {
	s := searchFor(upstreamToken)
	if !s.inText(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if length := s.begins(text[i:]); length > 0 {
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
	// In another spelling. Errors quote what they found.
	if before, _, quoted := strings.Cut(text, `"`); quoted && !s.inText(before) {
		return before + `"[redacted]"`
	}
	return "[redacted: it repeats the upstream token]"
}

func isAlphanumeric(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }
