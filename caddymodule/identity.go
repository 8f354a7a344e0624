package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// identity is what a gate has found out about who sent a request. Its placeholders
// are made when somebody asks for them.
type identity struct {
	user      *tokenstore.Principal // or nil
	candidate *tokenstore.Principal
	code      gate.Code
}

// identityVar is the variable of a request that has been at a gate: its *identity.
const identityVar = "bearer_auth.identity"

// identify begins a request's identity, unless it has one from another gate.
func (id *identity) identify(r *http.Request, repl *caddy.Replacer) *identity {
	vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if known, ok := vars[identityVar].(*identity); ok {
		return known
	}
	vars[identityVar] = id
	repl.Map(id.placeholder)
	return id
}

// mark notes that a request has been at a gate that found out nothing.
func (id *identity) mark(r *http.Request) { id.identify(r, replacer(r)) }

// atGate reports whether a request has been at a gate.
func atGate(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), identityVar) != nil }

const (
	userPrefix      = "http.auth.user."
	candidatePrefix = "http.auth.candidate."
	codePlaceholder = "http.bearer_auth.code"
)

// accept makes the token the request's user, in place of one that another
// authenticator has found, of which nothing is left.
func (id *identity) accept(r *http.Request, token *tokenstore.Principal) {
	repl := replacer(r)
	id = id.identify(r, repl)
	id.user = token
	repl.DeleteByPrefix(userPrefix)
}

// refuse notes why the request was refused, and whose it may be, if that is known.
func (id *identity) refuse(r *http.Request, refusal *gate.Refusal) {
	id = id.identify(r, replacer(r))
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

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
