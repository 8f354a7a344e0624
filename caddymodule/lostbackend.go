package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// lostBackend returns the code for an error with status 502 or 503: either the proxy could not
// reach the backend, or the connection broke. If a transport doesn't report connections,
// lostBackend assumes that there was one.
func (rw *responseWriter) lostBackend(err caddyhttp.HandlerError) gate.Code {
	// 503 means that no upstream is available.
	if rw.exchange.auth.attempt.Load() == connecting || err.StatusCode == http.StatusServiceUnavailable {
		return gate.BackendUnreachable
	}
	return gate.BackendBrokeOff
}
