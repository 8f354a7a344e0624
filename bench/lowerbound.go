package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/token"
)

func init() {
	caddy.RegisterModule(new(lowerBound))
	httpcaddyfile.RegisterHandlerDirective("lower_bound",
		func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
			l := new(lowerBound)
			h.Next()
			if !h.Args(&l.Token) {
				return nil, h.ArgErr()
			}
			return l, nil
		})
	httpcaddyfile.RegisterDirectiveOrder("lower_bound", httpcaddyfile.Before, "basic_auth")
}

// lowerBound does only what every gate must do that finds tokens by their digest and keeps the client's
// request as it was: it takes the credential out of the headers, finds the token, counts the request,
// and forwards a copy with as many headers as the gate adds. There are no scopes, limits, expiry,
// records, events or placeholders, and no check of the URL, the other headers or the response.
// It is a lower bound for the cost of a gate, not a gate.
type lowerBound struct {
	// Token is the only valid token.
	Token string `json:"token"`

	mu     sync.RWMutex
	tokens map[token.Digest]*knownToken
}

type knownToken struct {
	requests, lastUsed atomic.Int64
}

// boundExchange holds in one object what a request needs.
type boundExchange struct {
	context  boundContext
	response boundWriter
	out      http.Request
	url      url.URL
	values   [6]string
}

type (
	boundContext struct{ context.Context }
	boundWriter  struct{ http.ResponseWriter }
)

// CaddyModule returns the Caddy module information.
func (*lowerBound) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.lower_bound", New: func() caddy.Module { return new(lowerBound) }}
}

// Provision stores the token's digest.
func (l *lowerBound) Provision(caddy.Context) error {
	l.tokens = map[token.Digest]*knownToken{token.DigestOf(l.Token): new(knownToken)}
	return nil
}

// ServeHTTP forwards requests with the token and refuses all others.
func (l *lowerBound) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	credentials := r.Header["Authorization"]
	delete(r.Header, "Authorization")
	var known *knownToken
	if len(credentials) == 1 {
		if text, ok := strings.CutPrefix(credentials[0], "Bearer "); ok {
			digest := token.DigestOf(text)
			l.mu.RLock()
			known = l.tokens[digest]
			l.mu.RUnlock()
		}
	}
	if known == nil {
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	known.requests.Add(1)
	known.lastUsed.Store(time.Now().UnixNano())
	x := new(boundExchange)
	x.context.Context = r.Context() //nolint:fatcontext // each request has its own
	x.response.ResponseWriter = w
	x.out, x.url = *r.WithContext(&x.context), *r.URL
	x.out.URL = &x.url
	x.out.Header = x.copyHeaders(r.Header)
	return next.ServeHTTP(&x.response, &x.out)
}

func (x *boundExchange) copyHeaders(h http.Header) http.Header {
	const added = 4
	out, values := make(http.Header, len(h)+added), x.values[:0]
	for name, lines := range h {
		values = append(values, lines...)
		out[name] = values[len(values)-len(lines) : len(values) : len(values)]
	}
	for _, name := range [added]string{"Authorization", "X-Token-Id", "X-Token-Name", "X-Token-Account"} {
		values = append(values, upstreamToken)
		out[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return out
}

var (
	_ caddy.Provisioner           = (*lowerBound)(nil)
	_ caddyhttp.MiddlewareHandler = (*lowerBound)(nil)
)
