package gate

import (
	"net/http"
	"strings"
	"unicode"
)

// ErrorText holds the text of a backend's error response and what it means.
type ErrorText struct {
	// Text is the backend's own text. Refusals show a sanitized and shortened version.
	Text string
	// Code is a machine-readable identifier for the text's meaning; empty if unknown.
	Code string
	// Status is the HTTP status that fits the text; 0 keeps the response's own status.
	Status int
}

// readError extracts the text of a response with status 400 or more. The caller has checked
// that the response doesn't contain the gate's credential.
func (r *Route) readError(status int, header http.Header, body []byte) (text ErrorText, ok bool) {
	if r.ReadError == nil || body == nil {
		return ErrorText{}, false
	}
	text, ok = r.ReadError(isHTML(header, body), body)
	if text.Status == 0 {
		text.Status = status
	}
	text.Text = plainText(text.Text)
	return text, ok
}

// backendTextRefusal returns the refusal that passes on the backend's error text.
func backendTextRefusal(text ErrorText) Refusal {
	refusal := backendError(text.Status, text.Text)
	refusal.BackendCode = text.Code
	return refusal
}

// maxBackendText is the maximum length, in characters, of the backend text shown in a refusal.
const maxBackendText = 500

// plainText returns the printable characters of s, truncated to maxBackendText characters. It
// replaces each run of white space with a single space.
func plainText(s string) string {
	var b strings.Builder
	space, n := false, 0
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if !unicode.IsPrint(r) { // includes bidirectional control characters
			continue
		}
		if n >= maxBackendText {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			n++
		}
		space = false
		b.WriteRune(r)
		n++
	}
	return b.String()
}
