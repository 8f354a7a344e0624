// Package admin implements the token admin API as an [http.Handler] backed by a
// [tokenstore.Store]. It is independent of Caddy and of how the store saves tokens.
//
// The handler expects the mount's prefix to have been stripped from the path: it serves
// /tokens, /tokens/{id} and so on; see openapi.json. The mount also decides who may call
// the API; see [Config].Authenticate and [BearerAuthenticator].
//
// The handler checks a request in this order: no token in the URL, no cross-site forgery,
// an authenticated caller, a known path, a known method, known parameters, a well-formed
// body. If a check fails, the response contains problem details (RFC 9457); see [Refusal].
// Responses have no CORS headers, so pages from other origins can't read them. Clients and
// proxies must not cache responses.
//
// # Revocation during a request
//
// Reading a body or writing to disk can take a long time, during which the caller's
// authorization may end. The handler therefore authorizes the caller three times: before
// reading the body, after reading it, and inside each change's transaction. Once a call
// that ends a caller's authorization (by revoking, disabling or deleting its token,
// rotating it without grace, restricting its addresses, or signing out its session) has
// returned, that caller can't start another change. A long response to that caller is cut
// off within a second. If several gates share the store, this holds at the other gates once they
// have applied the change; see POST /confirm.
package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Config configures the handler.
type Config struct {
	// Store returns the store. It may block until the store opens or the context is done.
	// If it returns an error, the handler responds with 503.
	Store func(context.Context) (*tokenstore.Store, error)
	// Policy restricts the tokens that can be created and the changes that can be made.
	Policy token.Policy
	// WarnBefore is how long before its expiry a token counts as expiring, up to a quarter
	// of its lifetime. If WarnBefore is Unlimited, that quarter is the only limit.
	WarnBefore token.Lifetime
	// Authenticate returns the caller or a refusal. It sets the actor's Authorize unless
	// the caller's authorization can never end; see [RefuseReconfigured].
	Authenticate func(*http.Request) (tokenstore.Actor, *Refusal)
	// Bearer handles browser sign-in if it has sessions. Authenticate must be its
	// authenticator or fall back to it. If Bearer is nil, browsers can't sign in.
	Bearer *Bearer
	// OperatorSessions returns the sessions that callers can create sign-in links for. Set it
	// only if all callers have full access without a token, as on Caddy's admin endpoint. Callers
	// can then also restore and accept a shared store. It is called only after Store has returned
	// a store.
	OperatorSessions func() *Sessions
	// ClientPath returns a request's escaped path as the client sent it, including the
	// mount's prefix. If it is nil, a new token's Location header is relative.
	ClientPath func(*http.Request) string
	// IsUpstreamToken reports whether a digest belongs to an upstream token, which can't
	// be imported. Nil means that there are no upstream tokens.
	IsUpstreamToken func(token.Digest) bool
	// Gates are the gates that the explain call can query.
	Gates []gate.NamedGate
	// BackendFailures returns the gates' backends that did not respond to the last request.
	// Nil means that this isn't known.
	BackendFailures func() []BackendFailure
	// ResourceNames asks the backends which resources an account has, as "type/name". The error
	// says why the list may be incomplete. Nil means that the backends can't be asked.
	ResourceNames func(ctx context.Context, account string) ([]string, error)
	// Settings describes the configuration.
	Settings Settings
	// Stopping reports whether the server is stopping, so that long responses must end. Nil
	// means that it never stops.
	Stopping func() bool
	// BodyTimeout is how long a client may take to send a body. The default is one
	// minute.
	BodyTimeout time.Duration
	// Logger logs changes, refusals and errors. Nil disables logging.
	Logger *zap.Logger
}

// New returns the handler. It is safe for concurrent use.
func New(config Config) http.Handler { return newAPI(config) }

// defaultBodyTimeout is ample for maxBody bytes over any modern connection.
const defaultBodyTimeout = time.Minute

func newAPI(config Config) *api {
	if config.BodyTimeout == 0 {
		config.BodyTimeout = defaultBodyTimeout
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	return &api{Config: config}
}

type api struct {
	Config
	crossOrigin http.CrossOriginProtection
	surveys     surveys
}

// call is a request being served.
type call struct {
	*api
	w     http.ResponseWriter
	r     *http.Request
	actor tokenstore.Actor
	// id is the token ID in the path, if any.
	id         token.ID
	parameters parameters
	// maxBody is the route's limit on the body size, in bytes.
	maxBody int64
	// body is the request's JSON, once decode has read it.
	body []byte
	// bodyRead reports whether the whole body has been read from the connection.
	bodyRead bool
	// local marks calls that don't read tokens; see sync.
	local bool
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(a, w, r)
	if refusal := c.serve(); refusal != nil {
		if c.signsIn() {
			refusal = c.Bearer.countSignIn(r, refusal)
		}
		c.refuse(refusal)
	}
}

func newCall(a *api, w http.ResponseWriter, r *http.Request) *call {
	return &call{api: a, w: w, r: r, maxBody: maxBody}
}

func (c *call) serve() *Refusal {
	if refusal := c.admit(); refusal != nil {
		return refusal
	}
	route, allow, refusal := c.route()
	if refusal != nil {
		return refusal
	}
	if route == nil {
		return refuseMethod(allow)
	}
	if c.parameters, refusal = parseParameters(c.r.URL.RawQuery, route.parameters); refusal != nil {
		return refusal
	}
	for _, value := range c.parameters {
		if _, err := c.Policy.Prefixes.Parse(value); err == nil {
			return refuseTokenInURL() // an imported token; admit already refuses all others
		}
	}
	if route.maxBody > 0 {
		c.maxBody = route.maxBody
	}
	c.local = route.local
	return route.serve(c)
}

// admit performs the checks that don't depend on the route.
func (c *call) admit() (refusal *Refusal) {
	if gate.URLHasToken(c.Policy.Prefixes, c.r.URL) {
		return refuseTokenInURL()
	}
	if err := c.crossOrigin.Check(c.r); err != nil {
		return refuseError(codeCrossSite, "Pages on other sites can't change anything here: "+err.Error()+".")
	}
	if gate.IsEarlyData(c.r) && !safe(c.r.Method) {
		return fromGate(gate.Refuse(gate.TooEarly), "") // this refusal has no challenge
	}
	if c.signsIn() {
		return nil // not authenticated yet
	}
	c.actor, refusal = c.Authenticate(c.r)
	return refusal
}

// safe reports whether a method is safe (RFC 9110 section 9.2.1). Requests with a safe
// method change nothing, even when replayed.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// signsIn reports whether the call is a sign-in, which needs no authentication.
func (c *call) signsIn() bool {
	return c.r.Method == http.MethodPost && c.r.URL.EscapedPath() == sessionPath && c.Bearer != nil
}

// authorize refuses the call if the caller's authorization has ended.
func (c *call) authorize() *Refusal {
	if c.actor.Authorize == nil {
		return nil
	}
	if err := c.actor.Authorize(); err != nil {
		return c.changeRefusal(fmt.Errorf("%w: %w", tokenstore.ErrUnauthorized, err))
	}
	return nil
}

// store returns the store, or a refusal if it is unavailable. If other gates share the store,
// what the call reads includes all their changes; see sync.
func (c *call) store() (*tokenstore.Store, *Refusal) {
	store, err := c.Store(c.r.Context())
	if err != nil {
		return nil, c.storeRefusal(err)
	}
	if refusal := c.sync(store); refusal != nil {
		return nil, refusal
	}
	return store, nil
}
