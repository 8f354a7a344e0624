package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

func init() {
	caddy.RegisterModule(new(BearerAuth))
}

const (
	defaultRealm         = "api"
	defaultMaxBody       = 1 << 20
	defaultMaxUpload     = 1 << 30
	defaultBodyTimeout   = time.Minute
	defaultMaxBuffered   = 256 << 20
	defaultAnswerTimeout = 5 * time.Minute
	defaultDetached      = 16

	// refusalsByErrorRoutes is the Refusals value that makes the site's error routes write
	// refusal bodies.
	refusalsByErrorRoutes = "handle_errors"
)

// BearerAuth is a gate. It passes requests for known routes with a valid API token to the next
// handlers and refuses all other requests.
//
// The next handlers receive a copy of the request. In this copy, the account's upstream token
// replaces the client's token, and the headers `X-Token-Id`, `X-Token-Name` and
// `X-Token-Account` are set. The gate removes the client's token from the original request
// beforehand, so neither token can appear in error routes, placeholders or logs.
//
// Later handlers can use these placeholders:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The token's ID, also the `user_id` in the access log
// `{http.auth.user.name}` | The token's name
// `{http.auth.user.account}` | The account that the token acts for
// `{http.auth.user.scopes}` | The token's scopes, separated by spaces
// `{http.auth.candidate.*}` | The same values for a refused request whose token is known
// `{http.bearer_auth.code}` | Why the request was refused.
type BearerAuth struct {
	// The name of a built-in route table for the backend.
	Routes string `json:"routes,omitempty"`

	// Additional routes, for any other backend.
	CustomRoutes []CustomRoute `json:"custom_routes,omitempty"`

	// The name of the backend's browser session cookie. If set, requests without a bearer
	// token pass through to the backend unchanged; on the gate's own routes, they must have
	// this cookie. Default: none; every request needs a token.
	BrowserSessions string `json:"browser_sessions,omitempty"`

	// Where people create API keys for this gate: a URL, or a path that begins with /. With
	// browser_sessions, the gate redirects browsers from the backend's own API key page to
	// this page and refuses calls that create backend keys, because backend keys don't work at
	// this gate. Refusals include this URL. Default: none.
	KeysPage string `json:"keys_page,omitempty"`

	// The realm named in refusals. Default: the backend's lower-case name from `routes`, or
	// `api` without `routes`.
	Realm string `json:"realm,omitempty"`

	// The maximum body size on an ordinary route, in bytes. The gate reads the body before it
	// contacts the backend. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// The maximum body size, in bytes, of a request without a token that matches none of the
	// routes. The gate reads the body before it contacts the backend. -1 means no limit; these
	// bodies are then neither buffered nor checked. Default: 1 MiB with `routes`, otherwise
	// -1.
	MaxAnonymousBody int64 `json:"max_anonymous_body,omitempty"`

	// The maximum body size on an upload route, in bytes. The body is streamed. Default: 1
	// GiB.
	MaxUpload int64 `json:"max_upload,omitempty"`

	// A directory that stores uploads until they are complete. The gate contacts the backend
	// only once an upload is complete, so the backend never sees an upload that the client
	// aborts. Default: none; uploads are streamed.
	SpoolUploads string `json:"spool_uploads,omitempty"`

	// How long a body on an ordinary route may take to arrive, measured from the end of the
	// request header. For a form, this applies to the part before the file. -1 means that only
	// Caddy's own limit applies. Default: 1m.
	BodyTimeout caddy.Duration `json:"body_timeout,omitempty"`

	// The maximum memory for buffered bodies of all requests in the process, in bytes; -1 for
	// no limit. Requests that exceed it are refused with 503 and Retry-After. Default: 256
	// MiB.
	MaxBuffered int64 `json:"max_buffered,omitempty"`

	// How many of a token's requests may continue after their clients have disconnected; -1
	// for no limit. GET requests never continue. Default: 16.
	DetachedRequests int `json:"detached_requests,omitempty"`

	// How long the backend may take to begin its response, measured from the end of the
	// request body; -1 for no limit. Console streams and downloads have no limit. Default: 5m.
	AnswerTimeout caddy.Duration `json:"answer_timeout,omitempty"`

	// The client headers to forward to the backend in requests with a token, in addition to
	// the headers that bodies and websockets require. If set, all other headers are removed.
	// Default: all except those that the gate always removes.
	RequestHeaders []string `json:"request_headers,omitempty"`

	// How many invalid tokens a client address may present within a time window before its
	// requests are throttled. Valid tokens from the address still work. Default: 100 per
	// minute.
	FailureLimit *FailureLimit `json:"failure_limit,omitempty"`

	// With `handle_errors`, the site's error routes write the response body of a refused
	// request, unless its URL contains a token: an error route could reveal the token. By
	// default, the gate writes all of these bodies itself.
	Refusals string `json:"refusals,omitempty"`

	app  *App
	gate *gate.Gate
	// backend is shared by all requests.
	backend backendState
	logger  *zap.Logger
	strays  strayWarnings
	// probes caches the backend's responses to probes.
	probes probeCache
	// chain is nil until the first allowed request.
	chain atomic.Pointer[backendChain]
}

// CustomRoute is a route for a backend without a built-in route table.
type CustomRoute struct {
	Method string `json:"method"`
	// The exact path; `*` matches one segment.
	Path string `json:"path"`
	// The scope that a token needs for this route, as `resource:action`.
	Scope string `json:"scope"`
	// Whether the route accepts uploads: the body is streamed, and may be as large as
	// `max_upload`.
	Upload bool `json:"upload,omitempty"`
	// Whether the connection may be upgraded to a websocket.
	WebSocket bool `json:"websocket,omitempty"`
	// Where requests name the resources that they act on. Tokens that are bound to resources
	// can't use a route without targets.
	Targets []CustomTarget `json:"targets,omitempty"`
}

// CustomTarget says where requests name a resource.
type CustomTarget struct {
	// The type of the resource, such as `project`.
	Type string `json:"type"`
	// Where its name is: `query`, `json` or `path`.
	In string `json:"in"`
	// The name of the query parameter, the path of the JSON member, such as `volume.name`, or the
	// number of the path segment, starting with 1.
	Name string `json:"name"`
}

// route returns c as a gate.Route.
func (c CustomRoute) route() gate.Route {
	return gate.Route{
		Method: c.Method, Path: c.Path, Scope: token.Scope{Name: c.Scope},
		Upload: c.Upload, WebSocket: c.WebSocket,
	}
}

// addTo adds the route, and the types of its targets, to a table.
func (c CustomRoute) addTo(table *gate.Table) error {
	route := c.route()
	var sources []gate.TargetSource
	for _, target := range c.Targets {
		source := gate.TargetSource(target)
		if err := source.Check(&route); err != nil {
			return fmt.Errorf("route %s %s: %w", gate.ConfigWord(c.Method), gate.ConfigWord(c.Path), err)
		}
		i := slices.IndexFunc(table.ResourceTypes, func(t token.ResourceType) bool { return t.Names(target.Type) })
		if i >= 0 {
			source.Type = table.ResourceTypes[i].Name // target.Type may be an alias
		} else {
			table.ResourceTypes = append(slices.Clip(table.ResourceTypes), token.ResourceType{Name: target.Type})
		}
		sources = append(sources, source)
	}
	route.Targets = gate.CustomTargets(sources, table.ResourceTypes)
	table.Routes = append(table.Routes, route)
	return nil
}

// CaddyModule returns the Caddy module information.
func (*BearerAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.bearer_auth",
		New: func() caddy.Module { return new(BearerAuth) },
	}
}

// Provision sets up the gate.
func (h *BearerAuth) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.AppIfConfigured(appName)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errNoStoreOption
	}
	if err != nil {
		return err
	}
	h.app = app.(*App)
	return h.app.redactConfigError(h.provision(ctx))
}

func (h *BearerAuth) provision(ctx caddy.Context) error {
	h.logger = h.app.redactor().logger(h.logger)
	if err := redactHTTPLogs(ctx, h.app.redactor()); err != nil {
		return err
	}
	own, err := newConfiguredGate(h)
	if err != nil {
		return err
	}
	explicit, err := h.app.readGates(ctx, own)
	if err != nil {
		return err
	}
	h.setDefaults(own.table.Backend)
	if h.SpoolUploads != "" {
		if err := checkSpool(h.SpoolUploads); err != nil {
			return err
		}
	}
	own.gate, err = gate.New(gate.Config{
		Table:           own.table,
		KeysPage:        h.KeysPage,
		Explicit:        explicit,
		Prefixes:        h.app.policy.Prefixes,
		BrowserSessions: h.BrowserSessions != "",
		HasAccount:      func(name string) bool { return h.app.account(name) != nil },
		Failures:        h.FailureLimit.limit(),
		MaxBody:         h.MaxBody,
		MaxUpload:       h.MaxUpload,
		RequestHeaders:  h.RequestHeaders,

		MaxAnonymousBody: max(h.MaxAnonymousBody, 0),
	})
	if err != nil {
		return err
	}
	h.gate = own.gate
	own.backend, own.handler = &h.backend, h
	h.app.addGate(own)
	if h.SpoolUploads != "" {
		h.app.spools = append(h.app.spools, h.SpoolUploads)
	}
	return nil
}

var errNoStoreOption = errors.New(
	`bearer_auth needs a token store. Add to the global options at the top of the Caddyfile:

	{
		api_tokens {
			account default {
				upstream_token {env.UPSTREAM_TOKEN}
			}
		}
	}`)

func (h *BearerAuth) setDefaults(backend string) {
	if h.Realm == "" {
		h.Realm = cmp.Or(strings.ToLower(backend), defaultRealm)
	}
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.MaxUpload == 0 {
		h.MaxUpload = defaultMaxUpload
	}
	if h.FailureLimit == nil {
		h.FailureLimit = &FailureLimit{Failures: defaultFailures, Window: caddy.Duration(defaultFailureWindow)}
	}
	if h.BodyTimeout == 0 {
		h.BodyTimeout = caddy.Duration(defaultBodyTimeout)
	}
	if h.MaxBuffered == 0 {
		h.MaxBuffered = max(defaultMaxBuffered, 2*h.MaxBody, 2*h.MaxAnonymousBody)
	}
	if h.MaxAnonymousBody == 0 {
		h.MaxAnonymousBody = h.defaultAnonymousBody()
	}
	if h.DetachedRequests == 0 {
		h.DetachedRequests = defaultDetached
	}
	if h.AnswerTimeout == 0 {
		h.AnswerTimeout = caddy.Duration(defaultAnswerTimeout)
	}
}

// defaultAnonymousBody returns the default max_anonymous_body: 1 MiB, or less if max_buffered
// is small.
func (h *BearerAuth) defaultAnonymousBody() int64 {
	switch {
	case h.Routes == "":
		return -1
	case h.MaxBuffered > 0:
		return min(defaultMaxBody, max(h.MaxBody, h.MaxBuffered/2))
	}
	return defaultMaxBody
}

// table returns all of the gate's routes.
func (h *BearerAuth) table() (gate.Table, error) {
	var table gate.Table
	if h.Routes != "" {
		builtIn, ok := gate.TableByName(h.Routes)
		if !ok {
			return table, errUnknownTable(h.Routes)
		}
		table = builtIn
	}
	for _, custom := range h.CustomRoutes {
		if err := custom.addTo(&table); err != nil {
			return table, err
		}
	}
	if len(table.Routes) == 0 {
		return table, fmt.Errorf(
			"bearer_auth has no routes and would refuse every request: "+
				"add `routes %s`, or `route <method> <path> <scope>` lines",
			strings.Join(gate.TableNames(), "|"))
	}
	return table, nil
}

func errUnknownTable(name string) error {
	return fmt.Errorf("unknown route table %s; the built-in tables are %s", gate.ConfigWord(name),
		strings.Join(gate.TableNames(), ", "))
}

// Validate checks the settings.
func (h *BearerAuth) Validate() error {
	if strings.ContainsFunc(h.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return errors.New("realm: write printable ASCII without quotes and backslashes")
	}
	if h.MaxBody < 0 || h.MaxUpload < 0 {
		return errors.New("max_body and max_upload must be 1 byte or more")
	}
	for option, size := range map[string]int64{"max_body": h.MaxBody, "max_anonymous_body": h.MaxAnonymousBody} {
		if h.MaxBuffered > 0 && h.MaxBuffered <= size {
			return fmt.Errorf(
				"max_buffered is %d bytes, too small to buffer a body of %s (%d bytes): "+
					"raise max_buffered, or lower %[2]s", h.MaxBuffered, option, size)
		}
	}
	if h.DetachedRequests < -1 || h.MaxBuffered < -1 || h.MaxAnonymousBody < -1 {
		return errors.New(
			"detached_requests, max_buffered and max_anonymous_body must be 1 or more, or -1 for no limit")
	}
	if err := h.FailureLimit.validate(); err != nil {
		return err
	}
	if err := gate.CheckRequestHeaders(h.RequestHeaders); err != nil {
		return err
	}
	if h.Refusals != "" && h.Refusals != refusalsByErrorRoutes {
		return fmt.Errorf("refusals %s: the only allowed value is %s", gate.ConfigWord(h.Refusals),
			refusalsByErrorRoutes)
	}
	if h.KeysPage != "" {
		table, _ := h.table() // other code checks that there are routes
		if err := gate.CheckKeysPage(h.KeysPage, table.KeyPaths); err != nil {
			return err
		}
	}
	if h.BrowserSessions != "" && !validCookieName(h.BrowserSessions) {
		return fmt.Errorf("browser_sessions: %s is not a valid cookie name", gate.ConfigWord(h.BrowserSessions))
	}
	return nil
}

func validCookieName(name string) bool {
	return httpguts.ValidHeaderFieldName(name) // both are tokens (RFC 6265 section 4.1.1)
}

// ServeHTTP refuses, redirects or forwards the request, depending on the gate's decision.
func (h *BearerAuth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	taken, stray := h.app.takeHeaders(r)
	r.Trailer = nil // hides trailers from error routes too; net/http would fill them in
	store, err := h.app.Store(r.Context())
	if err != nil {
		return h.refuseWithoutStore(w, r, stray, err)
	}
	now := store.Now()
	if stray.found() {
		h.strays.note(h.logger, r, stray, now)
	}
	vars := variables(r)
	facts := h.facts(r, vars, &taken, stray, now)
	var decision gate.Decision
	begun := metrics.startDecision()
	h.gate.Decide(store, &facts, &decision)
	metrics.observeDecision(begun)
	switch {
	case decision.Refused():
		if decision.Matched() {
			countDenied(store, r, &decision.Finding, &decision.Refusal, facts.ClientIP, now)
		}
		return h.refuse(w, r, decision.Refusal)
	case decision.Redirect != "":
		metrics.count(outcomeBrowser)
		new(identity).mark(r)
		w.Header().Set("Location", decision.Redirect)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	case decision.PassThrough:
		return h.passThrough(w, r, &decision, now, next)
	case decision.OwnKey:
		return h.describeKey(w, r, store, &decision.Finding, now)
	}
	h.noteChain(r, next)
	exchange := &exchange{handler: h, store: store, Finding: decision.Finding, now: now, vars: vars,
		replacer: replacer(r), clientIP: facts.ClientIP}
	return exchange.forward(w, r, next)
}

// facts collects the request properties on which the gate bases its decision.
func (h *BearerAuth) facts(r *http.Request, vars map[string]any, taken *gate.Taken, stray strayTokens,
	now time.Time) gate.Request {
	facts := gate.Request{
		Method:        r.Method,
		Path:          gate.RawPath(r.URL),
		Query:         r.URL.RawQuery,
		Authorization: taken.Authorization,
		TokenInURL:    stray.inURL,
		StrayToken:    stray.found(),
		WebSocket:     taken.WebSocket,
		ClientIP:      clientIP(vars),
		EarlyData:     gate.IsEarlyData(r),
		ContentLength: r.ContentLength,
		Now:           now,
	}
	if h.BrowserSessions != "" {
		cookie, err := r.Cookie(h.BrowserSessions)
		facts.Session = err == nil && cookie.Value != ""
		facts.Navigation = h.KeysPage != "" && isNavigation(r)
	}
	return facts
}

// isNavigation reports whether the request comes from a browser that is navigating to a page.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return r.Method == http.MethodGet && mode == "navigate"
	}
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// Interface guards.
var (
	_ caddy.Module                = (*BearerAuth)(nil)
	_ caddy.Provisioner           = (*BearerAuth)(nil)
	_ caddy.Validator             = (*BearerAuth)(nil)
	_ caddyhttp.MiddlewareHandler = (*BearerAuth)(nil)
)
