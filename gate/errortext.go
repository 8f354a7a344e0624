package gate

import (
	"net/http"
	"strings"
	"unicode"
)

// ErrorText is what a backend says in an error.
type ErrorText struct {
	// Text is the backend's own text. Refusals show it cleaned and cut.
	Text string
	// Code names for programs what the text means; empty if that isn't known.
	Code string
	// Status is the HTTP status that fits the text; 0 leaves the answer's.
	Status int
}

// readError returns what the backend says in an answer with status 400 or more that
// has nothing of the gate's credential in it.
func (r *Route) readError(status int, header http.Header, body []byte) (said ErrorText, ok bool) {
	if r.ReadError == nil || body == nil {
		return ErrorText{}, false
	}
	said, ok = r.ReadError(isHTML(header, body), body)
	if said.Status == 0 {
		said.Status = status
	}
	said.Text = plainText(said.Text)
	return said, ok
}

// backendSaid returns the refusal that hands on what the backend says.
func backendSaid(said ErrorText) Refusal {
	refusal := backendError(said.Status, said.Text)
	refusal.BackendCode = said.Code
	return refusal
}

// maxBackendText is how much of a backend's text a refusal shows, in characters.
const maxBackendText = 500

// plainText returns the printable characters of a text, with one space for any white
// space, and no more of it than maxBackendText.
func plainText(s string) string {
	var b strings.Builder
	space, n := false, 0
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if !unicode.IsPrint(r) { // also controls that change the direction of text
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
