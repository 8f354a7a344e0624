package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// lostBackend returns why there is no answer, by an error with status 502 or 503: the
// backend wasn't reached, or Caddy's proxy had a connection to it, which broke off. A
// transport that doesn't report connections may have had one.
func (a *answerWriter) lostBackend(err caddyhttp.HandlerError) gate.Code {
	// no backend is left to ask
	if a.exchange.right.attempt.Load() == connecting || err.StatusCode == http.StatusServiceUnavailable {
		return gate.BackendUnreachable
	}
	return gate.BackendBrokeOff
}
