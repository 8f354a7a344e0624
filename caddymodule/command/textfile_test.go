package command

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// encodings holds the text encodings that Windows programs use.
var encodings = map[string]func(string) string{
	"UTF-8":                func(s string) string { return s },
	"UTF-8 with a mark":    func(s string) string { return "\ufeff" + s },
	"UTF-16LE":             func(s string) string { return encodeUTF16(binary.LittleEndian, s) },
	"UTF-16LE with a mark": func(s string) string { return encodeUTF16(binary.LittleEndian, "\ufeff"+s) },
	"UTF-16BE":             func(s string) string { return encodeUTF16(binary.BigEndian, s) },
	"UTF-16BE with a mark": func(s string) string { return encodeUTF16(binary.BigEndian, "\ufeff"+s) },
	"UTF-32LE":             func(s string) string { return encodeUTF32(binary.LittleEndian, s) },
	"UTF-32LE with a mark": func(s string) string { return encodeUTF32(binary.LittleEndian, "\ufeff"+s) },
	"UTF-32BE":             func(s string) string { return encodeUTF32(binary.BigEndian, s) },
	"UTF-32BE with a mark": func(s string) string { return encodeUTF32(binary.BigEndian, "\ufeff"+s) },
	"UTF-16LE, then ASCII": func(s string) string { return encodeUTF16(binary.LittleEndian, "\ufeff"+s) + "\n" },
}

func encodeUTF16(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func encodeUTF32(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, r := range s {
		b = order.AppendUint32(b, uint32(r))
	}
	return string(b)
}

// TestCommandReadsEncodings checks that commands read tokens and user records in all encodings
// that Windows programs use.
func TestCommandReadsEncodings(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "lost")
	record := `{"name":"é 𝄞","tokens":[{"name":"é 𝄞","value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e",
		"expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00"}]}`
	for name, encode := range encodings {
		for form, text := range map[string]string{
			"alone": secret, "a line": secret + "\n", "a Windows line": secret + "\r\n",
			"an empty line":    "\r\n" + secret + "\r\n\r\n",
			"a no-break space": secret + "\u00a0\r\n",
		} {
			got := runCommand(&console{in: strings.NewReader(encode(text))}, "lookup", "-o", "id", "--address",
				s.address())
			if got.code != exitOK || got.out != id+"\n" {
				t.Errorf("lookup in %s, %s: got unexpected outcome %+v", name, form, got)
			}
		}
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(encode(secret+"\r\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.run("explain", "GET", "/api/unikernels", "--token-file", path); got.code != exitOK ||
			!strings.HasPrefix(got.out, "allowed\n") {
			t.Errorf("explain in %s: got unexpected outcome %+v", name, got)
		}
		got := runCommand(&console{in: strings.NewReader(encode(record))}, "import", "-", "--address", s.address(),
			"--preset", "read", "-o", "json")
		if got.code != exitOK || !strings.Contains(got.out, `{"imported":["`) &&
			!strings.Contains(got.out, `"name":"é 𝄞","reason":"it is already imported"`) {
			t.Errorf("import in %s: got unexpected outcome %+v", name, got)
		}
	}
	if got := runCommand(&console{in: strings.NewReader("\u00a0\ufeff" + secret)}, "lookup", "-o", "id", "--address",
		s.address()); got.out != id+"\n" {
		t.Errorf("lookup: got unexpected outcome %+v", got)
	}
	// Commands must refuse input that isn't exactly one token, in every encoding.
	for name, text := range map[string]string{
		"two tokens":       secret + "\r\n" + secret,
		"a space within":   secret[:20] + " " + secret[20:],
		"a no-break space": secret[:20] + "\u00a0" + secret[20:],
		"nothing":          "", "a mark": "\ufeff", "spaces": " \r\n\u00a0",
	} {
		for encoding, encode := range encodings {
			got := runCommand(&console{in: strings.NewReader(encode(text))}, "lookup", "--address", s.address())
			if got.code != exitUsage || strings.Contains(got.err, secret[17:]) {
				t.Errorf("%s in %s: got unexpected outcome %+v", name, encoding, got)
			}
		}
	}
}
