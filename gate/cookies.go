package gate

import (
	"net/http"
	"strings"
)

// RemoveCookie deletes the cookie of this name and leaves the others as they
// were sent.
func RemoveCookie(h http.Header, name string) {
	var kept []string
	for _, line := range h["Cookie"] {
		if line = withoutCookie(line, name); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func withoutCookie(line, name string) string {
	if !strings.Contains(line, name) {
		return line
	}
	var kept []string
	for pair := range strings.SplitSeq(line, ";") {
		if key, _, _ := strings.Cut(pair, "="); strings.Trim(key, " \t") != name {
			kept = append(kept, pair)
		}
	}
	return strings.Trim(strings.Join(kept, ";"), " \t")
}
