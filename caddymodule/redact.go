package caddymodule

import (
	"strings"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// redactor removes token secrets from log output. It recognizes tokens by format alone,
// regardless of letter case and of the secret's length: net/http changes the case of header
// names, and a mistyped or truncated token still reveals most of its secret.
type redactor struct{ prefixes token.Prefixes }

// text returns s without secrets. If percent-encoding hides a secret, at any depth, text
// decodes the whole string before removing the secret.
func (r redactor) text(s string) string {
	s = r.plain(s)
	if strings.Contains(s, "%") {
		unescaped := gate.UnescapeAll(s)
		if clean := r.plain(unescaped); clean != unescaped {
			return clean
		}
	}
	return s
}

// plain removes secrets that aren't percent-encoded. A token consists of a two-letter prefix
// and a one-letter kind, an ID, and a secret, separated by underscores.
func (r redactor) plain(s string) string {
	const kind, before, id = 1, 3, len(token.ID{})
	var b strings.Builder
	done := 0
	for i := before; i+id+2 < len(s); i++ {
		next := strings.IndexByte(s[i:], '_')
		if next < 0 {
			break
		}
		if i += next; i+id+2 >= len(s) {
			break
		}
		secret := i + id + 2
		if s[secret-1] != '_' || !r.isPrefix(s[i-before:i-kind]) || !isAlphanumeric(s[i-kind]) ||
			alphanumerics(s[i+1:]) != id {
			continue
		}
		end := secret + alphanumerics(s[secret:])
		if end == secret {
			continue
		}
		b.WriteString(s[done:secret])
		b.WriteString(token.Redacted)
		done = end
		i = end - 1
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

func (r redactor) isPrefix(s string) bool {
	for _, prefix := range r.prefixes {
		if strings.EqualFold(prefix, s) {
			return true
		}
	}
	return false
}

// alphanumerics returns the number of letters and digits at the start of s.
func alphanumerics(s string) int {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return i
		}
	}
	return len(s)
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
