package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
)

// tokenInURL says whether a token stands in the URL of a request, as it is now or
// as the client sent it.
func (a *App) tokenInURL(r *http.Request) bool {
	if gate.URLHasToken(a.policy.Prefixes, r.URL) {
		return true
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return ok && original.URL != nil && *original.URL != *r.URL && gate.URLHasToken(a.policy.Prefixes, original.URL)
}

// redact takes the secrets of tokens out of a URL. If some are hidden by escapes,
// the URL is returned unescaped.
func (a *App) redact(uri string) string {
	prefixes := a.policy.Prefixes
	uri = prefixes.Redact(uri)
	if unescaped := gate.Unescape(uri); prefixes.Find(unescaped) >= 0 {
		return prefixes.Redact(unescaped)
	}
	return uri
}

// skipAccessLog keeps a request with a token where it doesn't belong out of
// Caddy's access log, and logs it in its place.
func skipAccessLog(r *http.Request, logger *zap.Logger, message string, fields ...zap.Field) {
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	logger.Warn(message, append(fields,
		zap.String("method", r.Method),
		zap.String("host", r.Host),
		zap.String("client_ip", loggedAddress(clientIP(r))))...)
}

// skipURL is skipAccessLog for a token in the URL.
func (a *App) skipURL(r *http.Request, logger *zap.Logger) {
	skipAccessLog(r, logger, "refused request with a token in its URL; replace the token",
		zap.String("code", string(gate.TokenInURL)), zap.String("uri", a.redact(r.RequestURI)))
}
