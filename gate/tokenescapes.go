package gate

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// searchTarget describes what to search for in decoded text.
type searchTarget struct {
	loose     bool     // see [UpstreamToken]
	minLength int      // length in bytes of the shortest text that can contain the token
	binary    []string // see [UpstreamToken.binary]
}

// decoders are functions that each undo one encoding throughout a text that may contain the
// target. They return nil if the text doesn't use the encoding, and several results if the
// text can be decoded in several ways. Every result is shorter than the text.
var decoders = []func(text string, want searchTarget) []string{
	replacing("%&\\", decodeEscape),
	replacing("=", quotedPrintable),
	replacing(markup+nonASCII, stripInvisible),
	stripSeparators,
	decodeBase64,
	decodeHex,
}

// removed is the replacement that deletes characters from a text.
const removed rune = -1

// replacing returns a decoder that searches a text for any of the bytes in marks. At each
// mark, it calls replace with the rest of the text, starting at the mark. replace returns the
// replacement and the number of bytes to replace, or 0 to leave the text unchanged.
// Replacements below 256 become single bytes, since some escapes stand for bytes.
func replacing(marks string, replace func(rest string) (with rune, length int)) func(string, searchTarget) []string {
	marked := characters(marks)
	return func(text string, _ searchTarget) []string {
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
			case with == removed:
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

// decodeEscape decodes an escape used in URLs, HTML, JSON or a programming language. It
// returns the character and the length of the escape.
func decodeEscape(s string) (r rune, length int) {
	switch s[0] {
	case '%':
		return percentEscape(s)
	case '\\':
		return backslashEscape(s)
	}
	return htmlEntity(s)
}

// percentEscape decodes the percent escape at the start of s: %41 to a byte, %u0041 to a
// character. length is 0 if there is none.
func percentEscape(s string) (r rune, length int) {
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

// backslashEscape decodes the backslash escape at the start of s (RFC 8259 section 7, and
// string literals of programming languages). length is 0 if nothing follows the backslash.
func backslashEscape(s string) (r rune, length int) {
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
		return removed, 1 // the next character is literal
	}
	return rune(n), length
}

// escape is the first byte of a terminal control sequence; bell is the last byte of some
// sequences.
const escape, bell = 0x1b, 0x07

// maxEntity exceeds the length of every HTML entity for an invisible character or for a
// character that a token can contain.
const maxEntity = 20

// htmlEntity decodes the HTML character reference at the start of s and returns its length, or
// 0 if there is none.
func htmlEntity(s string) (r rune, length int) {
	end := 0
	for 1+end < min(len(s), maxEntity) && s[1+end] != ';' && s[1+end] != '&' && s[1+end] != ' ' {
		end++
	}
	if 1+end == min(len(s), maxEntity) || s[1+end] != ';' {
		// A numeric reference may lack its semicolon.
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

// quotedPrintable decodes the quoted-printable escape at the start of s (RFC 2045 section 6.7)
// to a byte, or removes a soft line break. length is 0 if there is none.
func quotedPrintable(s string) (r rune, length int) {
	if len(s) >= 3 {
		if high, low := unhex(s[1]), unhex(s[2]); high >= 0 && low >= 0 {
			return rune(high<<4 | low), 3
		}
	}
	if rest := strings.TrimPrefix(s[1:], "\r"); strings.HasPrefix(rest, "\n") {
		return removed, len(s) - len(rest) + 1
	}
	return 0, 0
}
