package mollymawktest

import (
	"regexp"
	"strings"
)

var (
	scheme = regexp.MustCompile(`^[^:/?#]*:`)
	// authority is //user@host:port. What of it isn't well formed already counts as
	// path.
	authority = regexp.MustCompile(
		`^//(?:(?:[-A-Za-z0-9._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?(?:\[[0-9A-Fa-f:.]*\]|(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?`)
)

// splitTarget takes a request's target apart as ocaml-uri does with a reference:
// a scheme and an authority are dropped in whatever target they stand, and the
// path is percent-decoded once. Nothing is normalised.
func splitTarget(target string) (path, query string) {
	target, _, _ = strings.Cut(target, "#")
	target, query, _ = strings.Cut(target, "?")
	target = target[len(scheme.FindString(target)):]
	target = target[len(authority.FindString(target)):]
	return percentDecode(target), query
}

// queryValue returns the value of the first parameter of this name. "+" is a
// blank; only "&" separates parameters.
func queryValue(query, name string) (value string, ok bool) {
	if query == "" {
		return "", false
	}
	for parameter := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(parameter, "=")
		if percentDecode(strings.ReplaceAll(key, "+", " ")) == name {
			return percentDecode(strings.ReplaceAll(value, "+", " ")), true
		}
	}
	return "", false
}

// percentDecode decodes what is validly encoded and leaves the rest.
func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, ok1 := unhex(s[i+1])
			low, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(high<<4 | low)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// percentEncode encodes as ocaml-uri's pct_encode does by default: all but
// unreserved characters, sub-delims, ":" and "@".
func percentEncode(s string) string {
	const (
		plain  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@"
		digits = "0123456789ABCDEF"
	)
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) >= 0 {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}
