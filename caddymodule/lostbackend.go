package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// lostBackend returns the refusal code for an error with status 502 or 503. The code depends
// on whether the proxy couldn't reach the backend or lost the connection to it. For transports
// that don't report connections, lostBackend assumes that the proxy had connected.
func (rw *responseWriter) lostBackend(err caddyhttp.HandlerError) gate.Code {
	// 503 means that no upstream is available.
	if rw.exchange.auth.attempt.Load() == connecting || err.StatusCode == http.StatusServiceUnavailable {
		return gate.BackendUnreachable
	}
	return gate.BackendBrokeOff
}
