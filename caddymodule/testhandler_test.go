package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// testHandler is a handler module for tests.
type testHandler struct {
	name  string
	serve func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error
}

// registerHandler registers a handler as a module and as a directive, both with the given
// name.
func registerHandler(name string, serve func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error) {
	h := testHandler{name, serve}
	caddy.RegisterModule(h)
	httpcaddyfile.RegisterHandlerDirective(name, func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler,
		error) {
		return h, nil
	})
	httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.Before, "respond")
}

func (h testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: caddy.ModuleID("http.handlers." + h.name), New: func() caddy.Module { return &h }}
}

func (h testHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.serve(w, r, next)
}
