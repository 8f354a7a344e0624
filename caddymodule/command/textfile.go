package command

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
)

const tokenFileUsage = "File that contains the key; - means standard input"

// maxSecretFile is the maximum size of a file with a secret, in bytes. It is larger than any
// token.
const maxSecretFile = 4096

// secretFrom reads a secret from a file that contains only the secret.
func (i *invocation) secretFrom(name string) (string, error) {
	text, err := i.readText(name, maxSecretFile)
	if err != nil && !errors.Is(err, errTooLarge) {
		return "", usageErrorf("reading the API key: %v", err)
	}
	secret := strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == byteOrderMark })
	switch {
	case err != nil, strings.ContainsFunc(secret, unicode.IsSpace):
		return "", usageErrorf("the input contains more than an API key; " +
			"write only the key to the file, or use scan to find keys in text")
	case secret == "":
		return "", usageErrorf("the input is empty; it must contain an API key")
	}
	return secret, nil
}

// errTooLarge is the error for a file that exceeds the caller's limit.
var errTooLarge = errors.New("the file is too large")

// readText reads a file of at most limit bytes, or standard input for "-", as UTF-8.
func (i *invocation) readText(name string, limit int64) (string, error) {
	from := i.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer func() { _ = file.Close() }() // opened for reading only
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, limit+1))
	switch {
	case err != nil:
		return "", err
	case int64(len(text)) > limit:
		return "", errTooLarge
	}
	return decodeText(text), nil
}

// byteOrderMark appears at the start of UTF-16 files and of many UTF-8 files created on
// Windows.
const byteOrderMark = '\ufeff'

// decodeText converts text to UTF-8 without a byte order mark. Windows programs also write
// UTF-16 (PowerShell 5 with >, Notepad with "Unicode") and UTF-32. If the byte order mark is
// missing, the zero bytes around the first character reveal the encoding, because tokens and
// JSON begin with an ASCII character.
func decodeText(text []byte) string {
	// In a pattern, x matches any byte except zero.
	begins := func(pattern string) bool {
		if len(text) < len(pattern) {
			return false
		}
		for i, b := range []byte(pattern) {
			if b == 'x' && text[i] == 0 || b != 'x' && text[i] != b {
				return false
			}
		}
		return true
	}
	var decoded string
	switch {
	case begins("\xff\xfe\x00\x00"), begins("x\x00\x00\x00"):
		decoded = decodeUTF32(text, binary.LittleEndian)
	case begins("\x00\x00\xfe\xff"), begins("\x00\x00\x00x"):
		decoded = decodeUTF32(text, binary.BigEndian)
	case begins("\xff\xfe"), begins("x\x00"):
		decoded = decodeUTF16(text, binary.LittleEndian)
	case begins("\xfe\xff"), begins("\x00x"):
		decoded = decodeUTF16(text, binary.BigEndian)
	default:
		decoded = string(text)
	}
	return strings.TrimPrefix(decoded, string(byteOrderMark))
}

// decodeUTF16 decodes UTF-16. If the length is odd, it keeps the last byte, which may be a
// line break that another program has appended.
func decodeUTF16(text []byte, order binary.ByteOrder) string {
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	return string(utf16.Decode(units)) + string(text[2*len(units):])
}

// decodeUTF32 decodes UTF-32. It keeps any extra bytes at the end.
func decodeUTF32(text []byte, order binary.ByteOrder) string {
	runes := make([]rune, len(text)/4)
	for i := range runes {
		runes[i] = rune(order.Uint32(text[4*i:]))
	}
	return string(runes) + string(text[4*len(runes):])
}
