package gate

import (
	"strings"
	"unicode/utf8"
)

// markup begins tags of HTML and XML, and control sequences of terminals.
const markup = "<\x1b"

// notASCII begins all other characters, such as invisible ones. The zeros of UTF-16 and
// UTF-32 are among them, in either byte order.
var notASCII = func() string {
	bytes := []byte{0}
	for c := utf8.RuneSelf; c < 256; c++ {
		bytes = append(bytes, byte(c))
	}
	return string(bytes)
}()

// unseen drops what a reader doesn't see, and all that isn't ASCII.
func unseen(s string) (rune, int) {
	switch s[0] {
	case '<':
		return nothing, tagLength(s)
	case escape:
		return nothing, controlLength(s)
	}
	return nothing, 1
}

// tagLength returns the length of the tag, comment or declaration that s, which begins
// with <, begins with, or 0.
func tagLength(s string) int {
	const most = 256 // bytes; a longer one is taken for text
	s = s[:min(len(s), most)]
	if len(s) < 2 || !isLetter(s[1]) && s[1] != '/' && s[1] != '!' && s[1] != '?' {
		return 0
	}
	if end := strings.IndexAny(s[1:], "<>") + 1; end > 0 && s[end] == '>' {
		return end + 1
	}
	return 0
}

// controlLength returns the length of the control sequence (ECMA-48, section 5.4) that s,
// which begins with escape, begins with, or of a command to the terminal, such as a link; 0
// if it is neither.
func controlLength(s string) int {
	const most = 256 // bytes
	s = s[:min(len(s), most)]
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

// nameLength returns the length of the name of a member, with the colon, that s, which
// begins with a quote, begins with, or 0.
func nameLength(s string) int {
	const most = 64 // bytes
	s = s[:min(len(s), most)]
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
