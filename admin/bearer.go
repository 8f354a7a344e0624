package admin

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// Bearer is what a site lets callers in by: an admin token as bearer, and
// nothing else.
type Bearer struct {
	// Store returns the store; see [Config].
	Store    func(context.Context) (*tokenstore.Store, error)
	Prefixes tokenstore.Prefixes
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

// BearerAuthenticator returns a function for [Config].Authenticate. A use that
// passes counts as the token's, whatever becomes of the call; a refusal counts
// against it if the secret was right. The problem of a refusal has the gate's
// codes, so that failures can be limited per address by who wraps the function.
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
	match, failed := gate.Authenticate(store, b.Prefixes, tokenstore.KindAdmin, r.Header["Authorization"], now)
	return b.admit(r, store, now, match, failed)
}

func (b Bearer) open(r *http.Request) (*tokenstore.Store, *Refusal) {
	store, err := b.Store(r.Context())
	if err != nil {
		refusal := gate.Refuse(gate.StoreUnavailable)
		refusal.Err = err
		return nil, FromGate(refusal, b.Realm)
	}
	return store, nil
}

// admit counts what has become of a credential, and lets a good one in from where its
// token may be used.
func (b Bearer) admit(r *http.Request, store *tokenstore.Store, now time.Time, match tokenstore.Match, refusal gate.Refusal) (tokenstore.Actor, *Refusal) {
	ip := b.ClientIP(r)
	if refusal.Code == "" && !match.Token.AllowsIP(ip) {
		refusal = gate.Refuse(gate.IPDenied)
		refusal.Token = match.Token
		refusal.ClientIP = ip
	}
	if refusal.Code != "" {
		if match.Token.Known() {
			store.CountDenied(match, now, "", string(refusal.Code))
		}
		b.Failures.Count(&refusal, ip, now)
		return tokenstore.Actor{}, FromGate(refusal, b.Realm)
	}
	address := ip.Unmap().String()
	store.CountAllowed(match, "", tokenstore.LastUse{Time: now, IP: address, UserAgent: r.UserAgent(), Route: routeName(r)})
	return tokenstore.Actor{Name: match.Token.ID.String(), Address: address}, nil
}
