package tokenstore

import (
	"time"
	"unsafe"

	"github.com/mollygate/mollygate/token"
)

// Principal identifies the sender of a request. It contains the token data that requests need.
// The zero Principal is unknown.
type Principal struct {
	ID token.ID
	// The name is the first nameLength bytes of name or, if it is longer, longName.
	nameLength uint8
	name       [inlineName]byte
	longName   *string
	// began is when the lifetime of the token's current secret began. These times are in seconds;
	// see secondsOf.
	expires, notBefore, began int64
	// Terms is nil if the Principal is unknown.
	*token.Terms
}

// Known reports whether the Principal belongs to a token.
func (p *Principal) Known() bool { return p.Terms != nil }

// ExpiresAt is like ExpiresAt of [token.Token].
func (p *Principal) ExpiresAt() time.Time { return timeOfSeconds(p.expires) }

// NotBefore is like NotBefore of [token.Token].
func (p *Principal) NotBefore() time.Time { return timeOfSeconds(p.notBefore) }

// Name returns the token's name.
func (p *Principal) Name() string {
	if p.longName != nil {
		return *p.longName
	}
	return string(p.name[:p.nameLength])
}

// SharedText returns the token's ID and name without allocating. Both share p's memory, so *p must not
// change as long as they are in use.
func (p *Principal) SharedText() (id, name string) {
	id = unsafe.String(&p.ID[0], len(p.ID)) //nolint:gosec // see above
	if p.longName != nil {
		return id, *p.longName
	}
	return id, unsafe.String(&p.name[0], p.nameLength) //nolint:gosec // see above
}

// inlineName is the maximum length of a short name in bytes. Only long names require a separate
// allocation.
const inlineName = 64

// splitName returns a name as short[:length] or, if it is too long, as long.
func splitName(name string) (short [inlineName]byte, length uint8, long string) {
	if len(name) > inlineName {
		return short, 0, name
	}
	return short, uint8(copy(short[:], name)), ""
}

// setName sets the name to short[:length] or, if long isn't empty, to long.
func (p *Principal) setName(short *[inlineName]byte, length uint8, long string) {
	p.name, p.nameLength = *short, length
	if long != "" {
		p.longName = new(long)
	}
}

// PrincipalOf returns the token's Principal.
func PrincipalOf(t *token.Token) Principal {
	p := Principal{ID: t.ID, expires: secondsOf(t.ExpiresAt), notBefore: secondsOf(t.NotBefore),
		began: secondsOf(t.ValidFrom()), Terms: &t.Terms}
	short, length, long := splitName(t.Name)
	p.setName(&short, length, long)
	return p
}

// ExpiresSoon is like [token.Token.ExpiresSoon].
func (p *Principal) ExpiresSoon(warning token.Lifetime, now time.Time) bool {
	return token.NearExpiry(timeOfSeconds(p.began), p.ExpiresAt(), now, token.Horizon(warning, now))
}
