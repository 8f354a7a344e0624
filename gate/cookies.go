package gate

import (
	"net/http"
	"strings"
)

// SessionCookie returns the name of the dashboard's session cookie. Over TLS, the name's
// __Host- prefix keeps browsers from sending the cookie to any other host (RFC 6265bis section
// 4.1.3.2).
func SessionCookie(secure bool) string {
	if secure {
		return "__Host-mollygate_session"
	}
	return "mollygate_session"
}

// RemoveSessionCookies deletes the dashboard's session cookies, which the backend must not
// see.
func RemoveSessionCookies(h http.Header) {
	if len(h["Cookie"]) == 0 {
		return
	}
	for _, secure := range []bool{false, true} {
		removeCookie(h, SessionCookie(secure))
	}
}

// removeCookie deletes the cookie with this name and leaves all other cookies unchanged.
func removeCookie(h http.Header, name string) {
	dropCookies(h, func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		return strings.Trim(key, " \t") == name
	})
}

// dropCookies deletes the cookies for which drop returns true. drop receives a "name=value"
// pair.
func dropCookies(h http.Header, drop func(pair string) bool) {
	var kept []string
	for _, line := range h["Cookie"] {
		if line = keptCookies(line, drop); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func keptCookies(line string, drop func(pair string) bool) string {
	var kept []string
	dropped := false
	for pair := range strings.SplitSeq(line, ";") {
		if drop(pair) {
			dropped = true
		} else {
			kept = append(kept, pair)
		}
	}
	if !dropped {
		return line
	}
	return strings.Trim(strings.Join(kept, ";"), " \t")
}
