// Package admin is the admin API of the tokens: one [http.Handler] over a
// [tokenstore.Store]. It knows neither Caddy nor how tokens are kept.
//
// The handler is mounted by others, who take the prefix off the path, so it
// serves /tokens, /tokens/{id} and so on; see openapi.json. Who may call is decided
// by the mount, too: see [Config].Authenticate and [BearerAuthenticator].
//
// A request passes these checks, in this order: no token in its URL, no
// forgery by another site, a caller who is let in, a known path, a known method,
// known parameters, a well-formed body. Whatever fails is answered with problem
// details (RFC 9457); see [Refusal]. No answer allows another origin to read it
// (there are no CORS headers), and none may be stored.
//
// # Rights that end
//
// A body may take its time, and so may the disk. The caller's right is therefore
// checked three times: before the body, after the whole body has been read, and
// within the transaction of each change. Once the call that ends a right has
// returned (a token revoked, disabled, deleted, rotated without grace or bound to
// other addresses; a session signed out), no change that the right allowed begins. A
// long answer is cut off within a second of that.
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

// Config is what the handler is made of.
type Config struct {
	// Store returns the store to use, and may wait for it to open as long as the
	// context lasts. An error is answered with 503.
	Store func(context.Context) (*tokenstore.Store, error)
	// Policy is what tokens may be.
	Policy token.Policy
	// WarnBefore is how long before its end a token counts as expiring, but never
	// before the last quarter of its life. Unlimited means that quarter.
	WarnBefore token.Lifetime
	// Authenticate returns who calls, or why the caller isn't let in. It sets the
	// actor's Authorize unless the right to call can't end; see [RefuseReconfigured].
	Authenticate func(*http.Request) (tokenstore.Actor, *Refusal)
	// Bearer is what browsers sign in to, if it has sessions. Authenticate is, or ends
	// with, its authenticator.
	Bearer *Bearer
	// ClientPath returns the escaped path of a request as its client wrote it,
	// before the mount took the prefix off. Without it the Location of a new token
	// is relative, which is right everywhere but less handy.
	ClientPath func(*http.Request) string
	// IsUpstreamToken reports whether a digest is of a token that the gate presents to
	// the backend. Such a token is not imported. Nil is none.
	IsUpstreamToken func(token.Digest) bool
	// Gates are those that explain is about.
	Gates []gate.Named
	// BodyTimeout is how long a client may take to send a body. The default is a
	// minute.
	BodyTimeout time.Duration
	// Logger defaults to none.
	Logger *zap.Logger
}

// New returns the handler. It may serve any number of requests at once.
func New(config Config) http.Handler { return newAPI(config) }

// defaultBodyTimeout is ample for a body of maxBody over any connection of today.
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
}

// call is one request on its way through the handler.
type call struct {
	*api
	w     http.ResponseWriter
	r     *http.Request
	actor tokenstore.Actor
	// id is the path's, if it has one.
	id         token.ID
	parameters parameters
	// maxBody is the route's limit in bytes.
	maxBody int64
	// body is the JSON that was read, if any was.
	body []byte
	// bodyRead says that nothing of the body is left on the connection.
	bodyRead bool
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
			return refuseTokenInURL() // an imported one; the others have been refused before
		}
	}
	if route.maxBody > 0 {
		c.maxBody = route.maxBody
	}
	return route.serve(c)
}

// admit makes the checks that don't depend on what is asked for.
func (c *call) admit() (refusal *Refusal) {
	if gate.URLHasToken(c.Policy.Prefixes, c.r.URL) {
		return refuseTokenInURL()
	}
	if err := c.crossOrigin.Check(c.r); err != nil {
		return refuseError(codeCrossSite, "A page of another site may not change anything here: "+err.Error()+".")
	}
	if gate.CameEarly(c.r) && !safe(c.r.Method) {
		return fromGate(gate.Refuse(gate.TooEarly), "") // it has no challenge
	}
	if c.signsIn() {
		return nil // not authenticated yet
	}
	c.actor, refusal = c.Authenticate(c.r)
	return refusal
}

// safe reports whether a method is safe (RFC 9110 section 9.2.1): a request with it
// changes nothing, however often it is repeated.
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// signsIn reports whether the call is the one that needs no right.
func (c *call) signsIn() bool {
	return c.r.Method == http.MethodPost && c.r.URL.EscapedPath() == sessionPath && c.Bearer != nil
}

// authorize refuses a caller whose right has ended.
func (c *call) authorize() *Refusal {
	if c.actor.Authorize == nil {
		return nil
	}
	if err := c.actor.Authorize(); err != nil {
		return c.changeRefusal(fmt.Errorf("%w: %w", tokenstore.ErrUnauthorized, err))
	}
	return nil
}

// store returns the store, or the refusal to answer with.
func (c *call) store() (*tokenstore.Store, *Refusal) {
	store, err := c.Store(c.r.Context())
	if err != nil {
		return nil, c.storeRefusal(err)
	}
	return store, nil
}
