package caddymodule

import (
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
)

// strayTokens records where a request contains tokens outside the Authorization header.
type strayTokens struct {
	headers []string // names
	inURL   bool
}

func (s *strayTokens) found() bool { return s.inURL || len(s.headers) > 0 }

// takeHeaders sanitizes a request's headers, and returns what it has taken and where else it has
// found tokens. It doesn't affect the logs, which have their own copy of the request; see
// [redactHTTPLogs].
func (a *App) takeHeaders(r *http.Request) (gate.Taken, strayTokens) {
	taken := gate.TakeHeaders(r.Header, a.policy.Prefixes)
	gate.RemoveSessionCookies(r.Header)
	return taken, strayTokens{headers: taken.Tokens, inURL: a.tokenInURL(r)}
}

// tokenInURL reports whether the request's URL, in its current or original form, contains a
// token.
func (a *App) tokenInURL(r *http.Request) bool {
	if gate.URLHasToken(a.policy.Prefixes, r.URL) {
		return true
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return ok && original.URL != nil && *original.URL != *r.URL && gate.URLHasToken(a.policy.Prefixes, original.URL)
}

// strayWarnings logs warnings about stray tokens, at most once per strayWarningInterval,
// because anyone can send text that looks like a token. The access log still records each of
// these requests.
type strayWarnings struct {
	mu sync.Mutex
	// next is the earliest time at which another warning may be logged.
	next time.Time
	// suppressed is the number of requests since the last warning.
	suppressed int
}

const strayWarningInterval = time.Minute

// note logs a warning about a request with stray tokens, unless it has logged one recently.
// The logger must redact tokens.
func (w *strayWarnings) note(logger *zap.Logger, r *http.Request, stray strayTokens, now time.Time) {
	w.mu.Lock()
	if now.Before(w.next) && w.next.Sub(now) <= strayWarningInterval { // also works after the clock has been set back
		w.suppressed++
		w.mu.Unlock()
		return
	}
	suppressed := w.suppressed
	w.next, w.suppressed = now.Add(strayWarningInterval), 0
	w.mu.Unlock()
	logger.Warn("request contains a token outside the Authorization header; replace the token",
		zap.Bool("in_url", stray.inURL),
		zap.Strings("headers", stray.headers),
		zap.String("method", r.Method),
		zap.String("host", r.Host),
		zap.String("uri", r.RequestURI),
		zap.String("client_ip", loggedAddress(clientIP(variables(r)))),
		zap.Int("suppressed", suppressed))
}
