package gate

import (
	"html"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxAnswerBody is how much of an answer that must be looked into is held, in
// bytes. A longer one is replaced whole.
const MaxAnswerBody = 1 << 20

// LookInto says whether an answer of the backend must be seen whole before any of
// it goes to the client: every error and the redirect to a page. Errors are short
// and may repeat the credential that the gate sent.
func LookInto(status int) bool {
	return status >= http.StatusBadRequest || status == http.StatusFound
}

// Judge returns the refusal that takes the place of an answer for which
// [LookInto] is true, or none if the answer may go to the client as it is. Nothing
// of a replaced answer may be handed on, its headers included. body is nil if it
// can't be read because it is longer than [MaxAnswerBody] or broke off; an encoded
// one needs no decoding. upstreamToken is what [Forward] was given.
func (r *Route) Judge(status int, header http.Header, body []byte, upstreamToken string) Refusal {
	if status == http.StatusFound {
		return Refuse(BackendRedirect)
	}
	if encoded(header) {
		body = nil
	}
	switch {
	case r.credentialRefused(status, body, upstreamToken):
		return Refuse(UpstreamCredential)
	case body == nil, holdsToken(string(body), upstreamToken), headerHoldsToken(header, upstreamToken):
		return backendError(status, "The backend answered with an error that can't be shown here.")
	case isHTML(header, body):
		return backendError(status, "")
	}
	return Refusal{}
}

// credentialRefused says whether the backend refused the gate's credential, as
// far as that can be told.
func (r *Route) credentialRefused(status int, body []byte, upstreamToken string) bool {
	if r.CredentialRefused != nil {
		return r.CredentialRefused(status, body)
	}
	return status == http.StatusUnauthorized && upstreamToken != ""
}

func backendError(status int, detail string) Refusal {
	refusal := Refuse(BackendError)
	refusal.Status = status
	refusal.Detail = detail
	return refusal
}

func encoded(header http.Header) bool {
	for _, value := range header["Content-Encoding"] {
		if value != "" && !strings.EqualFold(value, "identity") {
			return true
		}
	}
	return false
}

// isHTML goes by what the answer says it is, and by what a browser would take it
// for if it says nothing.
func isHTML(header http.Header, body []byte) bool {
	contentType := header.Get("Content-Type")
	if contentType == "" {
		contentType = http.DetectContentType(body)
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	return mediaType == "text/html" || mediaType == "application/xhtml+xml"
}

// cookies are the headers in which a backend opens a session for whoever calls. To a
// token's request it would be a session of the account, with all of its rights.
var cookies = newHeaderNames([]string{"set-cookie", "set-cookie2"}, nil)

// ScrubHeaders deletes the headers and trailers of an answer, also of a good one, that
// set cookies or repeat the token that the gate sent to the backend.
func ScrubHeaders(h http.Header, upstreamToken string) {
	for name, values := range h {
		if cookies.contain(strings.TrimPrefix(name, http.TrailerPrefix)) || anyHoldsToken(values, upstreamToken) || holdsToken(name, upstreamToken) {
			delete(h, name)
		}
	}
}

func headerHoldsToken(h http.Header, upstreamToken string) bool {
	for name, values := range h {
		if anyHoldsToken(values, upstreamToken) || holdsToken(name, upstreamToken) {
			return true
		}
	}
	return false
}

func anyHoldsToken(values []string, upstreamToken string) bool {
	for _, value := range values {
		if holdsToken(value, upstreamToken) {
			return true
		}
	}
	return false
}

// holdsToken says whether the token stands in a text: as it is, or in the
// spellings that a backend gives what it repeats, in a URL, in JSON, in HTML, and
// in one of the others in JSON.
func holdsToken(text, token string) bool {
	if token == "" {
		return false
	}
	if strings.Contains(text, "\\") && holdsPlain(unescapeJSON(text), token) {
		return true
	}
	return holdsPlain(text, token)
}

func holdsPlain(text, token string) bool {
	return strings.Contains(text, token) ||
		strings.Contains(text, "%") && strings.Contains(Unescape(text), token) ||
		strings.Contains(text, "&") && strings.Contains(html.UnescapeString(text), token)
}

// unescapeJSON resolves the escapes of JSON strings (RFC 8259 section 7) wherever
// they stand in s, except those that no token can hold.
func unescapeJSON(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
			if r, err := strconv.ParseUint(s[min(i+1, len(s)):min(i+5, len(s))], 16, 16); s[i] == 'u' && err == nil {
				b = utf8.AppendRune(b, rune(r))
				i += 4
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
