package gate

import (
	"bytes"
	"math"
	"slices"
	"strings"
)

// headerNames is a set of header names that a client must not send, in lower case with dashes.
// A name matches every spelling that a backend may treat as the same: in any letter case, and
// with "_" or "." for "-". Gateway interfaces that map headers to variables, such as CGI and
// WSGI, don't distinguish these characters (CVE-2025-64484, GHSA-49wc-4hcv-v58q).
type headerNames struct {
	names map[string]bool
	// prefixes match all names that begin with them, unless a name is in except. The prefixes
	// are sorted, and none is a prefix of another.
	prefixes []string
	except   map[string]bool
	// words match all names that begin with "x-" and contain one of the words between dashes;
	// see matchesWord.
	words map[string]bool
	// first is the set of first letters of all matching names, and shortest is the length of the
	// shortest one. They quickly rule out most headers.
	first    [256]bool
	shortest int
}

// newHeaderNames returns the set of the names and of all names that begin with the prefixes
// and aren't in except.
func newHeaderNames(names, prefixes []string, except ...string) *headerNames {
	l := &headerNames{names: make(map[string]bool, len(names)), except: make(map[string]bool, len(except)),
		shortest: math.MaxInt}
	for _, name := range names {
		l.names[name] = true
		l.first[name[0]] = true
		l.shortest = min(l.shortest, len(name))
	}
	for _, name := range except {
		l.except[name] = true
	}
	prefixes = slices.Sorted(slices.Values(prefixes))
	for _, prefix := range prefixes {
		if last := len(l.prefixes) - 1; last >= 0 && strings.HasPrefix(prefix, l.prefixes[last]) {
			continue
		}
		l.prefixes = append(l.prefixes, prefix)
		l.first[prefix[0]] = true
		l.shortest = min(l.shortest, len(prefix))
	}
	return l
}

// overrideHeaders are deleted from every request.
var overrideHeaders = newHeaderNames([]string{
	// These replace the method that the gate checked (OWASP ASVS 5.0 section 4.1.4).
	"x-http-method-override",
	"x-http-method",
	"x-method-override",
	"x-rewrite-method",
	// These replace the path that the gate checked; some frameworks and IIS route by them
	// (CVE-2018-14773).
	"x-original-url",
	"x-original-uri",
	"x-original-path",
	"x-rewrite-url",
	"x-rewrite-uri",
	"x-override-url",
	"x-envoy-original-path",
	"x-request-uri",
	"x-matched-path",
	"x-now-route-matches",
	// These describe the original request. Only a proxy in front may set them, and
	// authentication services rely on them (CVE-2026-40575, CVE-2026-33495).
	"x-original-method",
	"x-forwarded-method",
	"x-forwarded-uri",
	"x-forwarded-path",
	// This asks for a switch to HTTP/2, which the gate doesn't offer (RFC 7540 section 3.2.1).
	"http2-settings",
}, []string{
	// The gate uses these to pass the caller's identity to the backend.
	"x-token-",
	// Frameworks use these internally and, on receiving one, skip their own checks or serve
	// another page (CVE-2025-29927).
	"x-middleware-",
	"x-invoke-",
})

// withWords adds the names that begin with "x-" and contain one of the words between dashes.
func (l *headerNames) withWords(words ...string) *headerNames {
	l.words = make(map[string]bool, len(words))
	l.shortest = min(l.shortest, len("x-user")) // see matchesWord
	for _, word := range words {
		l.words[word] = true
		l.shortest = min(l.shortest, len("x-")+len(word))
	}
	l.first['x'] = true
	return l
}

// matchesWord reports whether a name contains one of the words. A word that ends in "user",
// such as "remoteuser", counts too, unless the name describes the client program.
func (l *headerNames) matchesWord(folded []byte) bool {
	rest, ok := bytes.CutPrefix(folded, []byte("x-"))
	if !ok || len(l.words) == 0 {
		return false
	}
	for len(rest) > 0 {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte("-"))
		if l.words[string(word)] || bytes.HasSuffix(word, []byte("user")) && !describesClient(rest) {
			return true
		}
	}
	return false
}

// describesClient reports whether the part of a name after the word "user" refers to the
// client program rather than to the user, as in "user-agent".
func describesClient(rest []byte) bool {
	switch string(rest) {
	case "agent", "language", "locale", "timezone":
		return true
	}
	return false
}

// contain reports whether the set contains name in any spelling.
func (l *headerNames) contain(name string) bool {
	if len(name) < l.shortest || !l.first[foldNameByte(name[0])] {
		return false
	}
	var buf [64]byte // at least as long as any name in the lists, to avoid allocating
	folded := buf[:0]
	for i := range min(len(name), len(buf)) {
		folded = append(folded, foldNameByte(name[i]))
	}
	if len(name) <= len(buf) {
		if l.names[string(folded)] {
			return true
		}
		if l.except[string(folded)] {
			return false
		}
	}
	// The only prefix that can match is the last one that doesn't sort after the name.
	low, high := 0, len(l.prefixes)
	for low < high {
		if middle := (low + high) / 2; l.prefixes[middle] <= string(folded) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low > 0 && strings.HasPrefix(string(folded), l.prefixes[low-1]) {
		return true
	}
	return l.matchesWord(folded)
}

func foldNameByte(c byte) byte {
	switch {
	case c == '_' || c == '.':
		return '-'
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}
