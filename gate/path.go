package gate

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Backends, proxies and the gate may disagree about what "//", "%2e" or "\" means in a path.
// Such disagreements have made several gateways vulnerable (CVE-2021-43557, CVE-2026-33494,
// CVE-2026-48020). The gate therefore accepts only one spelling of each path.

// canonicalPath reports whether an escaped path has its canonical spelling: segments separated
// by "/", none of them empty, "." or "..". A segment consists of ":", "@" and the unreserved
// and sub-delim characters of RFC 3986 except ";". All other characters must be non-ASCII,
// valid UTF-8 and percent-encoded in upper case.
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

// pathCharacters may occur unescaped in a path.
var pathCharacters = characters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@!$&'()*+,=")

// queryCharacters may occur unescaped in a query. They are the characters in RFC 3986 section
// 3.4, plus "[" and "]", which many clients send ("filter[name]=x") and no program
// misinterprets.
var queryCharacters = characters(
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%[]")

// canonicalQuery reports whether a query contains only valid characters. Whether it is escaped
// correctly is up to the backend.
func canonicalQuery(query string) bool {
	for i := range len(query) {
		if !queryCharacters[query[i]] {
			return false
		}
	}
	return true
}

// safeInRequestLine reports whether a query contains no character that would break HTTP/1's
// request line.
func safeInRequestLine(query string) bool {
	for i := range len(query) {
		if query[i] <= ' ' || query[i] == 0x7f {
			return false
		}
	}
	return true
}

// escapedRune returns the length of the percent-encoded non-ASCII character at the start of s,
// or 0 if there is none.
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

// listedFor returns the path in the route table for which a backend may mistake path, or "".
// Backends differ in how they unescape a path, and some treat its beginning as a scheme and a
// host. Any spelling that ends in a listed path may therefore mean that path.
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

// suggestPath returns the canonical spelling of path, or "" if it has none.
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
