package gate

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sought is the token that the gate sent to the backend and that no client may see. It
// is found in any spelling in which a backend may repeat it: as it is, in other letter
// case or without its dashes, and in what is left when encodings are undone, in any
// order and as often as there is something to undo.
type sought struct {
	token string
	// least is how many bytes the shortest spelling has: that of a UUID has no dashes.
	least int
	// loose says that there is a spelling without dashes.
	loose bool
}

func seek(token string) sought {
	if bare := len(token) - strings.Count(token, "-"); bare >= 16 && bare < len(token) {
		return sought{token, bare, true}
	}
	return sought{token, len(token), false}
}

// maxTexts is how many decodings of a text are looked into. One that has more isn't
// trusted.
const maxTexts = 100

// inText reports whether a text holds the token.
func (s sought) inText(text string) bool {
	if s.token == "" || len(text) < s.least {
		return false
	}
	texts := []string{text}
	known := map[string]bool{text: true}
	for i := 0; i < len(texts); i++ {
		if s.in(texts[i]) {
			return true
		}
		for _, decode := range decodings {
			for _, decoded := range decode(texts[i], s.least) {
				if known[decoded] || len(decoded) < s.least {
					continue
				}
				if len(texts) == maxTexts {
					return true
				}
				known[decoded] = true
				texts = append(texts, decoded)
			}
		}
	}
	return false
}

// inLine is inText for the lines of a header. Most lines of good answers cost a look at
// their length, or at each of their bytes.
func (s sought) inLine(line string) bool {
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
func (s sought) mayBeEncoded(line string) bool {
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

// in reports whether the token is in the text, without regard to letter case and to its
// dashes.
func (s sought) in(text string) bool {
	first := lower(s.token[0])
	for i := range len(text) - s.least + 1 {
		if lower(text[i]) == first && s.begins(text[i:]) > 0 {
			return true
		}
	}
	return false
}

// begins returns the length of the token that the text begins with, or 0.
func (s sought) begins(text string) int {
	length := 0
	for i := range len(s.token) {
		switch {
		case length < len(text) && lower(text[length]) == lower(s.token[i]):
			length++
		case s.token[i] != '-' || !s.loose:
			return 0
		}
	}
	return length
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
	s := seek(upstreamToken)
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

// decodings each undo an encoding everywhere in a text that may hold a token of the
// given length. They return nothing if there is none of it, and several texts if it can
// be read in several ways. None makes a text longer.
var decodings = []func(text string, least int) []string{
	decoding("\x00\xef", withoutZeros),
	decoding("%&\\", unescapeOnce),
	decoding("=", unescapeQuotedPrintable),
	decoding(separators, withoutSeparators),
	decodeBase64,
	decodeHex,
}

// decoding returns a decoding of texts that hold one of these bytes.
func decoding(marks string, decode func(string) string) func(string, int) []string {
	return func(text string, _ int) []string {
		for i := range len(marks) {
			if strings.IndexByte(text, marks[i]) >= 0 {
				return []string{decode(text)}
			}
		}
		return nil
	}
}

// withoutZeros makes ASCII of UTF-16 and UTF-32, in either byte order. HTML has another
// character in place of a zero.
func withoutZeros(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "\ufffd", "")
}

// unescapeOnce resolves the escapes of URLs, HTML, JSON and programs one time.
func unescapeOnce(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, length := rune(-1), 0
		switch c := s[i]; {
		case c == '%' && i+2 < len(s):
			if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 3
				continue
			}
		case c == '\\' && i+1 < len(s):
			r, length = backslashed(s[i:])
		case c == '&':
			r, length = entity(s[i:])
		}
		if length == 0 {
			b = append(b, s[i])
			i++
			continue
		}
		b = utf8.AppendRune(b, r)
		i += length
	}
	return string(b)
}

// backslashed returns the character that s, which begins with a backslash, stands for,
// and how much of s that is (RFC 8259 section 7, and strings in programs).
func backslashed(s string) (r rune, length int) {
	digits, base := "", 16
	switch c := s[1]; c {
	case 'n', 'r', 't':
		return rune("\n\r\t"[strings.IndexByte("nrt", c)]), 2
	case 'b', 'f', 'v':
		return ' ', 2
	case 'u', 'U':
		switch rest := s[2:]; {
		case strings.HasPrefix(rest, "{"):
			digits, _, _ = strings.Cut(rest[1:min(len(rest), 9)], "}")
			length = len(`\u{}`) + len(digits)
		case strings.HasPrefix(rest, "000") && c == 'U' && len(rest) >= 8:
			digits, length = rest[:8], 10
		case len(rest) >= 4:
			digits, length = rest[:4], 6
		}
	case 'x', 'X':
		if len(s) >= 4 {
			digits, length = s[2:4], 4
		}
	case '0', '1', '2', '3':
		if len(s) >= 4 {
			digits, base, length = s[1:4], 8, 4
		}
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune {
		return rune(s[1]), 2 // the character itself
	}
	return rune(n), length
}

// maxEntity is longer than any name of a character that a token can have.
const maxEntity = 12

// entity returns the character that the reference in HTML stands for that s begins
// with, and how much of s that is; 0 if it is none.
func entity(s string) (r rune, length int) {
	end := strings.IndexAny(s[1:min(len(s), maxEntity)], ";& ")
	if end < 0 || s[1+end] != ';' {
		// One by number may lack its end.
		for end = 1; 1+end < min(len(s), maxEntity) && unhex(s[1+end]) >= 0 || end == 1 && len(s) > 2 && lower(s[2]) == 'x'; end++ {
		}
		if !strings.HasPrefix(s, "&#") {
			return 0, 0
		}
		text := html.UnescapeString(s[:1+end])
		r, size := utf8.DecodeRuneInString(text)
		if r == '&' {
			return 0, 0
		}
		return r, 1 + end - (len(text) - size)
	}
	reference := s[:end+2]
	text := html.UnescapeString(reference)
	r, size := utf8.DecodeRuneInString(text)
	if size != len(text) || text == reference {
		return 0, 0
	}
	return r, len(reference)
}

// unescapeQuotedPrintable resolves the escapes of RFC 2045 section 6.7.
func unescapeQuotedPrintable(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '=' {
			if i+2 < len(s) {
				if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
					b = append(b, byte(high<<4|low))
					i += 2
					continue
				}
			}
			if rest := strings.TrimPrefix(s[i+1:], "\r"); strings.HasPrefix(rest, "\n") {
				i = len(s) - len(rest)
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// separators are between the lines of base64, pairs of digits, and characters in lists.
const separators = " \t\r\n,:;\"'[]"

var isSeparator = characters(separators)

func withoutSeparators(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if !isSeparator[s[i]] {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// base64Digits has the digits of both alphabets (RFC 4648 sections 4 and 5), each as
// that of the first, and 0 for all else. hexDigits has those of base 16.
var base64Digits, hexDigits = func() (base64, hex [256]byte) {
	for i := range 256 {
		switch c := byte(i); {
		case c == '-':
			base64[c] = '+'
		case c == '_':
			base64[c] = '/'
		case token68[c] && c != '.' && c != '~':
			base64[c] = c
		}
		if unhex(byte(i)) >= 0 {
			hex[i] = byte(i)
		}
	}
	return base64, hex
}()

// base64Length is how many digits hold so many bytes at least.
func base64Length(bytes int) int { return bytes * 8 / 6 }

// decodeBase64 decodes what may be base64. Where a part of it begins isn't known, so
// there are four ways.
func decodeBase64(text string, least int) []string {
	return decodeRuns(text, base64Length(least), 4, &base64Digits, least, func(digits []byte) []byte {
		if len(digits)%4 == 1 {
			digits = digits[:len(digits)-1]
		}
		decoded, _ := base64.RawStdEncoding.AppendDecode(nil, digits) // these digits are right
		return decoded
	})
}

// decodeHex decodes what may be hexadecimal digits, in two ways.
func decodeHex(text string, least int) []string {
	return decodeRuns(text, 2*least, 2, &hexDigits, least, func(digits []byte) []byte {
		decoded, _ := hex.AppendDecode(nil, digits[:len(digits)-len(digits)%2])
		return decoded
	})
}

// decodeRuns decodes the runs of digits in a text that are long enough, beginning with
// each of the first few digits. Of what comes of it only that is kept which is text and
// can hold a token.
func decodeRuns(text string, enough, ways int, digits *[256]byte, least int, decode func([]byte) []byte) (decoded []string) {
	var runs [][]byte
	for start := 0; start < len(text); start++ {
		end := start
		for end < len(text) && digits[text[end]] != 0 {
			end++
		}
		if end-start >= max(enough, ways) {
			run := []byte(text[start:end])
			for i, c := range run {
				run[i] = digits[c]
			}
			runs = append(runs, run)
		}
		start = end
	}
	for skipped := range ways {
		var found []byte
		for _, run := range runs {
			found = appendTexts(found, decode(run[skipped:]), least)
		}
		if len(found) > 0 {
			decoded = append(decoded, string(found))
		}
	}
	return decoded
}

// appendTexts appends the parts of bytes that are text, in UTF-16 too, and long enough.
func appendTexts(b, bytes []byte, least int) []byte {
	start := 0
	for i := 0; i <= len(bytes); i++ {
		if i < len(bytes) && (bytes[i] >= ' ' && bytes[i] < utf8.RuneSelf || bytes[i] == 0 || bytes[i] == '\t' || bytes[i] == '\r' || bytes[i] == '\n') {
			continue
		}
		if i-start >= least {
			b = append(append(b, bytes[start:i]...), '|')
		}
		start = i + 1
	}
	return b
}
