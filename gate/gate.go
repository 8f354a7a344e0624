package gate

import (
	"net/http"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Config configures a gate: its backend's table and the options.
type Config struct {
	Table
	// KeysPage is where people get API keys for this gate: a URL or a path. The gate redirects
	// browsers from the KeyPaths to this page. Empty means that there is no such page.
	KeysPage string
	// Explicit is the set of scope prefixes that the grant "*" doesn't cover at any configured
	// gate; see [ExplicitPrefixes]. Nil means the explicit prefixes of Routes.
	Explicit ScopePrefixes
	Prefixes token.Prefixes
	// BrowserSessions lets requests without a bearer credential pass through to the backend.
	BrowserSessions bool
	// HasAccount reports whether an account is configured. Nil means that every account counts
	// as configured. [Gate.Recheck] calls it again.
	HasAccount func(name string) bool
	// Failures throttles token guessing. Nil means no limit.
	Failures *FailureLimit
	// MaxBody and MaxUpload are the maximum body sizes, in bytes, for ordinary routes and for
	// Upload routes.
	MaxBody, MaxUpload int64
	// MaxAnonymousBody is the maximum body size, in bytes, for requests without a token to
	// paths that aren't in the route table. 0 means no limit, and the gate doesn't check the
	// body either.
	MaxAnonymousBody int64
	// RequestHeaders, if not nil, lists the only client headers that the gate forwards on
	// requests with a token; see [CheckRequestHeaders].
	RequestHeaders []string
}

// Gate decides what happens to requests.
type Gate struct {
	config Config
	router *router
	// allowed is the set of headers in Config.RequestHeaders and requiredHeaders, or nil if
	// all headers are allowed.
	allowed map[string]bool
	// backendKeyDetail is the refusal detail for a token that looks like one of the backend's
	// own keys.
	backendKeyDetail string
}

// New returns a gate. It copies the routes. The error names every invalid route.
func New(config Config) (*Gate, error) {
	if config.Explicit == nil {
		config.Explicit = ExplicitPrefixes(config.Table)
	}
	router, err := newRouter(config.Routes, config.Explicit)
	if err != nil {
		return nil, err
	}
	if err := CheckRequestHeaders(config.RequestHeaders); err != nil {
		return nil, err
	}
	return &Gate{config: config, router: router, allowed: allowedHeaders(config.RequestHeaders),
		backendKeyDetail: config.backendKeyDetail()}, nil
}

// Routes returns the routes that requests with a token can use. The caller must not modify them.
func (g *Gate) Routes() []Route { return g.config.Routes }

// Request holds the facts about a request on which the gate bases its decision.
type Request struct {
	Method string
	// Path is escaped, as [RawPath] returns it.
	Path string
	// Query is the raw query, as sent by the client or set by a rewrite before the gate.
	Query string
	// Authorization holds the Authorization values, one per header line.
	Authorization []string
	// TokenInURL reports whether the current or the original URL contains a token.
	TokenInURL bool
	// StrayToken reports whether there is a token in the URL or in a header other than
	// Authorization.
	StrayToken bool
	// Session reports whether the request has the cookie of a browser session.
	Session bool
	// Navigation reports whether a browser is loading a page. It matters only for requests
	// without a token to a gate with a keys page.
	Navigation bool
	// WebSocket reports whether the client asks to switch to the websocket protocol.
	WebSocket bool
	// ClientIP is the client address that Caddy determined; see [ParseAddress].
	ClientIP string
	// EarlyData reports whether the request arrived before the TLS handshake was complete; see
	// [IsEarlyData].
	EarlyData bool
	// ContentLength is the declared length, or -1 for a body of unknown length.
	ContentLength int64
	// Now is the current time according to the store.
	Now time.Time
}

// Decision is the outcome for a request: refused, passed through, redirected or, if none of
// these, allowed.
type Decision struct {
	// Refusal is the reason for refusing the request; its Code is empty if the request isn't
	// refused.
	Refusal Refusal
	// PassThrough reports whether the request has no token and goes to the backend unchanged.
	PassThrough bool
	// Redirect is the URL to which the gate redirects a browser that requests the backend's
	// keys page; empty means no redirect.
	Redirect string
	// OwnKey reports whether the request is for [OwnKeyPath]. If it isn't refused, the gate
	// responds to it instead of the backend. Its Route is nil.
	OwnKey bool
	Finding
}

// Finding holds what the checks have determined about a request.
type Finding struct {
	// Route is the requested route, if the checks got that far.
	Route *Route
	// Match is the token whose secret matched, if any. It is set even if the request is
	// refused.
	Match tokenstore.Match
	// Path is the path sent upstream for an allowed request; see [SetPath].
	Path string
	// Upgrade reports whether the connection may switch to the websocket protocol; see
	// [SetUpgrade].
	Upgrade bool
	// Binding says what the request acts on.
	Binding
	// Limits is the standing of the token's limits, or nil if the token has none or the checks
	// didn't get that far.
	Limits *Limits
}

// Refused reports whether the request is refused.
func (d *Decision) Refused() bool { return d.Refusal.Code != "" }

// Matched reports whether the secret matched a token.
func (f *Finding) Matched() bool { return f.Match.Token.Known() }

// Scope returns the scope that the request requires, or "" if no route was found.
func (f *Finding) Scope() string {
	if f.Route == nil {
		return ""
	}
	return f.Route.Scope.Name
}

// check is one of the checks on a request.
type check uint8

// The checks, in order. Cheap checks that need no token come first. The gate reveals nothing
// about a token's state before its secret has matched, and nothing about routes and scopes
// before it knows that the token is valid.
const (
	checkMethod check = iota
	checkURL
	checkCredential
	checkPath
	checkEarlyData
	checkToken
	checkKind
	checkState
	checkClientIP
	checkRoute
	checkRate
	checkScope
	checkResources
	checkBody
	checkAccount
	checkQuota
	checksEnd
)

// Decide decides on a request without modifying it and writes the decision to d, which must be
// a zero Decision. It runs the checks in order and stops at the first one that fails.
func (g *Gate) Decide(store Store, r *Request, d *Decision) {
	s := scratch{store: store}
	for c := checkMethod; c < checksEnd && !d.Refused() && !d.PassThrough && d.Redirect == ""; c++ {
		g.check(c, r, d, &s)
	}
	if d.Refused() {
		d.Refusal.Token, d.Refusal.Limits = d.Match.Token, d.Limits
	}
	switch {
	case r.StrayToken:
		g.config.Failures.CountStray(&d.Refusal, ParseAddress(r.ClientIP), r.Now)
	case d.Refused():
		g.config.Failures.Count(&d.Refusal, ParseAddress(r.ClientIP), r.Now)
	}
}

// scratch holds inputs and intermediate results of the checks on a single request. It stays on
// the stack because it contains no pointer to the request or the decision.
type scratch struct {
	store Store
	// readOnly prevents the checks from counting the request against the token's limits.
	readOnly bool
	// credential is the presented token. If it is missing or malformed, code says why.
	credential token.Credential
	code       Code
	// resource is the resource with exactly the requested path, or nil if there is none.
	resource *resource
}

// MaxBody returns the route's maximum body size, in bytes. A nil route stands for a request
// without a token to a path that isn't in the route table; a result of 0 means no limit.
func (g *Gate) MaxBody(route *Route) int64 {
	switch {
	case route == nil:
		return g.config.MaxAnonymousBody
	case route.Upload:
		return g.config.MaxUpload
	}
	return g.config.MaxBody
}

// check runs one check, after all earlier checks have passed. It is a switch rather than a
// list of functions because indirect calls would move every decision to the heap.
func (g *Gate) check(c check, r *Request, d *Decision, s *scratch) {
	switch c {
	case checkMethod:
		if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
			g.refuseForbiddenMethod(r, d)
		}
	case checkURL:
		if r.TokenInURL {
			d.Refusal = Refuse(TokenInURL)
		}
	case checkCredential:
		g.credential(r, d, s)
	case checkPath:
		// Route paths are canonical; see Route.Check.
		if s.resource = g.router.exact[r.Path]; s.resource == nil && !canonicalPath(r.Path) {
			d.Refusal = Refuse(InvalidPath)
		} else if !canonicalQuery(r.Query) {
			d.refuseQuery()
		}
	case checkEarlyData:
		if r.EarlyData && !safeMethod(r.Method) {
			d.Refusal = Refuse(TooEarly)
		}
	case checkToken:
		g.lookUpToken(r, d, s)
	case checkKind:
		if d.Match.Token.Kind != token.KindAPI {
			d.Refusal = Refuse(WrongKind)
		}
	case checkState:
		if d.Match.Status != token.StatusActive {
			d.Refusal = RefuseStatus(d.Match.Status)
			if d.Refusal.Code == RevokedToken && d.Match.Previous {
				d.Refusal.Detail = "This secret has been replaced by a newer one and no longer works. " +
					"Ask for the newer one."
			}
		}
	case checkClientIP:
		d.clientIP(r)
	case checkRoute:
		g.route(r, d, s)
	case checkRate:
		d.rate(r, s)
	case checkScope:
		if d.OwnKey {
			return
		}
		if scope := d.Route.Scope; !d.Match.Token.Scopes.Cover(scope) {
			d.Refusal = Refuse(InsufficientScope)
			d.Refusal.Scope = scope.Name
		}
	case checkResources:
		if d.Bound() { // copying a Refusal takes longer than the check
			d.Refusal = d.allowTargets()
		}
	case checkBody:
		if r.ContentLength > g.MaxBody(d.Route) {
			d.Refusal = Refuse(BodyTooLarge)
		}
	case checkAccount:
		if has := g.config.HasAccount; has != nil && !has(d.Match.Token.Account) {
			d.Refusal = Refuse(AccountNotConfigured)
		}
	case checkQuota:
		d.quota(r, s)
	}
}

// refuseForbiddenMethod refuses CONNECT, which Caddy's proxy would turn into an unchecked
// request of its own (CVE-2026-71324), and TRACE, whose response would echo the upstream
// token.
func (g *Gate) refuseForbiddenMethod(r *Request, d *Decision) {
	_, allow := g.router.find(r.Method, r.Path)
	d.Refusal = refuseMethod(allow)
	d.Refusal.Detail = "CONNECT and TRACE are not allowed anywhere."
	d.Refusal.forbiddenMethod = true
}

// credential reads the bearer token. If there is none, it decides whether the request may pass
// through.
func (g *Gate) credential(r *Request, d *Decision, s *scratch) {
	s.credential, s.code = presented(s.store, g.config.Prefixes, r.Authorization)
	switch {
	case s.code == "":
	case s.code == MalformedToken: // lookUpToken refuses it, after the checks that need no token
	case s.code == MissingToken && g.config.BrowserSessions:
		g.decideWithoutToken(r, d)
	default:
		d.Refusal = Refuse(s.code)
	}
}

// refuseQuery refuses a query with invalid characters. HTTP/2 and HTTP/3 carry such characters
// unchanged. If they were forwarded over HTTP/1, they would end up in the request line, from
// which the backend reads the method and the path.
func (d *Decision) refuseQuery() {
	d.Refusal = Refuse(InvalidPath)
	d.Refusal.Detail = "The query contains a character that must be percent-encoded, " +
		"such as a space, a quote or a non-ASCII character."
}

// decideWithoutToken decides on a request without a token. A listed path, that is, a path in
// the route table, requires a browser session; requests for all other paths pass through.
// Unlike for a request with a token, the path doesn't have to be canonical. But if the table
// checks bodies, the gate refuses paths that the backend may treat as a listed path, because
// requests for such paths would bypass the check. The query only has to be safe in a request
// line, because browsers send characters that RFC 3986 doesn't allow.
func (g *Gate) decideWithoutToken(r *Request, d *Decision) {
	route, allow := g.router.find(r.Method, r.Path)
	switch listed := route != nil || allow != ""; {
	case r.Path == OwnKeyPath, listed && !r.Session:
		d.Refusal = Refuse(MissingToken)
	case listed && route == nil:
		d.Refusal = refuseMethod(allow)
	case !listed && g.config.CheckBody != nil && g.refuseAlternateSpelling(r, d):
	case !listed && g.config.replacesPage(r.Path):
		g.redirectToKeysPage(r, d)
	case !safeInRequestLine(r.Query):
		d.refuseQuery()
	case g.MaxBody(route) > 0 && r.ContentLength > g.MaxBody(route):
		d.Refusal = Refuse(BodyTooLarge)
	default:
		d.PassThrough = true
		d.setRoute(r, route)
	}
}

// refuseAlternateSpelling refuses a path that the backend may treat as a listed path, and
// reports whether it refused.
func (g *Gate) refuseAlternateSpelling(r *Request, d *Decision) bool {
	if r.Path == "" { // a URL without a path, such as http:%2fapi
		d.Refusal = Refuse(InvalidPath)
		return true
	}
	listed := g.router.listedFor(r.Path)
	if listed == "" {
		return false
	}
	d.Refusal = Refuse(InvalidPath)
	d.Refusal.Detail = "This is a non-canonical spelling of " + listed + ". Use that path."
	return true
}

// malformed is a refusal shared by all requests, which keeps a flood of malformed tokens
// cheap.
var malformed = Refuse(MalformedToken)

// lookUpToken looks up the presented token.
func (g *Gate) lookUpToken(r *Request, d *Decision, s *scratch) {
	if s.code == MalformedToken {
		d.Refusal.Code, d.Refusal.Status = malformed.Code, malformed.Status
		return
	}
	var err error
	if d.Match, err = s.store.Authenticate(s.credential, r.Now); err != nil {
		d.Match, d.Refusal = tokenstore.Match{}, refuseLookup(err)
		if d.Refusal.Code == UnknownToken && s.credential.Format == token.FormatImported {
			d.Refusal.Detail = g.backendKeyDetail
		}
	}
}

// clientIP checks whether the token may be used from the client's address. The source address
// of early data can be spoofed; only a completed handshake proves that it is genuine.
func (d *Decision) clientIP(r *Request) {
	if len(d.Match.Token.AllowedIPs) == 0 {
		return
	}
	switch address := ParseAddress(r.ClientIP); {
	case r.EarlyData:
		d.Refusal = Refuse(TooEarly)
	case !d.Match.Token.AllowsIP(address):
		d.Refusal = Refuse(IPDenied)
		d.Refusal.ClientIP = address
	}
}

// route finds the requested route.
func (g *Gate) route(r *Request, d *Decision, s *scratch) {
	route, allow := g.router.findIn(s.resource, r.Method, r.Path)
	switch {
	case r.Path == OwnKeyPath:
		d.ownKey(r)
	case route == nil && allow == "":
		g.refuseRoute(r, d)
	case route == nil:
		d.Refusal = refuseMethod(allow)
	default:
		d.setRoute(r, route)
		d.Path = route.Path
		if route.pattern {
			d.Path = r.Path
		}
	}
}

// setRoute sets the route, and the upgrade if the route allows it.
func (d *Decision) setRoute(r *Request, route *Route) {
	d.Route = route
	if route != nil && route.WebSocket {
		d.Upgrade = r.WebSocket
	}
}
