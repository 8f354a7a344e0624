package gate

import (
	"net/http"
	"slices"
	"strings"
)

// MaxResponseBody is the maximum size, in bytes, of a response that the gate buffers for
// inspection. The gate replaces a longer response with a refusal.
const MaxResponseBody = 1 << 20

// MustBuffer reports whether the gate must inspect the backend's complete response before it
// sends any part to the client. This is the case for all errors and redirects, which are short
// and may echo the credential that the gate sent.
func MustBuffer(status int) bool {
	return status >= http.StatusMultipleChoices && status != http.StatusNotModified
}

// Judge returns the refusal that replaces a response for which [MustBuffer] is true, or the
// zero Refusal if the response may go to the client unchanged. The caller must not pass on any
// part of a replaced response, not even its headers. body is nil if it couldn't be read
// because it was longer than [MaxResponseBody] or truncated. The caller doesn't have to decode
// an encoded body. sent is the token in the Authorization header that was passed to [Gate.Forward].
func (r *Route) Judge(status int, header http.Header, body []byte, sent UpstreamToken) Refusal {
	if status == http.StatusFound {
		return Refuse(BackendRedirect)
	}
	if encoded(header) {
		body = nil
	}
	withhold := func() bool { return body == nil || !searchable(header, body) || sent.inText(string(body)) }
	switch {
	case status < http.StatusBadRequest:
		if withhold() { // ScrubHeaders takes care of the headers
			return backendError(http.StatusBadGateway, "The backend sent a redirect that can't be shown here.")
		}
	case r.credentialRefused(status, body, sent.token != ""):
		return Refuse(UpstreamCredential)
	default:
		return r.judgeError(status, header, body, sent, withhold() || sent.inHeader(header))
	}
	return Refusal{}
}

// judgeError is [Route.Judge] for errors other than a refused credential. withhold reports
// whether the response must not be shown.
func (r *Route) judgeError(status int, header http.Header, body []byte, sent UpstreamToken, withhold bool) Refusal {
	if !withhold {
		if text, ok := r.readError(status, header, body); ok && !sent.inText(text.Text) {
			return backendTextRefusal(text)
		}
	}
	switch {
	case body != nil && isHTML(header, body):
		return backendError(status, "")
	case withhold:
		return backendError(status, "The backend sent an error that can't be shown here.")
	}
	return Refusal{}
}

// credentialRefused reports whether the response shows that the backend refused the gate's
// credential. sent reports whether there was one.
func (r *Route) credentialRefused(status int, body []byte, sent bool) bool {
	if r.CredentialRefused != nil {
		return r.CredentialRefused(status, body)
	}
	return status == http.StatusUnauthorized && sent
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

// isHTML reports whether a response is HTML according to its Content-Type or, without one,
// according to the content sniffing that a browser would do.
func isHTML(header http.Header, body []byte) bool {
	contentType := header.Get("Content-Type")
	if contentType == "" {
		contentType = http.DetectContentType(body)
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	return mediaType == "text/html" || mediaType == "application/xhtml+xml"
}

// setCookieHeaders open a session for the caller. A client that presents a token and receives
// one of these headers would have a session with all of the account's permissions.
var setCookieHeaders = newHeaderNames([]string{"set-cookie", "set-cookie2"}, nil)

// ScrubHeaders deletes headers and trailers that set cookies or echo the token. It applies to all
// responses, including successful ones.
func (s UpstreamToken) ScrubHeaders(h http.Header) {
	for name, values := range h {
		if setCookieHeaders.contain(strings.TrimPrefix(name, http.TrailerPrefix)) || s.inHeaderField(name, values) {
			delete(h, name)
		}
	}
}

func (s UpstreamToken) inHeader(h http.Header) bool {
	for name, values := range h {
		if s.inHeaderField(name, values) {
			return true
		}
	}
	return false
}

func (s UpstreamToken) inHeaderField(name string, values []string) bool {
	return s.inHeaderLine(name) || slices.ContainsFunc(values, s.inHeaderLine)
}
