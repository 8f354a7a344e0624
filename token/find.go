package token

import "strings"

// Find returns the index of the first token in text that has Mollygate's own format and a
// valid checksum, or -1. It takes time proportional to the text's length, whatever the text
// contains.
func (p Prefixes) Find(text string) int {
	for from := 0; len(text)-from >= SecretTextLength; {
		// A token's first underscore is its fourth byte.
		underscore := strings.IndexByte(text[from+idStart-1:], '_')
		if underscore < 0 {
			return -1
		}
		start := from + underscore
		if len(text)-start < SecretTextLength {
			return -1
		}
		candidate := text[start : start+SecretTextLength]
		if _, ok := p.outline(candidate); ok && isWellFormed(candidate) {
			return start
		}
		from = start + 1
	}
	return -1
}

// Redacted replaces a secret. Its first character occurs in no token, so Redacted and adjacent
// characters can't form a token.
const Redacted = "…REDACTED"

// Redact returns text with the secret part of every token replaced by [Redacted].
func (p Prefixes) Redact(text string) string {
	var b strings.Builder
	done := 0
	for from := 0; ; {
		found := p.Find(text[from:])
		if found < 0 {
			break
		}
		start := from + found
		b.WriteString(text[done : start+secretStart])
		b.WriteString(Redacted)
		done = start + SecretTextLength
		// The next token may begin with this one's last characters.
		from = start + 1
	}
	if done == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}
