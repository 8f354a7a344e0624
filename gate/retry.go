package gate

import (
	"net/http"
	"strings"
)

// retryHeaders make Go's HTTP client treat any request as safe to send again after a broken
// connection (net/http.Request.isReplayable). The gate prevents this because it doesn't know
// whether the backend honors these headers and because it has counted the request only once.
var retryHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}

// PreventRetries keeps Go's HTTP client from sending a request twice unless its method is safe to
// repeat. The client recognizes the headers only in canonical form, so PreventRetries changes them
// to lower case, which is equivalent for every backend (RFC 9110 section 5.1).
func PreventRetries(method string, h http.Header) {
	if safeMethod(method) {
		return
	}
	for _, name := range retryHeaders {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}
