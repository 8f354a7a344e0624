package token

import "strings"

// Find looks for a token of Mollygate's own form with a right checksum anywhere
// in text and returns where it begins, or -1. It takes time in proportion to the
// text's length, whatever the text.
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
		if _, ok := p.check(text[start : start+SecretTextLength]); ok {
			return start
		}
		from = start + 1
	}
	return -1
}

// Redacted takes the place of a secret. Its first character occurs in no token, so it
// makes none with the characters around it.
const Redacted = "…REDACTED"

// Redact returns text with the secret part of every token in it replaced.
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
