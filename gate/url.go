package gate

import (
	"net/url"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// RawPath returns a URL's path as sent by the client or set by a rewrite before the gate.
// net/url stores a RawPath only if it differs from the default encoding.
func RawPath(u *url.URL) string {
	if u.RawPath == "" && isPlainPath(u.Path) {
		return u.Path
	}
	if u.RawPath != "" {
		if unescaped, err := url.PathUnescape(u.RawPath); err != nil || unescaped == u.Path {
			return u.RawPath
		}
		// A rewrite changed Path and left an outdated RawPath behind. net/url ignores it, and
		// so does the proxy.
	}
	return u.EscapedPath()
}

// SetPath sets a URL's path to an escaped path, such as [Decision.Path], and preserves its
// spelling.
func SetPath(u *url.URL, escaped string) {
	if u.RawPath == "" && u.Path == escaped && isPlainPath(escaped) {
		return
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		path = escaped // can't happen with a Decision's path
	}
	u.Path, u.RawPath = path, ""
	if u.EscapedPath() != escaped {
		u.RawPath = escaped
	}
}

// isPlainPath reports whether a path is the same escaped and unescaped.
func isPlainPath(path string) bool {
	for i := range len(path) {
		if !plainInPath[path[i]] {
			return false
		}
	}
	return true
}

var plainInPath = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")

// RequestURI returns a URL's request URI in origin form. sent is the request URI that the client
// sent, which RequestURI returns if it is the same, to avoid allocating.
func RequestURI(u *url.URL, sent string) string {
	if u.Opaque == "" && isPlainPath(u.Path) && u.RawPath == "" && u.Path != "" {
		if rest, ok := strings.CutPrefix(sent, u.Path); ok && (rest == "" && u.RawQuery == "" && !u.ForceQuery ||
			rest != "" && rest[0] == '?' && rest[1:] == u.RawQuery && u.RawQuery != "") {
			return sent
		}
	}
	return u.RequestURI()
}

// URLHasToken reports whether any part of a URL contains a token, plain or percent-encoded any
// number of times.
func URLHasToken(prefixes token.Prefixes, u *url.URL) bool {
	return tokenInText(prefixes, u.Path) || tokenInText(prefixes, u.RawPath) ||
		tokenInText(prefixes, u.RawQuery) || tokenInText(prefixes, u.Fragment) ||
		u.User != nil && tokenInText(prefixes, u.User.String())
}

func tokenInText(prefixes token.Prefixes, text string) bool {
	if len(text) < token.SecretTextLength {
		return false
	}
	return prefixes.Find(text) >= 0 || strings.Contains(text, "%") && prefixes.Find(UnescapeAll(text)) >= 0
}

// UnescapeAll decodes all valid percent-encodings, however deeply nested, and leaves the rest
// unchanged. The result can be searched for tokens that were encoded. It takes time
// proportional to the length of s.
func UnescapeAll(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		b = append(b, s[i])
		for n := len(b); n >= 3 && b[n-3] == '%'; n = len(b) {
			high, low := unhex(b[n-2]), unhex(b[n-1])
			if high < 0 || low < 0 {
				break
			}
			b = append(b[:n-3], byte(high<<4|low)) // may complete another escape
		}
	}
	return string(b)
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendEscaped appends the percent-encoding of c.
func appendEscaped(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}
