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

// EndpointMount is the path of the admin API on Caddy's admin endpoint.
const EndpointMount = "/api_tokens/v1"

// AdminEndpoint serves the admin API on Caddy's own admin endpoint, below `/api_tokens/v1/`.
// Caddy controls access to this endpoint, where any client can replace the whole
// configuration. If the endpoint listens on anything other than a loopback address or a unix
// socket, the API refuses clients without a verified certificate.
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

// serveEndpoint looks up the app on every request, because after a rejected reload Caddy keeps
// serving the rejected configuration's routers while another configuration is running.
func serveEndpoint(w http.ResponseWriter, r *http.Request) error {
	running, ok := runningConfig(r.Context(), caddy.ActiveContext)
	if !ok {
		refuseEndpoint(w, "Caddy is starting or stopping. Try again in a moment.")
		return nil
	}
	app, err := running.AppIfConfigured(appName)
	if err != nil {
		refuseEndpoint(w,
			"The running configuration has no token store. "+
				"Add the global option api_tokens to the Caddyfile and reload it.")
		return nil
	}
	http.StripPrefix(EndpointMount, app.(*App).endpoint()).ServeHTTP(w, r)
	return nil
}

func refuseEndpoint(w http.ResponseWriter, detail string) {
	refusal := gate.Refuse(gate.StoreUnavailable)
	refusal.Detail = detail
	refusal.SetHeaders(adminRealm, w.Header())
	problem.Write(w, refusal.Problem())
}

// startPoll is how often runningConfig checks for a configuration. It polls because Caddy
// doesn't signal that it has started.
const startPoll = 10 * time.Millisecond

// runningConfig returns the running configuration's context and reports whether a
// configuration is running. Caddy's admin endpoint serves before the first configuration runs,
// so runningConfig waits up to [storeWait], just like a request at a gate.
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

// exposed reports whether a request arrived on a non-local address without a verified client
// certificate.
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

// endpointActorName is the actor name of callers on Caddy's admin endpoint.
const endpointActorName = "caddy-admin"

// endpointActor returns the actor of a request to Caddy's admin endpoint.
func endpointActor(r *http.Request) (tokenstore.Actor, *admin.Refusal) {
	if exposed(r) {
		return tokenstore.Actor{}, admin.RefuseExposed()
	}
	return tokenstore.Actor{Name: endpointActorName, Address: peerAddress(r)}, nil
}

// endpointPath returns the path that the client requested on the endpoint.
func endpointPath(r *http.Request) string { return EndpointMount + r.URL.EscapedPath() }

// endpointLogger returns the running configuration's logger, because the endpoint's router
// doesn't belong to any configuration.
func endpointLogger() *zap.Logger { return caddy.Log().Named("admin.api.api_tokens") }

// peerAddress returns a request's remote address, or "" for a unix socket.
func peerAddress(r *http.Request) string {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return address.Addr().Unmap().String()
}

// Interface guards.
var (
	_ caddy.Module      = (*AdminEndpoint)(nil)
	_ caddy.AdminRouter = (*AdminEndpoint)(nil)
)
