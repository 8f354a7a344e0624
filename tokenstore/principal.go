package tokenstore

import (
	"net/netip"
	"slices"
	"time"
)

// Terms are what a token allows. Tokens that allow the same share them; they are never
// changed.
type Terms struct {
	Kind Kind
	// Account names the backend user on whose behalf an API token acts; empty
	// for admin tokens.
	Account string
	// Scopes are empty for admin tokens.
	Scopes Grants
	// AllowedIPs restricts where the token may be used from; empty is anywhere.
	AllowedIPs []netip.Prefix
	RateLimit  RateLimit
	Quota      Quota
}

// Principal is who a request comes from: what it needs of a token. The zero Principal
// is nobody.
type Principal struct {
	ID ID
	// ExpiresAt and NotBefore are as in [Token].
	ExpiresAt, NotBefore time.Time
	// began is when the life of the token's present secret began.
	began time.Time
	name  tokenName
	// Terms is nil if it is nobody.
	*Terms
}

// Known says whether it is somebody.
func (p *Principal) Known() bool { return p.Terms != nil }

// Name returns the token's name.
func (p *Principal) Name() string {
	if p.name.long != "" {
		return p.name.long
	}
	return string(p.name.short[:p.name.length])
}

// tokenName is a name that takes no memory of its own, unless it is long.
type tokenName struct {
	short  [inlineName]byte
	length uint8
	long   string
}

// inlineName is how long a short name is at most, in bytes.
const inlineName = 64

func newTokenName(name string) (n tokenName) {
	if len(name) > inlineName {
		n.long = name
	} else {
		n.length = uint8(copy(n.short[:], name))
	}
	return n
}

// Principal returns what a request needs of the token.
func (t *Token) Principal() Principal {
	return Principal{ID: t.ID, name: newTokenName(t.Name), ExpiresAt: t.ExpiresAt, NotBefore: t.NotBefore, began: t.began(), Terms: t.terms()}
}

func (t *Token) terms() *Terms {
	return &Terms{Kind: t.Kind, Account: t.Account, Scopes: t.Scopes, AllowedIPs: t.AllowedIPs, RateLimit: t.RateLimit, Quota: t.Quota}
}

// AllowsIP says whether the token may be used from ip. An IPv4 address written
// as IPv6 (::ffff:a.b.c.d) counts as IPv4.
func (t *Terms) AllowsIP(ip netip.Addr) bool {
	if len(t.AllowedIPs) == 0 {
		return true
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(t.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
}
