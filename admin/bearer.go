package admin

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Bearer configures how callers authenticate with an admin token, which they send as a
// bearer token or exchange for a browser session.
type Bearer struct {
	// Store returns the store; see [Config].
	Store    func(context.Context) (*tokenstore.Store, error)
	Prefixes token.Prefixes
	// Failures throttles token guessing, per client address. Nil means no limit.
	Failures *gate.FailureLimit
	// Realm is the realm in WWW-Authenticate challenges.
	Realm string
	// Sessions returns the browser sessions. It is called only after Store has returned a
	// store. Nil means that browsers can't sign in.
	Sessions func() *Sessions
	// Secure reports whether the client sent a request over TLS, to this server or to a
	// trusted proxy.
	Secure func(*http.Request) bool
	// ClientIP returns the client address, which is checked against the token's allowed
	// addresses.
	ClientIP func(*http.Request) netip.Addr
}

// BearerAuthenticator returns a function for [Config].Authenticate. An authenticated call
// counts as a use of the token, even if the call fails later. Reads in a session count as
// at most one use per minute. A refused call with a correct secret counts as denied.
// Refusals use the gate's codes, so the function's caller can tell which failures to
// throttle per address.
func BearerAuthenticator(b Bearer) func(*http.Request) (tokenstore.Actor, *Refusal) {
	return b.authenticate
}

func (b Bearer) authenticate(r *http.Request) (tokenstore.Actor, *Refusal) {
	if len(r.Header["Authorization"]) == 0 && b.Sessions != nil {
		if value := sessionCookie(r, b.Secure(r)); value != "" {
			return b.authenticateSession(r, value)
		}
	}
	store, refusal := b.open(r)
	if refusal != nil {
		return tokenstore.Actor{}, refusal
	}
	now := store.Now()
	match, failed := gate.Authenticate(store, b.Prefixes, token.KindAdmin, r.Header["Authorization"], now)
	return b.admit(r, store, now, credential{match: match, ip: b.ClientIP(r), route: routeName(r)}, failed)
}

func (b Bearer) open(r *http.Request) (*tokenstore.Store, *Refusal) {
	store, err := b.Store(r.Context())
	if err != nil {
		refusal := gate.Refuse(gate.StoreUnavailable)
		refusal.Err = err
		return nil, fromGate(refusal, b.Realm)
	}
	return store, nil
}

// credential is the token that a caller has presented.
type credential struct {
	match tokenstore.Match
	// session is the value of the session cookie, if the caller sent no bearer token.
	session string
	ip      netip.Addr
	// route is the name of the request's route, or "".
	route string
	// reads reports whether the request changes nothing.
	reads bool
}

// admit counts the use and returns the caller, or a refusal if the credential isn't valid.
// Reads in a session count at most once per minute, because an open dashboard polls
// constantly.
func (b Bearer) admit(r *http.Request, store *tokenstore.Store, now time.Time, c credential,
	refusal gate.Refusal) (tokenstore.Actor, *Refusal) {
	if refusal.Code == "" {
		refusal = c.refuse()
	}
	if refusal.Code != "" {
		if c.match.Token.Known() {
			store.CountDenied(c.match, c.denied(r, refusal, now))
		}
		b.Failures.Count(&refusal, c.ip, now)
		return tokenstore.Actor{}, fromGate(refusal, b.Realm)
	}
	address := gate.AddressText(c.ip)
	if c.session == "" || !c.reads || b.Sessions().countRead(c.session, now) {
		store.CountAllowed(c.match, "", tokenstore.LastUse{Time: now, IP: address, UserAgent: r.UserAgent(),
			Route: c.route})
	}
	return tokenstore.Actor{Name: c.match.Token.ID.String(), Address: address, Authorize: b.authorize(store, r, c)}, nil
}

// denied describes a refused request. The path is that of the route, which never contains a
// secret.
func (c *credential) denied(r *http.Request, refusal gate.Refusal, now time.Time) tokenstore.Refusal {
	denied := tokenstore.Refusal{
		Time: now, Code: string(refusal.Code), IP: gate.AddressText(c.ip), UserAgent: r.UserAgent(),
	}
	denied.Method, denied.Path, _ = strings.Cut(c.route, " ")
	return denied
}

// refuse returns the reason for refusing a token with a correct secret, or the zero
// Refusal if the token is accepted.
func (c *credential) refuse() gate.Refusal {
	refusal := gate.RefuseStatus(c.match.Status)
	if refusal.Code == "" && !c.match.Token.AllowsIP(c.ip) {
		refusal = gate.Refuse(gate.IPDenied)
		refusal.ClientIP = c.ip
	}
	if refusal.Code != "" {
		refusal.Token = c.match.Token
	}
	return refusal
}

// authorize returns a function that checks whether a credential is still valid. The
// function doesn't access the disk.
func (b Bearer) authorize(store *tokenstore.Store, r *http.Request, c credential) func() error {
	stillOpen := func() error { return nil }
	if c.session != "" {
		stillOpen = b.stillOpen(store, c.session)
	}
	return func() error {
		if err := stillOpen(); err != nil {
			return err
		}
		now := store.Now()
		current := c // the function may run concurrently
		var known bool
		refusal := gate.Refuse(gate.UnknownToken)
		if current.match, known = store.Refresh(c.match, now); known {
			refusal = current.refuse()
		}
		if refusal.Code == "" {
			return nil
		}
		ended := fromGate(refusal, b.Realm)
		if known {
			ended.counted = func() { store.CountDenied(current.match, current.denied(r, refusal, now)) }
		}
		return &refusalError{ended}
	}
}

// countSignIn counts a failed sign-in against the client address, unless the failure has
// already been counted or wasn't the client's fault. It returns refusal or, once the
// address has too many failures, the refusal for exceeding the failure limit.
func (b Bearer) countSignIn(r *http.Request, refusal *Refusal) *Refusal {
	switch gate.Code(refusal.Problem.Code) {
	case gate.MalformedToken, gate.UnknownToken, gate.WrongKind, gate.TooManyFailures:
		return refusal // already counted when the token was checked
	case codeCrossSite, gate.TooEarly:
		return refusal // caused by another site or the network
	}
	store, unavailable := b.open(r)
	if unavailable != nil || refusal.Problem.Status >= http.StatusInternalServerError {
		return refusal
	}
	failure := gate.Refuse(gate.MalformedToken)
	b.Failures.Count(&failure, b.ClientIP(r), store.Now())
	if failure.Code != gate.TooManyFailures {
		return refusal
	}
	return fromGate(failure, b.Realm)
}
