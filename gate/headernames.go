package gate

import (
	"bytes"
	"slices"
	"strings"
)

// headerNames are names of headers that must not come from a client, in lower
// case and with dashes. They stand for every spelling that a backend may take for
// them: without regard to letter case, and with "_" or "." for "-", which are the
// same to all that make variables of headers, such as CGI and WSGI
// (CVE-2025-64484, GHSA-49wc-4hcv-v58q).
type headerNames struct {
	names map[string]bool
	// prefixes stand for all names that begin with them, but for except. They are
	// sorted, and none begins with another.
	prefixes []string
	except   map[string]bool
	// words stand for all names that begin with "x-" and have one of them between
	// dashes; see inWords.
	words map[string]bool
	// first has the first letters of all: few headers share them.
	first [256]bool
}

// newHeaderNames returns the names, and those that begin with the prefixes and are not
// in except.
func newHeaderNames(names, prefixes []string, except ...string) *headerNames {
	l := &headerNames{names: make(map[string]bool, len(names)), except: make(map[string]bool, len(except))}
	for _, name := range names {
		l.names[name] = true
		l.first[name[0]] = true
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
	}
	return l
}

// overriding headers are deleted from every request.
var overriding = newHeaderNames([]string{
	// Another method than the one that was checked (OWASP ASVS 5.0 section
	// 4.1.4).
	"x-http-method-override",
	"x-http-method",
	"x-method-override",
	"x-rewrite-method",
	// Another path than the one that was checked; some frameworks and IIS
	// route by these (CVE-2018-14773).
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
	// What a proxy before the backend was asked for, which only a proxy may
	// say; auth services decide by it (CVE-2026-40575, CVE-2026-33495).
	"x-original-method",
	"x-forwarded-method",
	"x-forwarded-uri",
	"x-forwarded-path",
}, []string{
	// Who calls, as the gate tells the backend.
	"x-token-",
	// How a framework's own parts talk to each other: it skips its checks or
	// serves another page when it finds them (CVE-2025-29927).
	"x-middleware-",
	"x-invoke-",
})

// withWords adds the names that begin with "x-" and have one of the words in them.
func (l *headerNames) withWords(words ...string) *headerNames {
	l.words = make(map[string]bool, len(words))
	for _, word := range words {
		l.words[word] = true
	}
	l.first['x'] = true
	return l
}

// inWords reports whether a name has one of the words in it. What ends with a word "user",
// such as "remoteuser", is one too; what says what the user's program is like is none.
func (l *headerNames) inWords(folded []byte) bool {
	rest, ok := bytes.CutPrefix(folded, []byte("x-"))
	if !ok || len(l.words) == 0 {
		return false
	}
	for len(rest) > 0 {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte("-"))
		if l.words[string(word)] || bytes.HasSuffix(word, []byte("user")) && !aboutProgram(rest) {
			return true
		}
	}
	return false
}

// aboutProgram reports whether what follows the word "user" says what the user's program is
// like, not who the user is.
func aboutProgram(rest []byte) bool {
	switch string(rest) {
	case "agent", "language", "locale", "timezone":
		return true
	}
	return false
}

// contain reports whether name is a spelling of one of the names.
func (l *headerNames) contain(name string) bool {
	if name == "" || !l.first[foldNameByte(name[0])] {
		return false
	}
	var buf [64]byte // as long as any name in the lists, so nothing is allocated
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
	// If a prefix fits, it is the last one that doesn't come after the name.
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
	return l.inWords(folded)
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
