package gate

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Backends, proxies and this gate disagree about what "//", "%2e" or "\" in a
// path means, and gateways fell to each of them (CVE-2021-43557, CVE-2026-33494,
// CVE-2026-48020). So a path has one spelling, and any other is refused.

// canonicalPath reports whether an escaped path is spelled the one way that is
// accepted: "/"-separated segments, none of them empty, "." or "..", of the
// unreserved and sub-delim characters without ";" of RFC 3986, ":" and "@";
// anything else is not ASCII, valid UTF-8 and percent-encoded in upper case.
func canonicalPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	if path == "/" {
		return true
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if !canonicalSegment(segment) {
			return false
		}
	}
	return true
}

func canonicalSegment(segment string) bool {
	if segment == "" || segment == "." || segment == ".." {
		return false
	}
	for i := 0; i < len(segment); {
		if pathCharacters[segment[i]] {
			i++
			continue
		}
		n := escapedRune(segment[i:])
		if n == 0 {
			return false
		}
		i += n
	}
	return true
}

// pathCharacters may stand in a path as they are.
var pathCharacters = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@!$&'()*+,=")

// queryCharacters may be in a query as they are: those of RFC 3986 section 3.4, and "["
// and "]", which many clients send ("filter[name]=x") and no program takes for another.
var queryCharacters = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%[]")

// canonicalQuery reports whether a query holds only what a query may. How it is escaped
// is the backend's affair.
func canonicalQuery(query string) bool {
	for i := range len(query) {
		if !queryCharacters[query[i]] {
			return false
		}
	}
	return true
}

// requestLine reports whether a query leaves the line whole in which HTTP/1 has it.
func requestLine(query string) bool {
	for i := range len(query) {
		if query[i] <= ' ' || query[i] == 0x7f {
			return false
		}
	}
	return true
}

// escapedRune returns the length of the percent-encoded character that s begins
// with, or 0 if it is none that needs to be encoded.
func escapedRune(s string) int {
	var raw [utf8.UTFMax]byte
	for n := range raw {
		c, ok := escapedByte(s[3*n:])
		if !ok || c < utf8.RuneSelf {
			return 0
		}
		raw[n] = c
		if r, size := utf8.DecodeRune(raw[:n+1]); r != utf8.RuneError || size == 3 {
			return 3 * (n + 1)
		}
	}
	return 0
}

func escapedByte(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' || s[1] >= 'a' || s[2] >= 'a' {
		return 0, false
	}
	high, low := unhex(s[1]), unhex(s[2])
	return byte(high<<4 | low), high >= 0 && low >= 0
}

// listedFor returns the listed path that a backend may take another spelling for, or "".
// Backends unescape a path, and take what comes before it for a scheme and a host, in ways
// of their own. So any spelling that ends in a listed path may mean it.
func (rt *router) listedFor(path string) string {
	if canonicalPath(path) || path == "*" {
		return ""
	}
	decoded, _ := url.PathUnescape(path)
	suggestion := suggestPath(path)
	for listed := range rt.exact {
		if strings.HasSuffix(decoded, listed) || strings.HasSuffix(suggestion, listed) {
			return listed
		}
	}
	if suggestion == "" {
		return ""
	}
	if _, allow := rt.find("", suggestion); allow != "" {
		return suggestion
	}
	return ""
}

// suggestPath returns how the path of a route should have been written, or "" if
// there is no telling.
func suggestPath(path string) string {
	path, _, _ = strings.Cut(path, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return ""
	}
	var kept []string
	for segment := range strings.SplitSeq(strings.ReplaceAll(decoded, `\`, "/"), "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	suggestion := []byte{'/'}
	for _, c := range []byte(strings.Join(kept, "/")) {
		if c < utf8.RuneSelf {
			suggestion = append(suggestion, c)
		} else {
			suggestion = appendEscaped(suggestion, c)
		}
	}
	if !canonicalPath(string(suggestion)) {
		return ""
	}
	return string(suggestion)
}
