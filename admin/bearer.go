package admin

import (
	"context"
	"net/http"
	"net/netip"

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
	store, err := b.Store(r.Context())
	if err != nil {
		refusal := gate.Refuse(gate.StoreUnavailable)
		refusal.Err = err
		return tokenstore.Actor{}, FromGate(refusal, b.Realm)
	}
	now, ip := store.Now(), b.ClientIP(r)
	match, refusal := gate.Authenticate(store, b.Prefixes, tokenstore.KindAdmin, r.Header["Authorization"], now)
	if refusal.Code == "" && !match.Token.AllowsIP(ip) {
		refusal = gate.Refuse(gate.IPDenied)
		refusal.Token = match.Token
		refusal.ClientIP = ip
	}
	if refusal.Code != "" {
		if match.Token != nil {
			store.CountDenied(match, now, "", string(refusal.Code))
		}
		b.Failures.Count(&refusal, ip, now)
		return tokenstore.Actor{}, FromGate(refusal, b.Realm)
	}
	address := ip.Unmap().String()
	store.CountAllowed(match, "", tokenstore.LastUse{Time: now, IP: address, UserAgent: r.UserAgent(), Route: routeName(r)})
	return tokenstore.Actor{Name: match.Token.ID.String(), Address: address}, nil
}
