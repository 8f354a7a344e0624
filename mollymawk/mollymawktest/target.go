package mollymawktest

import (
	"regexp"
	"strings"
)

var (
	scheme = regexp.MustCompile(`^[^:/?#]*:`)
	// authority matches //user@host:port. The path starts at the first malformed character.
	authority = regexp.MustCompile(`^//(?:(?:[-A-Za-z0-9._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?` +
		`(?:\[[0-9A-Fa-f:.]*\]|(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?`)
)

// splitTarget splits a request target as ocaml-uri splits a reference. It drops any scheme
// and authority and percent-decodes the path once. It doesn't normalize the path.
func splitTarget(target string) (path, query string) {
	target, _, _ = strings.Cut(target, "#")
	target, query, _ = strings.Cut(target, "?")
	target = target[len(scheme.FindString(target)):]
	target = target[len(authority.FindString(target)):]
	return percentDecode(target), query
}

// queryValue returns the value of the first parameter with this name. "+" means a space,
// and "&" is the only separator.
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

// percentDecode decodes valid percent-encodings and leaves the rest unchanged.
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

// percentEncode encodes s as ocaml-uri's pct_encode does by default: everything except
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
