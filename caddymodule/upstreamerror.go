package caddymodule

import (
	"errors"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// redact returns an error without the upstream token. Go's HTTP client quotes parts of
// responses that it can't parse, and a backend may echo the token in its response. If the
// error doesn't contain the token, redact returns it unchanged.
func (rw *responseWriter) redact(err error) error {
	if err == nil {
		return nil
	}
	text := rw.exchange.upstream.Redact(err.Error())
	if text == err.Error() {
		return err
	}
	redacted := errors.New(text)
	if status, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		status.Err = redacted
		return status
	}
	return redacted
}
