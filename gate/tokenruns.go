package gate

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// separators break base64 into lines, and characters into lists.
const separators = " \t\r\n,:;\"'[]"

var withoutSeparators = rewriting(separators, separator)

// compact drops the separators, unless the token is so short that words on both sides of
// one could make it.
func compact(text string, want wanted) []string {
	if !want.loose {
		return nil
	}
	return withoutSeparators(text, want)
}

// separator drops a separator, or the name of a member of JSON with what is around it.
func separator(s string) (rune, int) {
	if s[0] == '"' {
		return nothing, max(nameLength(s), 1)
	}
	return nothing, 1
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

// base64Length returns the fewest digits of base64 that hold n bytes. The bits that are left
// over may be in digits that the bytes share with what is around them.
func base64Length(n int) int { return n * 8 / 6 }

// decodeBase64 decodes what may be base64. Where a part of it begins isn't known, so
// there are four ways.
func decodeBase64(text string, want wanted) []string {
	return decodeRuns(text, base64Length(want.least), 4, &base64Digits, want, func(digits []byte) []byte {
		if len(digits)%4 == 1 {
			digits = digits[:len(digits)-1]
		}
		decoded, _ := base64.RawStdEncoding.AppendDecode(nil, digits) // these digits are right
		return decoded
	})
}

// decodeHex decodes what may be hexadecimal digits, in two ways. Whatever stands between
// them is skipped, and so are the 0x and U+00 before them.
func decodeHex(text string, want wanted) []string {
	if !hasHex(text, 2*want.least) {
		return nil
	}
	digits := onlyFolded(text)
	for _, mark := range []string{"0x", "u00"} {
		digits = strings.ReplaceAll(digits, mark, "")
	}
	return decodeRuns(digits, 2*want.least, 2, &hexDigits, want, func(digits []byte) []byte {
		decoded, _ := hex.AppendDecode(nil, digits[:len(digits)-len(digits)%2])
		return decoded
	})
}

// hasHex reports whether a text has so many hexadecimal digits without another letter
// between them than those of 0x and U+00.
func hasHex(text string, enough int) bool {
	run := 0
	for i := range len(text) {
		switch c := folded[text[i]]; {
		case c == 0 || c == 'x' || c == 'u':
		case hexDigits[c] == 0:
			run = 0
		default:
			if run++; run == enough {
				return true
			}
		}
	}
	return false
}

// decodeRuns decodes the runs of digits in a text that are long enough, beginning with
// each of the first few digits. Of what comes of it only that is kept which is text and
// can hold a token.
func decodeRuns(text string, enough, ways int, digits *[256]byte, want wanted,
	decode func([]byte) []byte) (decoded []string) {
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
			found = appendTexts(found, decode(run[skipped:]), want)
		}
		if len(found) > 0 {
			decoded = append(decoded, string(found))
		}
	}
	return decoded
}

// appendTexts appends the parts of bytes that are text, in UTF-16 too, and long enough;
// or all of bytes, if they hold what is wanted as it is.
func appendTexts(b, bytes []byte, want wanted) []byte {
	if containsAny(string(bytes), want.binary) {
		return append(b, bytes...)
	}
	start := 0
	for i := 0; i <= len(bytes); {
		length := 0
		if i < len(bytes) {
			length = textLength(bytes[i:])
		}
		if length > 0 {
			i += length
			continue
		}
		if i-start >= want.least {
			b = append(append(b, bytes[start:i]...), '|')
		}
		i++
		start = i
	}
	return b
}

// textLength returns the length of the character that bytes begin with, or 0 if it isn't
// one of a text.
func textLength(bytes []byte) int {
	switch c := bytes[0]; {
	case c >= ' ' && c < utf8.RuneSelf, c == 0, c == '\t', c == '\r', c == '\n', c == bell, c == escape:
		return 1
	case c >= utf8.RuneSelf:
		if r, length := utf8.DecodeRune(bytes); r != utf8.RuneError {
			return length
		}
	}
	return 0
}
