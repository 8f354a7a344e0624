package gate

import (
	"strings"
	"unicode/utf8"
)

// markup holds the characters that begin HTML or XML tags and terminal control sequences.
const markup = "<\x1b"

// nonASCII holds the first bytes of all non-ASCII characters, such as invisible ones, and the
// zero bytes of UTF-16 and UTF-32 in either byte order.
var nonASCII = func() string {
	bytes := []byte{0}
	for c := utf8.RuneSelf; c < 256; c++ {
		bytes = append(bytes, byte(c))
	}
	return string(bytes)
}()

// stripInvisible removes markup that a reader doesn't see and all non-ASCII characters.
func stripInvisible(s string) (rune, int) {
	switch s[0] {
	case '<':
		return removed, tagLength(s)
	case escape:
		return removed, controlLength(s)
	}
	return removed, 1
}

// tagLength returns the length of the tag, comment or declaration at the start of s, or 0 if
// there is none. s must begin with "<".
func tagLength(s string) int {
	const maxLength = 256 // bytes; a longer tag counts as text
	s = s[:min(len(s), maxLength)]
	if len(s) < 2 || !isLetter(s[1]) && s[1] != '/' && s[1] != '!' && s[1] != '?' {
		return 0
	}
	if end := strings.IndexAny(s[1:], "<>") + 1; end > 0 && s[end] == '>' {
		return end + 1
	}
	return 0
}

// controlLength returns the length of the control sequence (ECMA-48, section 5.4) or operating
// system command, such as a link, at the start of s, or 0 if there is none. s must begin with
// escape.
func controlLength(s string) int {
	const maxLength = 256 // bytes
	s = s[:min(len(s), maxLength)]
	switch {
	case strings.HasPrefix(s[1:], "["):
		for i := 2; i < len(s) && s[i] >= ' ' && s[i] <= '~'; i++ {
			if s[i] >= '@' {
				return i + 1
			}
		}
	case strings.HasPrefix(s[1:], "]"):
		return strings.IndexAny(s, "\a\\") + 1
	case strings.HasPrefix(s[1:], "("):
		return min(len(s), len("\x1b(B"))
	}
	return 0
}

// nameLength returns the length of the JSON member name at the start of s, including the
// colon, or 0 if there is none. s must begin with a quote.
func nameLength(s string) int {
	const maxLength = 64 // bytes
	s = s[:min(len(s), maxLength)]
	end := strings.IndexByte(s[1:], '"')
	if end < 0 {
		return 0
	}
	rest := strings.TrimLeft(s[end+2:], " \t\r\n")
	if !strings.HasPrefix(rest, ":") {
		return 0
	}
	return len(s) - len(rest) + len(":")
}

func isLetter(c byte) bool { return lower(c) >= 'a' && lower(c) <= 'z' }
