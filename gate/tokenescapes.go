package gate

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// wanted is what decodings look for.
type wanted struct {
	loose  bool     // see [tokenSearch]
	least  int      // bytes of a text that can hold the token
	binary []string // see [tokenSearch.binary]
}

// decodings each undo an encoding everywhere in a text that may hold what is wanted. They
// return nothing if there is none of it, and several texts if it can be read in several
// ways. Each makes a text shorter.
var decodings = []func(text string, want wanted) []string{
	rewriting("%&\\", unescape),
	rewriting("=", quotedPrintable),
	rewriting(markup+notASCII, unseen),
	compact,
	decodeBase64,
	decodeHex,
}

// nothing takes the place of what is dropped from a text.
const nothing rune = -1

// rewriting returns a decoding of texts that hold one of these bytes. It calls replace
// with the rest of the text from each of them on. replace returns what takes the place of
// the beginning of that, and its length, which is 0 if it stays. Characters below 256
// become bytes, since some escapes stand for bytes.
func rewriting(marks string, replace func(rest string) (with rune, length int)) func(string, wanted) []string {
	marked := characters(marks)
	return func(text string, _ wanted) []string {
		var b []byte
		done := 0
		for i := 0; i < len(text); {
			if !marked[text[i]] {
				i++
				continue
			}
			with, length := replace(text[i:])
			if length == 0 {
				i++
				continue
			}
			if b == nil {
				b = make([]byte, 0, len(text))
			}
			b = append(b, text[done:i]...)
			switch {
			case with == nothing:
			case with < 256:
				b = append(b, byte(with))
			default:
				b = utf8.AppendRune(b, with)
			}
			i += length
			done = i
		}
		if b == nil {
			return nil
		}
		return []string{string(append(b, text[done:]...))}
	}
}

// unescape returns the character that an escape of URLs, HTML, JSON or a program stands
// for, and its length.
func unescape(s string) (r rune, length int) {
	switch s[0] {
	case '%':
		return percented(s)
	case '\\':
		return backslashed(s)
	}
	return entity(s)
}

// percented returns the byte or, for %u0041, the character that s, which begins with a
// percent sign, stands for, and how much of s that is; 0 if it is none.
func percented(s string) (r rune, length int) {
	if len(s) >= 3 {
		if high, low := unhex(s[1]), unhex(s[2]); high >= 0 && low >= 0 {
			return rune(high<<4 | low), 3
		}
	}
	if len(s) >= 6 && lower(s[1]) == 'u' {
		if n, err := strconv.ParseUint(s[2:6], 16, 32); err == nil {
			return rune(n), 6
		}
	}
	return 0, 0
}

// backslashed returns the character that s, which begins with a backslash, stands for,
// and how much of s that is (RFC 8259 section 7, and strings in programs); 0 if nothing
// follows.
func backslashed(s string) (r rune, length int) {
	if len(s) < 2 {
		return 0, 0
	}
	digits, base := "", 16
	switch c := s[1]; c {
	case 'n', 'r', 't':
		return rune("\n\r\t"[strings.IndexByte("nrt", c)]), 2
	case 'b', 'f', 'v':
		return ' ', 2
	case 'a':
		return bell, 2
	case 'e', 'E':
		return escape, 2
	case '\\':
		return '\\', 2
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
	case '0', '1', '2', '3', '4', '5', '6', '7':
		length = 2 // up to three digits
		for length < min(len(s), 4) && s[length] >= '0' && s[length] <= '7' {
			length++
		}
		digits, base = s[1:length], 8
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune {
		return nothing, 1 // the next character stands for itself
	}
	return rune(n), length
}

// escape begins the control sequences of terminals, bell ends some.
const escape, bell = 0x1b, 0x07

// maxEntity is longer than any name of a character that a token can have or that isn't
// seen in one.
const maxEntity = 20

// entity returns the character that the reference in HTML stands for that s begins
// with, and how much of s that is; 0 if it is none.
func entity(s string) (r rune, length int) {
	end := 0
	for 1+end < min(len(s), maxEntity) && s[1+end] != ';' && s[1+end] != '&' && s[1+end] != ' ' {
		end++
	}
	if 1+end == min(len(s), maxEntity) || s[1+end] != ';' {
		// One by number may lack its end.
		for end = 1; 1+end < min(len(s), maxEntity) && unhex(s[1+end]) >= 0 || end == 1 && len(s) > 2 &&
			lower(s[2]) == 'x'; end++ {
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

// quotedPrintable returns the byte that s, which begins with =, stands for (RFC 2045
// section 6.7), or none at the end of a line, and how much of s that is; 0 if it is none.
func quotedPrintable(s string) (r rune, length int) {
	if len(s) >= 3 {
		if high, low := unhex(s[1]), unhex(s[2]); high >= 0 && low >= 0 {
			return rune(high<<4 | low), 3
		}
	}
	if rest := strings.TrimPrefix(s[1:], "\r"); strings.HasPrefix(rest, "\n") {
		return nothing, len(s) - len(rest) + 1
	}
	return 0, 0
}
