package caddymodule

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() {
	caddy.RegisterModule(new(AdminEndpoint))
}

// EndpointMount is where the admin API is on Caddy's admin endpoint.
const EndpointMount = "/api_tokens/v1"

// AdminEndpoint serves the admin API on Caddy's own admin endpoint, below
// `/api_tokens/v1/`. Caddy decides who may call: a client that reaches the
// endpoint could replace the whole configuration. So it is refused where the
// endpoint listens on more than loopback or a unix socket and the client shows no
// certificate.
type AdminEndpoint struct{}

// CaddyModule returns the Caddy module information.
func (*AdminEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.api_tokens",
		New: func() caddy.Module { return new(AdminEndpoint) },
	}
}

// Routes implements caddy.AdminRouter.
func (*AdminEndpoint) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{
		Pattern: EndpointMount + "/",
		Handler: caddy.AdminHandlerFunc(serveEndpoint),
	}}
}

// serveEndpoint finds the app anew each time: after a rejected reload Caddy
// serves the routers of the rejected configuration, while the running one is
// another.
func serveEndpoint(w http.ResponseWriter, r *http.Request) error {
	running, ok := runningConfig(r.Context(), caddy.ActiveContext)
	if !ok {
		refuseEndpoint(w, "Caddy is starting, or stopping. Try again in a moment.")
		return nil
	}
	app, err := running.AppIfConfigured(appName)
	if err != nil {
		refuseEndpoint(w,
			"The running configuration has no token store. Add the global option api_tokens to the Caddyfile, and reload it.")
		return nil
	}
	http.StripPrefix(EndpointMount, app.(*App).endpoint()).ServeHTTP(w, r)
	return nil
}

func refuseEndpoint(w http.ResponseWriter, detail string) {
	refusal := gate.Refuse(gate.StoreUnavailable)
	refusal.Detail = detail
	refusal.Headers(adminRealm, w.Header().Set)
	problem.Write(w, refusal.Problem())
}

// startPoll is how often runningConfig looks for a configuration: Caddy doesn't report
// that it has started.
const startPoll = 10 * time.Millisecond

// runningConfig returns the context of the running configuration. There is none yet while
// Caddy starts, though its admin endpoint already serves: runningConfig waits for it as
// long as a request at the gate waits for the store. It reports whether there is one.
func runningConfig(ctx context.Context, active func() caddy.Context) (caddy.Context, bool) {
	timeout, poll := time.NewTimer(storeWait), time.NewTicker(startPoll)
	defer timeout.Stop()
	defer poll.Stop()
	for {
		if running := active(); running.Context != nil {
			return running, true
		}
		if caddy.Exiting() {
			return caddy.Context{}, false
		}
		select {
		case <-poll.C:
		case <-timeout.C:
			return caddy.Context{}, false
		case <-ctx.Done():
			return caddy.Context{}, false
		}
	}
}

// exposed reports whether a call came in on an address that isn't this machine's
// alone, without a verified client certificate.
func exposed(r *http.Request) bool {
	if verified(r.TLS) {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	switch local.Network() {
	case "unix":
		return false
	case "tcp":
		address, err := netip.ParseAddrPort(local.String())
		return err != nil || !address.Addr().Unmap().IsLoopback()
	}
	return true
}

func verified(state *tls.ConnectionState) bool {
	return state != nil && len(state.VerifiedChains) > 0
}

// endpointActorName is the name under which callers on Caddy's admin endpoint act.
const endpointActorName = "caddy-admin"

// endpointActor is who calls on Caddy's admin endpoint.
func endpointActor(r *http.Request) (tokenstore.Actor, *admin.Refusal) {
	if exposed(r) {
		return tokenstore.Actor{}, admin.RefuseExposed()
	}
	return tokenstore.Actor{Name: endpointActorName, Address: peerAddress(r)}, nil
}

// endpointPath returns the path that a client called on the endpoint.
func endpointPath(r *http.Request) string { return EndpointMount + r.URL.EscapedPath() }

// endpointLogger returns the logger of the running configuration for the endpoint,
// whose router isn't part of any.
func endpointLogger() *zap.Logger { return caddy.Log().Named("admin.api.api_tokens") }

// peerAddress returns the address a request came from, or "" for a unix socket.
func peerAddress(r *http.Request) string {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return address.Addr().Unmap().String()
}

// Interface guards
var (
	_ caddy.Module      = (*AdminEndpoint)(nil)
	_ caddy.AdminRouter = (*AdminEndpoint)(nil)
)
