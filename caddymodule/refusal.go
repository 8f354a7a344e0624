package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/tokenstore"
)

// refuse answers a request with a refusal.
func (h *BearerAuth) refuse(w http.ResponseWriter, r *http.Request, refusal gate.Refusal) error {
	metrics.count(string(refusal.Code))
	if refusal.Token != nil {
		setPlaceholders(r, &candidatePlaceholders, refusal.Token)
	}
	replacer(r).Set("http.bearer_auth.code", string(refusal.Code))
	h.logRefusal(r, refusal)

	refusal.Headers(h.Realm, w.Header().Set)
	details := refusal.Problem()
	if h.Refusals == refusalsByErrorRoutes && !refusal.Final() {
		problem.EndConnection(w, r)
		return caddyhttp.Error(details.Status, errors.New(details.Detail))
	}
	problem.WriteLast(w, r, details)
	return nil
}

// logRefusal writes what the operator should know: everything that is the
// client's fault is for debugging.
func (h *BearerAuth) logRefusal(r *http.Request, refusal gate.Refusal) {
	if refusal.Final() && h.app.tokenInURL(r) {
		h.app.skipURL(r, h.logger)
		return
	}
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
		zap.Stringer("client_ip", clientIP(r)),
	}
	if refusal.Token != nil {
		fields = append(fields, zap.Stringer("token_id", refusal.Token.ID), zap.String("token_name", refusal.Token.Name))
	}
	if refusal.Err != nil {
		fields = append(fields, zap.Error(refusal.Err))
	}
	line.Write(fields...)
}

// setNotices sets the headers that an allowed answer carries. They are about the
// secret that was presented: one from before a rotation ends with its grace.
func (p *passage) setNotices(header http.Header) {
	p.decision.Limits.Headers(header.Set)
	token := p.decision.Match.Token
	switch {
	case p.decision.Match.Previous:
		end := token.PreviousValidUntil.Format(time.RFC3339)
		header["Api-Key-Expires"] = []string{end}
		header["Api-Key-Warning"] = []string{"rotated; until=" + end}
	case token.ExpiresAt.IsZero():
	default:
		end := token.ExpiresAt.Format(time.RFC3339)
		header["Api-Key-Expires"] = []string{end}
		if p.handler.app.expiresSoon(token, p.facts.Now) {
			header["Api-Key-Warning"] = []string{"expires-soon; at=" + end}
		}
	}
}

// placeholderNames are the placeholders that tell of a token.
type placeholderNames struct{ id, name, account, scopes string }

var (
	userPlaceholders = placeholderNames{
		"http.auth.user.id", "http.auth.user.name", "http.auth.user.account", "http.auth.user.scopes",
	}
	candidatePlaceholders = placeholderNames{
		"http.auth.candidate.id", "http.auth.candidate.name", "http.auth.candidate.account", "http.auth.candidate.scopes",
	}
)

func setPlaceholders(r *http.Request, names *placeholderNames, token *tokenstore.Token) {
	repl := replacer(r)
	repl.Set(names.id, token.ID.String())
	repl.Set(names.name, token.Name)
	repl.Set(names.account, token.Account)
	repl.Set(names.scopes, strings.Join(token.Scopes, " "))
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// clientIP returns the client's address as Caddy determined it, which counts
// trusted_proxies; the zero address if there is none.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	address, _ := netip.ParseAddr(text)
	return address.Unmap()
}
