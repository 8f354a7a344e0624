package gate

import (
	"net/http"
	"strings"
)

// repeating are the headers by which Go's HTTP client takes any request for one that it
// may send again after the connection broke (net/http.Request.isReplayable). Whether a
// backend keeps the promise of such a header isn't known here, and the request was
// counted once.
var repeating = []string{"Idempotency-Key", "X-Idempotency-Key"}

// SendOnce keeps Go's HTTP client from sending a request twice unless its method is safe
// to repeat. The client knows the headers by their canonical spelling only, so they are
// spelled in lower case, which is the same to every backend (RFC 9110 section 5.1).
func SendOnce(method string, h http.Header) {
	if safeMethod(method) {
		return
	}
	for _, name := range repeating {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}
