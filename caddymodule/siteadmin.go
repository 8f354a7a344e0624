package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/admin/dashboard"
	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() {
	caddy.RegisterModule(new(SiteAdmin))
	httpcaddyfile.RegisterHandlerDirective("api_tokens_admin", parseSiteAdmin)
	httpcaddyfile.RegisterDirectiveOrder("api_tokens_admin", httpcaddyfile.Before, "respond")
}

const (
	// siteMount is the path of the admin API relative to the handler's own path.
	siteMount  = "/api/v1"
	adminRealm = "mollygate admin"
)

// SiteAdmin serves the dashboard on a site, the admin API below `/api/v1/`, and Mollymawk's
// own token API below `/api/tokens/`. It admits clients that send an admin token as a bearer
// token or have signed in with one. If `trust_user` is set, it admits trusted users as well.
// Use a separate host for this handler.
type SiteAdmin struct {
	// Whether to admit users that an authenticator before this handler, such as `basic_auth`,
	// has set in `{http.auth.user.id}`. Requests that have passed a `bearer_auth` gate never
	// count as such users. Default: false.
	TrustUsers bool `json:"trust_users,omitempty"`

	// The trusted users to admit. Default: all users that the authenticator accepts.
	TrustedUsers []string `json:"trusted_users,omitempty"`

	app      *App
	logger   *zap.Logger
	failures *gate.FailureLimit
	strays   strayWarnings
	// api and mollymawk are initialized lazily, after all gates have been provisioned.
	api       func() http.Handler
	mollymawk func() http.Handler
	bearer    func(*http.Request) (tokenstore.Actor, *admin.Refusal)
	dashboard *dashboard.Handler
}

// CaddyModule returns the Caddy module information.
func (*SiteAdmin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.api_tokens_admin",
		New: func() caddy.Module { return new(SiteAdmin) },
	}
}

// Provision finds the token store and sets up the dashboard and the APIs.
func (h *SiteAdmin) Provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured(appName)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errNoStoreOption
	}
	if err != nil {
		return err
	}
	h.app = app.(*App)
	h.logger = h.app.redactor().logger(ctx.Logger())
	if err := redactHTTPLogs(ctx, h.app.redactor()); err != nil {
		return err
	}
	h.failures = gate.NewFailureLimit(defaultFailures, defaultFailureWindow)
	bearer := admin.Bearer{
		Store: h.app.Store, Prefixes: h.app.policy.Prefixes, Realm: adminRealm,
		ClientIP: func(r *http.Request) netip.Addr { return gate.ParseAddress(clientIP(variables(r))) },
		Failures: h.failures,
		Sessions: h.app.sessions,
		Secure:   overTLS,
	}
	h.bearer = admin.BearerAuthenticator(bearer)
	// Mollymawk's own API is for programs, so it accepts no sessions.
	tokenOnly := bearer
	tokenOnly.Sessions = nil
	h.api = sync.OnceValue(func() http.Handler {
		config := h.config()
		config.Bearer = &bearer
		return admin.New(config)
	})
	h.dashboard = dashboard.New()
	h.mollymawk = sync.OnceValue(func() http.Handler {
		return admin.NewMollymawk(h.app.adminConfig(admin.BearerAuthenticator(tokenOnly), sitePath, h.logger))
	})
	return nil
}

func (h *SiteAdmin) config() admin.Config {
	return h.app.adminConfig(h.authenticate, sitePath, h.logger)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It never calls next.
func (h *SiteAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	// As at a gate, the credential must not appear in error routes or logs.
	early := r.Header["Early-Data"]
	original := r
	r = cloneRequest(r.Context(), r)
	_, stray := h.app.takeHeaders(original)
	// The API's copy of the request includes session cookies and headers with stray tokens. The
	// API refuses an Idempotency-Key that contains a token.
	authorization := gate.TakeHeaders(r.Header, nil).Authorization
	if authorization != nil {
		r.Header["Authorization"] = authorization
	}
	if early != nil { // set by the proxy in front, so a Connection header can't remove it
		original.Header["Early-Data"], r.Header["Early-Data"] = early, early
	}
	if stray.found() {
		if refusal := h.checkStray(original, stray); refusal.Code != "" {
			refusal.SetHeaders(adminRealm, w.Header())
			problem.WriteLast(w, original, refusal.Problem())
			return nil
		}
	}
	switch {
	case strings.HasPrefix(r.URL.Path, siteMount+"/"):
		http.StripPrefix(siteMount, h.api()).ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, admin.MollymawkPath):
		h.mollymawk().ServeHTTP(w, r)
	case h.dashboard.Has(r.URL.Path):
		h.dashboard.ServeHTTP(w, r)
	default:
		problem.Write(w, problem.Problem{
			Status: http.StatusNotFound, Code: "not_found", Title: "Not found",
			Detail: "There is nothing at this path. The dashboard is at /, and the admin API is below " + siteMount +
				"/, for example " + siteMount + "/tokens.",
		})
	}
	return nil
}

// checkStray counts a request with stray tokens toward the failure limit. It returns a refusal
// if the URL contains a token.
func (h *SiteAdmin) checkStray(r *http.Request, stray strayTokens) gate.Refusal {
	var refusal gate.Refusal
	if stray.inURL {
		refusal = gate.Refuse(gate.TokenInURL)
		refusal.Detail = "The URL contains an API key, and many programs log URLs. Replace the key, because " +
			"others may have seen it. Sign in with it at /, or send it in the Authorization header."
	}
	if store := h.app.store.current(); store != nil {
		now := store.Now()
		h.failures.CountStray(&refusal, gate.ParseAddress(clientIP(variables(r))), now)
		h.strays.note(h.logger, r, stray, now)
	}
	return refusal
}

// overTLS reports whether the client connected over TLS, either to Caddy or to a trusted
// proxy. In a chain of proxies, the first proxy reports the client's protocol.
func overTLS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return trusted && strings.EqualFold(strings.Trim(first, " \t"), "https")
}

// sitePath returns the path that the client requested, before directives such as handle_path
// removed a prefix.
func sitePath(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL.EscapedPath()
	}
	return siteMount + r.URL.EscapedPath()
}

// authenticate returns a request's actor: the trusted user if there is one, otherwise the
// admin token's actor.
func (h *SiteAdmin) authenticate(r *http.Request) (tokenstore.Actor, *admin.Refusal) {
	if user := h.trustedUser(r); user != "" && !gate.HasBearer(r.Header["Authorization"]) {
		return tokenstore.Actor{Name: userActor(user), Address: gate.CanonicalAddress(clientIP(variables(r))),
			Authorize: h.stillTrusts()}, nil
	}
	return h.bearer(r)
}

// stillTrusts returns a function that checks whether a trusted user is still authorized. The
// configuration determines the users and which of them are trusted, so their authorization
// ends when the configuration is replaced, but not when Caddy itself is exiting.
func (h *SiteAdmin) stillTrusts() func() error {
	return func() error {
		if h.app.replaced() {
			return admin.RefuseReconfigured()
		}
		return nil
	}
}

// userMark is prepended to a trusted user's actor name if the user's own name could be
// confused with another actor's name.
const userMark = "user:"

// userActor returns a trusted user's actor name. The name never equals a token ID or
// endpointActorName.
func userActor(user string) string {
	_, err := token.ParseID(user)
	if err == nil || user == endpointActorName || strings.HasPrefix(user, userMark) {
		return userMark + user
	}
	return user
}

// trustedUser returns the user that an authenticator before this handler has set, or "" if the
// handler doesn't trust that user.
func (h *SiteAdmin) trustedUser(r *http.Request) string {
	if !h.TrustUsers || atGate(r) {
		return ""
	}
	user, _ := replacer(r).GetString("http.auth.user.id")
	if len(h.TrustedUsers) > 0 && !slices.Contains(h.TrustedUsers, user) {
		return ""
	}
	return user
}

// parseSiteAdmin sets up the handler from Caddyfile tokens. Syntax:
//
//	api_tokens_admin [<matcher>] {
//		trust_user [<name...>]
//	}
func parseSiteAdmin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	if h.Option(appName) == nil {
		h.Next() // gives the error a line number
		return nil, h.WrapErr(errNoStoreOption)
	}
	handler := new(SiteAdmin)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler; see parseSiteAdmin for the
// syntax.
func (h *SiteAdmin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("api_tokens_admin takes a block, not an argument such as %s", gate.ConfigWord(d.Val()))
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "trust_user":
			if h.TrustUsers {
				return d.Err("trust_user is specified twice; list all users on one line")
			}
			h.TrustUsers = true
			h.TrustedUsers = d.RemainingArgs()
		default:
			return d.Errf("unknown option %s; the only option of api_tokens_admin is trust_user",
				gate.ConfigWord(d.Val()))
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Module                = (*SiteAdmin)(nil)
	_ caddy.Provisioner           = (*SiteAdmin)(nil)
	_ caddyhttp.MiddlewareHandler = (*SiteAdmin)(nil)
	_ caddyfile.Unmarshaler       = (*SiteAdmin)(nil)
)
