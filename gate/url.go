package gate

import (
	"net/url"
	"strings"

	"github.com/mollygate/mollygate/tokenstore"
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

// URLHasToken says whether a token stands anywhere in a URL, as it is written or
// percent-decoded once.
func URLHasToken(prefixes tokenstore.Prefixes, u *url.URL) bool {
	return tokenInText(prefixes, u.Path) || tokenInText(prefixes, u.RawPath) ||
		tokenInText(prefixes, u.RawQuery) || tokenInText(prefixes, u.Fragment) ||
		u.User != nil && tokenInText(prefixes, u.User.String())
}

func tokenInText(prefixes tokenstore.Prefixes, text string) bool {
	if len(text) < tokenstore.SecretTextLength {
		return false
	}
	return prefixes.Find(text) >= 0 || strings.Contains(text, "%") && prefixes.Find(Unescape(text)) >= 0
}

// Unescape decodes what is validly percent-encoded and leaves the rest, so that a
// text can be searched for what hides in it.
func Unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := unhex(s[i+1]), unhex(s[i+2]); high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
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
