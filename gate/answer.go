package gate

import (
	"net/http"
	"slices"
	"strings"
)

// MaxResponseBody is how much of an answer that must be looked into is held, in
// bytes. A longer one is replaced whole.
const MaxResponseBody = 1 << 20

// MustBuffer reports whether an answer of the backend must be seen whole before any of
// it goes to the client: every error and every redirect. They are short, and may
// repeat the credential that the gate sent.
func MustBuffer(status int) bool {
	return status >= http.StatusMultipleChoices && status != http.StatusNotModified
}

// Judge returns the refusal that takes the place of an answer for which
// [MustBuffer] is true, or none if the answer may go to the client as it is. Nothing
// of a replaced answer may be handed on, its headers included. body is nil if it
// can't be read because it is longer than [MaxResponseBody] or broke off; an encoded
// one needs no decoding. upstreamToken is what [Forward] was given.
func (r *Route) Judge(status int, header http.Header, body []byte, upstreamToken string) Refusal {
	if status == http.StatusFound {
		return Refuse(BackendRedirect)
	}
	if encoded(header) {
		body = nil
	}
	sent := searchFor(upstreamToken)
	unfit := func() bool { return body == nil || !legible(header, body) || sent.inText(string(body)) }
	switch {
	case status < http.StatusBadRequest:
		if unfit() { // what is wrong with the headers can be taken out of them
			return backendError(http.StatusBadGateway, "The backend answered with a redirect that can't be shown here.")
		}
	case r.credentialRefused(status, body, upstreamToken):
		return Refuse(UpstreamCredential)
	default:
		return r.judgeError(status, header, body, sent, unfit() || sent.inHeader(header))
	}
	return Refusal{}
}

// judgeError is [Route.Judge] of an error that doesn't refuse the credential. unfit
// says that it can't be shown.
func (r *Route) judgeError(status int, header http.Header, body []byte, sent tokenSearch, unfit bool) Refusal {
	if !unfit {
		if said, ok := r.readError(status, header, body); ok && !sent.inText(said.Text) {
			return backendSaid(said)
		}
	}
	switch {
	case body != nil && isHTML(header, body):
		return backendError(status, "")
	case unfit:
		return backendError(status, "The backend answered with an error that can't be shown here.")
	}
	return Refusal{}
}

// credentialRefused reports whether the backend refused the gate's credential, as far as
// the answer shows that.
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

// cookies are the headers in which a backend opens a session for the caller. To a
// token's request it would be a session of the account, with all of its rights.
var cookies = newHeaderNames([]string{"set-cookie", "set-cookie2"}, nil)

// ScrubHeaders deletes the headers and trailers of an answer, also of a good one, that
// set cookies or repeat the token that the gate sent to the backend.
func ScrubHeaders(h http.Header, upstreamToken string) {
	sent := searchFor(upstreamToken)
	for name, values := range h {
		if cookies.contain(strings.TrimPrefix(name, http.TrailerPrefix)) || sent.inLines(name, values) {
			delete(h, name)
		}
	}
}

func (s tokenSearch) inHeader(h http.Header) bool {
	for name, values := range h {
		if s.inLines(name, values) {
			return true
		}
	}
	return false
}

func (s tokenSearch) inLines(name string, values []string) bool {
	return s.inLine(name) || slices.ContainsFunc(values, s.inLine)
}
