package gate

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Config is what a gate is made of: the table of its backend, and its options.
type Config struct {
	Table
	// KeysPage is where people make API keys for this gate: a URL, or a path. Browsers
	// that ask for one of KeyPaths are sent there. Empty is none.
	KeysPage string
	// Explicit is the resources that the grant "*" doesn't open at any gate of the
	// configuration; see [ExplicitResources]. Nil means those of Routes.
	Explicit Resources
	Prefixes token.Prefixes
	// BrowserSessions lets requests without a bearer credential through for the
	// backend to answer.
	BrowserSessions bool
	// HasAccount reports whether an account is configured. Nil is yes. A right that is
	// asked about again by [Gate.Recheck] asks again.
	HasAccount func(name string) bool
	// Failures throttles token guessing. Nil is no limit.
	Failures *FailureLimit
	// MaxBody and MaxUpload are the largest bodies, in bytes, of ordinary routes
	// and of Upload routes.
	MaxBody, MaxUpload int64
	// MaxAnonymousBody is the largest body, in bytes, of a request without a token to a
	// path that no route has; 0 is any, which is then not checked either.
	MaxAnonymousBody int64
	// RequestHeaders, unless it is nil, names the only headers of the client that a
	// request with a token carries upstream; see [CheckRequestHeaders].
	RequestHeaders []string
}

// Gate decides on requests.
type Gate struct {
	config Config
	router *router
	// allowed are the headers of Config.RequestHeaders, or nil.
	allowed map[string]bool
	// ownKey is the detail for what looks like one of the backend's own keys.
	ownKey string
}

// New returns a gate. It returns an error that names each invalid route. The routes are
// copied.
func New(config Config) (*Gate, error) {
	if config.Explicit == nil {
		config.Explicit = ExplicitResources(config.Table)
	}
	router, err := newRouter(config.Routes, config.Explicit)
	if err != nil {
		return nil, err
	}
	if err := CheckRequestHeaders(config.RequestHeaders); err != nil {
		return nil, err
	}
	return &Gate{config: config, router: router, allowed: allowedHeaders(config.RequestHeaders),
		ownKey: config.ownKeyDetail()}, nil
}

// Request is the facts of a request.
type Request struct {
	Method string
	// Path is escaped, as [RawPath] returns it.
	Path string
	// Query is as the client, or a rewrite before the gate, spelled it.
	Query string
	// Authorization is the values of the header, a value each line.
	Authorization []string
	// TokenInURL says that a token is in the current or the original URL.
	TokenInURL bool
	// StrayToken says that a token is in the URL or in a header other than
	// Authorization.
	StrayToken bool
	// Session says that the request has the cookie of a browser session.
	Session bool
	// Navigation says that a browser asks for a page to show. It is needed only for
	// requests without a token, at a gate with a keys page.
	Navigation bool
	// Upgrade is the protocol that [TakeHeaders] returned.
	Upgrade string
	// ClientIP is as Caddy determined it.
	ClientIP netip.Addr
	// EarlyData says that the request came before the TLS handshake was over; see
	// [CameEarly].
	EarlyData bool
	// ContentLength is the declared one, or -1 if there is a body without.
	ContentLength int64
	// Now is the store's time.
	Now time.Time
}

// Decision is what happens to a request: it is refused, untouched or redirected, or
// else allowed.
type Decision struct {
	// Refusal says why the request is refused; its Code is empty if it isn't.
	Refusal Refusal
	// PassThrough requests carry no token and are the backend's to answer.
	PassThrough bool
	// Redirect is where a browser is sent in place of the backend's page; empty is
	// nowhere.
	Redirect string
	Finding
}

// Finding is what has been found out about a request.
type Finding struct {
	// Route is what the request asks for, if it got that far.
	Route *Route
	// Match is the token, if the secret matched, also of a refused request.
	Match tokenstore.Match
	// Path is what goes upstream for an allowed request; see [SetPath].
	Path string
	// Upgrade is the protocol the connection may be switched to, or empty; see
	// [SetUpgrade].
	Upgrade string
	// Limits is what is left of the token's, as far as the request came to them.
	Limits Limits
	// Reservation is what an allowed request took of its token's quota; see
	// [Finding.Release].
	Reservation tokenstore.Reservation
}

// Refused reports whether the request is refused.
func (d *Decision) Refused() bool { return d.Refusal.Code != "" }

// Matched reports whether the secret was one of a token.
func (f *Finding) Matched() bool { return f.Match.Token.Known() }

// Scope names the scope that the request needs, or is empty if it wasn't found out.
func (f *Finding) Scope() string {
	if f.Route == nil {
		return ""
	}
	return f.Route.Scope.Name
}

// check is one of the checks on a request.
type check uint8

// The checks, in their order. The cheap ones that need no token come
// first; nothing is said about a token's state before its secret has matched, and
// nothing about routes and scopes before the token is known to be good.
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
	checkBody
	checkAccount
	checkQuota
	checksEnd
)

// Decide decides on a request, which it only reads. It writes the decision to d, which must
// be its zero value. The checks are made in order, and the first that fails decides.
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
		g.config.Failures.CountStray(&d.Refusal, r.ClientIP, r.Now)
	case d.Refused():
		g.config.Failures.Count(&d.Refusal, r.ClientIP, r.Now)
	}
}

// scratch is what the checks on one request need, and leave to those after them. It stays
// on the stack, because it has no pointer to the request or the decision.
type scratch struct {
	store Store
	// readOnly makes the checks take nothing of the token's limits.
	readOnly bool
	// text is the presented token.
	text string
	// resource is what the path stands for, if it is the exact path of routes.
	resource *resource
}

// MaxBody returns the largest body that the route takes, in bytes. Without a route it is
// that of a request without a token; 0 is any.
func (g *Gate) MaxBody(route *Route) int64 {
	switch {
	case route == nil:
		return g.config.MaxAnonymousBody
	case route.Upload:
		return g.config.MaxUpload
	}
	return g.config.MaxBody
}

// check makes one check; those before it have passed. It is a switch and not a list of
// functions, because calls by value would move every decision to the heap.
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
		// The path of a route is canonical: see Route.Check.
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
		g.find(r, d, s)
	case checkKind:
		if d.Match.Token.Kind != token.KindAPI {
			d.Refusal = Refuse(WrongKind)
		}
	case checkState:
		if d.Match.Status != token.StatusActive {
			d.Refusal = RefuseStatus(d.Match.Status)
		}
	case checkClientIP:
		d.clientIP(r)
	case checkRoute:
		g.route(r, d, s)
	case checkRate:
		d.rate(r, s)
	case checkScope:
		if scope := d.Route.Scope; !d.Match.Token.Scopes.Cover(scope) {
			d.Refusal = Refuse(InsufficientScope)
			d.Refusal.Scope = scope.Name
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

// refuseForbiddenMethod refuses CONNECT, which Caddy's proxy would turn into a
// request of its own, unchecked (CVE-2026-71324), and TRACE, whose answer would
// echo the backend's credential.
func (g *Gate) refuseForbiddenMethod(r *Request, d *Decision) {
	_, allow := g.router.find(r.Method, r.Path)
	d.Refusal = refuseMethod(allow)
	d.Refusal.Detail = "CONNECT and TRACE are not allowed anywhere."
	d.Refusal.forbiddenMethod = true
}

// credential reads the bearer token, or lets a browser's request pass without.
func (g *Gate) credential(r *Request, d *Decision, s *scratch) {
	var code Code
	s.text, code = bearer(r.Authorization)
	switch {
	case code == "":
	case code == MissingToken && g.config.BrowserSessions:
		g.withoutToken(r, d)
	default:
		d.Refusal = Refuse(code)
	}
}

// refuseQuery refuses a query that holds what no query may. HTTP/2 and HTTP/3 bring it
// through as it is, and it would be a part of the line that the backend reads the method
// and the path from.
func (d *Decision) refuseQuery() {
	d.Refusal = Refuse(InvalidPath)
	d.Refusal.Detail = "The query holds a character that must be percent-encoded, such as a space, a quote or one outside ASCII."
}

// withoutToken decides about a request of a browser: what is listed needs a
// session, all else is the backend's own affair. The path rule is for tokens, but
// before a backend whose routes have checks of their own, what it may take for a listed
// path is refused, because it would go unchecked. The query must only leave the request
// line whole: browsers send more than RFC 3986 allows.
func (g *Gate) withoutToken(r *Request, d *Decision) {
	route, allow := g.router.find(r.Method, r.Path)
	switch listed := route != nil || allow != ""; {
	case listed && !r.Session:
		d.Refusal = Refuse(MissingToken)
	case listed && route == nil:
		d.Refusal = refuseMethod(allow)
	case !listed && g.config.CheckBody != nil && g.anotherSpelling(r, d):
	case !listed && g.config.replacesPage(r.Path):
		g.keysElsewhere(r, d)
	case !requestLine(r.Query):
		d.refuseQuery()
	case g.MaxBody(route) > 0 && r.ContentLength > g.MaxBody(route):
		d.Refusal = Refuse(BodyTooLarge)
	default:
		d.PassThrough = true
		d.setRoute(r, route)
	}
}

// anotherSpelling refuses a path that the backend may take for a listed one.
func (g *Gate) anotherSpelling(r *Request, d *Decision) bool {
	if r.Path == "" { // a URL that isn't one of a path, such as http:%2fapi
		d.Refusal = Refuse(InvalidPath)
		return true
	}
	listed := g.router.listedFor(r.Path)
	if listed == "" {
		return false
	}
	d.Refusal = Refuse(InvalidPath)
	d.Refusal.Detail = "This is another spelling of " + listed + ". Write the path in that form."
	return true
}

// malformed is what a flood of garbage is answered with.
var malformed = Refuse(MalformedToken)

// find looks the presented token up.
func (g *Gate) find(r *Request, d *Decision, s *scratch) {
	credential, err := g.config.Prefixes.Parse(s.text)
	if err != nil {
		d.Refusal.Code, d.Refusal.Status = malformed.Code, malformed.Status
		return
	}
	if d.Match, err = s.store.Authenticate(credential, r.Now); err != nil {
		d.Match, d.Refusal = tokenstore.Match{}, refuseLookup(err)
		if d.Refusal.Code == UnknownToken && credential.Format == token.FormatImported {
			d.Refusal.Detail = g.ownKey
		}
	}
}

// clientIP checks the address that a token is bound to. Early data may come from
// an address that isn't its sender's, which only the handshake shows.
func (d *Decision) clientIP(r *Request) {
	switch {
	case r.EarlyData && len(d.Match.Token.AllowedIPs) > 0:
		d.Refusal = Refuse(TooEarly)
	case !d.Match.Token.AllowsIP(r.ClientIP):
		d.Refusal = Refuse(IPDenied)
		d.Refusal.ClientIP = r.ClientIP
	}
}

// route finds what the request asks for.
func (g *Gate) route(r *Request, d *Decision, s *scratch) {
	route, allow := g.router.findIn(s.resource, r.Method, r.Path)
	switch {
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

// setRoute sets the route and the upgrade that it allows.
func (d *Decision) setRoute(r *Request, route *Route) {
	d.Route = route
	if route != nil && route.WebSocket {
		d.Upgrade = r.Upgrade
	}
}
