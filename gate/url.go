package gate

import (
	"net/url"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// RawPath returns a URL's path as the client, or a rewrite before the gate,
// spelled it. net/url keeps a spelling of its own only where it differs from the
// default one.
func RawPath(u *url.URL) string {
	if u.RawPath != "" {
		if unescaped, err := url.PathUnescape(u.RawPath); err != nil || unescaped == u.Path {
			return u.RawPath
		}
		// A rewrite changed the path and left the old spelling behind; net/url
		// ignores it then, and so does the backend's side.
	}
	return u.EscapedPath()
}

// SetPath sets a URL's path to an escaped one, such as [Decision.Path], in that
// spelling.
func SetPath(u *url.URL, escaped string) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		path = escaped // a path of ours can't fail
	}
	u.Path, u.RawPath = path, ""
	if u.EscapedPath() != escaped {
		u.RawPath = escaped
	}
}

// URLHasToken reports whether a URL holds a token anywhere, as it is written or
// percent-encoded, once or more often.
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

// UnescapeAll decodes what is validly percent-encoded, however often, and leaves the rest,
// so that a text can be searched for what hides in it. It takes time in proportion to the
// text's length.
func UnescapeAll(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		b = append(b, s[i])
		for n := len(b); n >= 3 && b[n-3] == '%'; n = len(b) {
			high, low := unhex(b[n-2]), unhex(b[n-1])
			if high < 0 || low < 0 {
				break
			}
			b = append(b[:n-3], byte(high<<4|low)) // which may complete another escape
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
