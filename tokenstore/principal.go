package tokenstore

import (
	"time"

	"github.com/mollygate/mollygate/token"
)

// Principal identifies the sender of a request. It contains the token data that requests need.
// The zero Principal is unknown.
type Principal struct {
	ID token.ID
	// ExpiresAt and NotBefore have the same meaning as in [token.Token].
	ExpiresAt, NotBefore time.Time
	// began is when the lifetime of the token's current secret began.
	began time.Time
	name  tokenName
	// Terms is nil if the Principal is unknown.
	*token.Terms
}

// Known reports whether the Principal belongs to a token.
func (p *Principal) Known() bool { return p.Terms != nil }

// Name returns the token's name.
func (p *Principal) Name() string {
	if p.name.long != "" {
		return p.name.long
	}
	return string(p.name.short[:p.name.length])
}

// tokenName is a token's name. Only long names require a separate allocation.
type tokenName struct {
	short  [inlineName]byte
	length uint8
	long   string
}

// inlineName is the maximum length of a short name in bytes.
const inlineName = 64

func newTokenName(name string) (n tokenName) {
	if len(name) > inlineName {
		n.long = name
	} else {
		n.length = uint8(copy(n.short[:], name))
	}
	return n
}

// PrincipalOf returns the token's Principal.
func PrincipalOf(t *token.Token) Principal {
	return Principal{ID: t.ID, name: newTokenName(t.Name), ExpiresAt: t.ExpiresAt, NotBefore: t.NotBefore,
		began: t.ValidFrom(), Terms: &t.Terms}
}

// ExpiresSoon is like [token.Token.ExpiresSoon].
func (p *Principal) ExpiresSoon(warning token.Lifetime, now time.Time) bool {
	return token.NearExpiry(p.began, p.ExpiresAt, now, token.Horizon(warning, now))
}
