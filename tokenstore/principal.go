package tokenstore

import (
	"time"

	"github.com/mollygate/mollygate/token"
)

// Principal is who a request comes from: what it needs of a token. The zero Principal
// is nobody.
type Principal struct {
	ID token.ID
	// ExpiresAt and NotBefore are as in [token.Token].
	ExpiresAt, NotBefore time.Time
	// began is when the life of the token's present secret began.
	began time.Time
	name  tokenName
	// Terms is nil if it is nobody.
	*token.Terms
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

// PrincipalOf returns what a request needs of a token.
func PrincipalOf(t *token.Token) Principal {
	return Principal{ID: t.ID, name: newTokenName(t.Name), ExpiresAt: t.ExpiresAt, NotBefore: t.NotBefore,
		began: t.ValidFrom(), Terms: &t.Terms}
}

// ExpiresSoon is [token.Token.ExpiresSoon].
func (p *Principal) ExpiresSoon(warning token.Lifetime, now time.Time) bool {
	return token.NearExpiry(p.began, p.ExpiresAt, now, token.Horizon(warning, now))
}
