package gate

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// separators can separate lines of base64 or the characters in a list.
const separators = " \t\r\n,:;\"'[]"

var withoutSeparators = replacing(separators, separator)

// stripSeparators removes the separators, unless the token is so short that words on both
// sides of a separator could form it by chance.
func stripSeparators(text string, want searchTarget) []string {
	if !want.loose {
		return nil
	}
	return withoutSeparators(text, want)
}

// separator removes a separator, or the name of a JSON member with its punctuation.
func separator(s string) (rune, int) {
	if s[0] == '"' {
		return removed, max(nameLength(s), 1)
	}
	return removed, 1
}

// base64Digits maps the digits of both base64 alphabets (RFC 4648 sections 4 and 5) to the
// first alphabet, and all other bytes to 0. hexDigits does the same for hexadecimal digits.
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

// base64Length returns the minimum number of base64 digits that encode n bytes. The remaining
// bits may be in digits shared with adjacent bytes.
func base64Length(n int) int { return n * 8 / 6 }

// decodeBase64 decodes everything that could be base64. The alignment is unknown, so it tries
// all four offsets.
func decodeBase64(text string, want searchTarget) []string {
	return decodeRuns(text, base64Length(want.minLength), 4, &base64Digits, want, func(digits []byte) []byte {
		if len(digits)%4 == 1 {
			digits = digits[:len(digits)-1]
		}
		decoded, _ := base64.RawStdEncoding.AppendDecode(nil, digits) // the digits are valid
		return decoded
	})
}

// decodeHex decodes everything that could be hexadecimal digits, at both offsets. It ignores
// the prefixes 0x and U+00 and everything else between the digits.
func decodeHex(text string, want searchTarget) []string {
	if !hasHex(text, 2*want.minLength) {
		return nil
	}
	digits := foldedOnly(text)
	for _, mark := range []string{"0x", "u00"} {
		digits = strings.ReplaceAll(digits, mark, "")
	}
	return decodeRuns(digits, 2*want.minLength, 2, &hexDigits, want, func(digits []byte) []byte {
		decoded, _ := hex.AppendDecode(nil, digits[:len(digits)-len(digits)%2])
		return decoded
	})
}

// hasHex reports whether a text contains at least minDigits hexadecimal digits in a row. Only
// letters interrupt a row, except those in the prefixes 0x and U+00.
func hasHex(text string, minDigits int) bool {
	run := 0
	for i := range len(text) {
		switch c := folded[text[i]]; {
		case c == 0 || c == 'x' || c == 'u':
		case hexDigits[c] == 0:
			run = 0
		default:
			if run++; run == minDigits {
				return true
			}
		}
	}
	return false
}

// decodeRuns decodes all sufficiently long runs of digits in a text, starting at each of the
// first few digits. It returns only results that are text and long enough to contain a token.
func decodeRuns(text string, minDigits, offsets int, digits *[256]byte, want searchTarget,
	decode func([]byte) []byte) (decoded []string) {
	var runs [][]byte
	for start := 0; start < len(text); start++ {
		end := start
		for end < len(text) && digits[text[end]] != 0 {
			end++
		}
		if end-start >= max(minDigits, offsets) {
			run := []byte(text[start:end])
			for i, c := range run {
				run[i] = digits[c]
			}
			runs = append(runs, run)
		}
		start = end
	}
	for offset := range offsets {
		var found []byte
		for _, run := range runs {
			found = appendTexts(found, decode(run[offset:]), want)
		}
		if len(found) > 0 {
			decoded = append(decoded, string(found))
		}
	}
	return decoded
}

// appendTexts appends the parts of bytes that are text, including UTF-16, and long enough to
// contain a token. If bytes contains the binary target, appendTexts appends everything.
func appendTexts(b, bytes []byte, want searchTarget) []byte {
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
		if i-start >= want.minLength {
			b = append(append(b, bytes[start:i]...), '|')
		}
		i++
		start = i
	}
	return b
}

// textLength returns the length of the text character at the start of bytes, or 0 if there is
// none.
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
