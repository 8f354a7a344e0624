package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/tokenstore"
)

// refuse sends a refusal in response to a request.
func (h *BearerAuth) refuse(w http.ResponseWriter, r *http.Request, refusal gate.Refusal) error {
	metrics.count(string(refusal.Code))
	new(identity).refuse(r, &refusal)
	h.logRefusal(r, refusal)

	refusal.SetHeaders(h.Realm, w.Header())
	details := refusal.Problem()
	if h.Refusals == refusalsByErrorRoutes && !refusal.Final() {
		problem.EndConnection(w, r)
		return caddyhttp.Error(details.Status, errors.New(details.Detail))
	}
	problem.WriteLast(w, r, details)
	return nil
}

// refuseWithoutStore refuses a request because the store is unavailable. If the URL contains a
// token, the refusal names that problem instead, because the client must not retry the
// request.
func (h *BearerAuth) refuseWithoutStore(w http.ResponseWriter, r *http.Request, stray strayTokens, err error) error {
	code := gate.StoreUnavailable
	if stray.inURL {
		code = gate.TokenInURL
	}
	refusal := gate.Refuse(code)
	refusal.Err = err
	return h.refuse(w, r, refusal)
}

// logRefusal logs a refusal: server errors at the error level, client errors at the debug
// level.
func (h *BearerAuth) logRefusal(r *http.Request, refusal gate.Refusal) {
	level := zapcore.DebugLevel
	if refusal.Status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	line := h.logger.Check(level, "refused request")
	if line == nil {
		return
	}
	fields := []zap.Field{
		zap.String("code", string(refusal.Code)),
		zap.Int("status", refusal.Status),
		zap.String("method", r.Method),
		zap.String("host", r.Host),
		zap.String("uri", r.RequestURI),
		zap.String("client_ip", loggedAddress(clientIP(variables(r)))),
	}
	if refusal.Token.Known() {
		fields = append(fields, zap.Stringer("token_id", refusal.Token.ID),
			zap.String("token_name", refusal.Token.Name()))
	}
	if refusal.Err != nil {
		fields = append(fields, zap.Error(refusal.Err))
	}
	line.Write(fields...)
}

// setNotices sets the gate's headers in the response to an allowed request. The headers
// describe the secret that the client presented. After a rotation, for example, the previous
// secret expires when its grace period ends.
func (p *exchange) setNotices(header http.Header) {
	p.Limits.SetHeaders(header)
	token := &p.Match.Token
	switch {
	case p.Match.Previous:
		end := p.Match.PreviousValidUntil().Format(time.RFC3339)
		header["Api-Key-Expires"] = []string{end}
		header["Api-Key-Warning"] = []string{"rotated; until=" + end}
	case token.ExpiresAt().IsZero():
	default:
		end := token.ExpiresAt().Format(time.RFC3339)
		header["Api-Key-Expires"] = []string{end}
		if token.ExpiresSoon(p.handler.app.warnBefore, p.now) {
			header["Api-Key-Warning"] = []string{"expires-soon; at=" + end}
		}
	}
}

// clientIP returns the client address that Caddy has determined, taking trusted_proxies into
// account. It returns "" if there is none. vars are the request's variables.
func clientIP(vars map[string]any) string {
	address, _ := vars[caddyhttp.ClientIPVarKey].(string)
	return address
}

// userAgent is like r.UserAgent, but doesn't check the spelling of the header's name.
func userAgent(r *http.Request) string {
	if values := r.Header["User-Agent"]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// loggedAddress returns the client address for logs, or "-" if there is none.
func loggedAddress(address string) string { return cmp.Or(gate.CanonicalAddress(address), "-") }

// countDenied counts a request that was refused despite a correct secret. Its path contains no
// token, because the gate refuses such requests before it looks for a secret.
func countDenied(store *tokenstore.Store, r *http.Request, finding *gate.Finding,
	refusal *gate.Refusal, address string, now time.Time) {
	store.CountDenied(finding.Match, tokenstore.Refusal{
		Time: now, Method: r.Method, Path: gate.RawPath(r.URL), Scope: finding.Scope(), Code: string(refusal.Code),
		IP: gate.CanonicalAddress(address), UserAgent: userAgent(r),
	})
}
