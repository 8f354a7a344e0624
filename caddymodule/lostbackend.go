package caddymodule

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mollygate/mollygate/gate"
)

// lostBackend returns why there is no answer, by an error with status 502 or 503: the
// backend wasn't reached, or Caddy's proxy had a connection to it, which broke off.
func (a *answerWriter) lostBackend(err caddyhttp.HandlerError) gate.Code {
	if !a.passage.context.sent.Load() || err.StatusCode == http.StatusServiceUnavailable { // no backend is left to ask
		return gate.BackendUnreachable
	}
	if _, ok := errors.AsType[reverseproxy.DialError](err.Err); ok {
		return gate.BackendUnreachable
	}
	if op, ok := errors.AsType[*net.OpError](err.Err); ok && op.Op == "dial" {
		return gate.BackendUnreachable
	}
	if isTLS(err.Err) {
		return gate.BackendUnreachable
	}
	return gate.BackendBrokeOff
}

// isTLS reports whether an error is of a TLS handshake, which comes before any request.
func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert)
}
