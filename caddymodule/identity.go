package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// identity holds what a gate knows about a request's sender. Placeholder values are computed
// on demand.
type identity struct {
	user      *tokenstore.Principal // or nil
	candidate *tokenstore.Principal
	code      gate.Code
}

// identityVar is the name of the variable in which a gate stores a request's *identity.
const identityVar = "bearer_auth.identity"

// identify makes id the request's identity, unless an earlier gate has already set one, and
// returns the request's identity.
func (id *identity) identify(vars map[string]any, repl *caddy.Replacer) *identity {
	if known, ok := vars[identityVar].(*identity); ok {
		return known
	}
	vars[identityVar] = id
	repl.Map(id.placeholder)
	return id
}

// mark records that a gate has handled the request but couldn't identify its sender.
func (id *identity) mark(r *http.Request) { id.identify(variables(r), replacer(r)) }

// atGate reports whether a gate has handled the request.
func atGate(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), identityVar) != nil }

const (
	userPrefix      = "http.auth.user."
	candidatePrefix = "http.auth.candidate."
	codePlaceholder = "http.bearer_auth.code"
)

// accept sets the token as the request's user, replacing any user that another authenticator
// has set. vars and repl are the request's variables and placeholders.
func (id *identity) accept(vars map[string]any, repl *caddy.Replacer, token *tokenstore.Principal) {
	id = id.identify(vars, repl)
	id.user = token
	repl.DeleteByPrefix(userPrefix)
}

// refuse records why the request was refused and, if it is known, the request's token.
func (id *identity) refuse(r *http.Request, refusal *gate.Refusal) {
	id = id.identify(variables(r), replacer(r))
	id.code = refusal.Code
	if refusal.Token.Known() {
		candidate := refusal.Token
		id.candidate = &candidate
	}
}

// placeholder implements caddy.ReplacerFunc.
func (id *identity) placeholder(name string) (any, bool) {
	if field, ok := strings.CutPrefix(name, userPrefix); ok && id.user != nil {
		return tokenPlaceholder(id.user, field)
	}
	if field, ok := strings.CutPrefix(name, candidatePrefix); ok && id.candidate != nil {
		return tokenPlaceholder(id.candidate, field)
	}
	if name == codePlaceholder && id.code != "" {
		return string(id.code), true
	}
	return nil, false
}

func tokenPlaceholder(token *tokenstore.Principal, field string) (any, bool) {
	switch field {
	case "id":
		return token.ID.String(), true
	case "name":
		return token.Name(), true
	case "account":
		return token.Account, true
	case "scopes":
		return strings.Join(token.Scopes, " "), true
	}
	return nil, false
}

// variables returns the variables that Caddy's handlers share during a request, or nil if Caddy's
// HTTP server doesn't serve it.
func variables(r *http.Request) map[string]any {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return vars
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
