package admin

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Bearer is what a site lets callers in by: an admin token as bearer, and
// nothing else.
type Bearer struct {
	// Store returns the store; see [Config].
	Store    func(context.Context) (*tokenstore.Store, error)
	Prefixes token.Prefixes
	// Failures slows down who guesses at tokens. Nil is no limit.
	Failures *gate.FailureLimit
	// Realm is that of the challenges.
	Realm string
	// Sessions are those of browsers, known once Store has returned one. Nil is none:
	// nobody can sign in.
	Sessions func() *Sessions
	// Secure says whether a request came over TLS, also to a proxy that is trusted.
	Secure func(*http.Request) bool
	// ClientIP returns the address a request comes from, which a token may be
	// restricted to.
	ClientIP func(*http.Request) netip.Addr
}

// BearerAuthenticator returns a function for [Config].Authenticate. A call that it lets
// through counts as a use of the token, also if the call fails later. A session that only
// reads counts as one use a minute. A refused call counts as denied if the secret was
// right. Refusals have the codes of the gate, so a caller of the function can limit
// failures by address.
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
	return b.admit(r, store, now, credential{match: match, ip: b.ClientIP(r)}, failed)
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

// credential is what a caller has presented.
type credential struct {
	match tokenstore.Match
	// session is the value of the session's cookie that it came with, if any.
	session string
	ip      netip.Addr
}

// admit counts what has become of a credential, and lets a good one in from where its
// token may be used. A session's reads count once a minute: an open dashboard reads all
// the time.
func (b Bearer) admit(r *http.Request, store *tokenstore.Store, now time.Time, c credential,
	refusal gate.Refusal) (tokenstore.Actor, *Refusal) {
	if refusal.Code == "" {
		refusal = c.refuse()
	}
	if refusal.Code != "" {
		if c.match.Token.Known() {
			store.CountDenied(c.match, now, "", string(refusal.Code))
		}
		b.Failures.Count(&refusal, c.ip, now)
		return tokenstore.Actor{}, fromGate(refusal, b.Realm)
	}
	address := gate.AddressText(c.ip)
	if c.session == "" || !onlyReads(r) || b.Sessions().countRead(c.session, now) {
		store.CountAllowed(c.match, "", tokenstore.LastUse{Time: now, IP: address, UserAgent: r.UserAgent(),
			Route: routeName(r)})
	}
	return tokenstore.Actor{Name: c.match.Token.ID.String(), Address: address, Authorize: b.authorize(store, c)}, nil
}

// refuse returns why a token whose secret was right may not be used, or none.
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

// authorize returns what checks, from memory alone, that a credential which was good is
// good still.
func (b Bearer) authorize(store *tokenstore.Store, c credential) func() error {
	var sessions *Sessions
	if c.session != "" {
		sessions = b.Sessions()
	}
	return func() error {
		now := store.Now()
		if sessions != nil {
			if _, open := sessions.find(c.session, now); !open {
				return &refusalError{fromGate(refuseEndedSession(), b.Realm)}
			}
		}
		current := c // may run in several goroutines
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
			ended.counted = func() { store.CountDenied(current.match, now, "", string(refusal.Code)) }
		}
		return &refusalError{ended}
	}
}

// countSignIn counts a sign-in that failed, whatever was wrong with it, as a failure of
// its address. Too many of them become another refusal.
func (b Bearer) countSignIn(r *http.Request, refusal *Refusal) *Refusal {
	switch gate.Code(refusal.Problem.Code) {
	case gate.MalformedToken, gate.UnknownToken, gate.WrongKind, gate.TooManyFailures:
		return refusal // counted when the token was checked
	case codeCrossSite, gate.TooEarly:
		return refusal // another site's doing, or the network's
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
