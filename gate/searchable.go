package gate

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// searchable reports whether a search would find the token in a body that contains it. It
// recognizes compressed bodies that have no Content-Encoding by their first bytes, or because
// they are declared as text but aren't text.
func searchable(header http.Header, body []byte) bool {
	for _, magic := range compressed {
		if bytes.HasPrefix(body, []byte(magic)) {
			return false
		}
	}
	mediaType, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		mediaType, _, _ = strings.Cut(header.Get("Content-Type"), ";")
	}
	charset := strings.ToLower(parameters["charset"])
	switch {
	case !isText(mediaType) || isUTF16(body):
		return true
	case bytes.ContainsFunc(body, isBinary):
		return false
	}
	return utf8.Valid(body) || charset != "" && charset != "utf-8"
}

// compressed lists the first bytes of gzip, zlib, Zstandard, bzip2, xz, LZ4 and compress data.
// One zlib level is missing because its header consists of printable characters.
var compressed = []string{
	"\x1f\x8b", "\x78\x01", "\x78\x9c", "\x78\xda", "\x28\xb5\x2f\xfd", "BZh91AY&SY", "\xfd7zXZ\x00",
	"\x04\x22\x4d\x18", "\x1f\x9d",
}

// isText reports whether a media type is textual. An empty media type counts as text.
func isText(mediaType string) bool {
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	if mediaType == "" || strings.HasPrefix(mediaType, "text/") {
		return true
	}
	for _, kind := range []string{"json", "xml", "javascript", "yaml", "x-www-form-urlencoded"} {
		if strings.HasSuffix(mediaType, kind) {
			return true
		}
	}
	return false
}

// isBinary reports whether a character never occurs in text.
func isBinary(r rune) bool {
	const escape = 0x1b
	return r < ' ' && r != '\t' && r != '\n' && r != '\v' && r != '\f' && r != '\r' && r != escape
}

// isUTF16 reports whether a body is UTF-16 or UTF-32 text: it begins with a byte order mark,
// or nearly every other byte is 0.
func isUTF16(body []byte) bool {
	if bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff")) {
		return true
	}
	var zeros [2]int
	for i, c := range body {
		if c == 0 {
			zeros[i%2]++
		}
	}
	return max(zeros[0], zeros[1]) > len(body)*2/5
}
