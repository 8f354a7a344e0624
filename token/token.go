package token

import (
	"strings"
	"time"
)

// Token is a token's stored record, without its usage. A Token that a store returned is
// shared and must not be changed. Times are UTC; a zero time is "none".
type Token struct {
	ID     ID
	Format Format
	Digest Digest
	// ExpiresAt is the first moment at which the token is no longer valid.
	ExpiresAt  time.Time
	NotBefore  time.Time
	RevokedAt  time.Time
	DisabledAt time.Time
	Name       string
	Terms

	// Prefix is the two letters the present secret begins with; empty for
	// FormatImported.
	Prefix   string
	Metadata map[string]string

	// CreatedAt has microseconds, which keep the creation order; they are never
	// shown.
	CreatedAt time.Time
	// CreatedBy is the actor of the creating call.
	CreatedBy string
	UpdatedAt time.Time
	// SecretMadeAt is when the present secret was made; the longest lifetime
	// counts from it.
	SecretMadeAt time.Time
	// PreviousDigest is of the secret before the last rotation, accepted until
	// PreviousValidUntil, a whole second like all that validity depends on.
	PreviousDigest     Digest
	PreviousValidUntil time.Time

	// Version counts the token's changes from 1.
	Version uint64

	// Damaged is set if the record can't be read. Then only the ID is known, and possibly
	// CreatedAt or ExpiresAt.
	Damaged bool
}

// Hint returns the public part of the token's text, or "" for imported tokens,
// which have none.
func (t *Token) Hint() string {
	if t.Format != FormatNative {
		return ""
	}
	return t.Prefix + string(t.Kind.letter()) + "_" + t.ID.String() + "_…"
}

// Status is a token's state at a moment.
type Status uint8

// A token is in the first of these states that applies.
const (
	StatusRevoked Status = iota + 1
	StatusDisabled
	StatusNotYetValid
	StatusExpired
	StatusActive
	// StatusDamaged is the state of a token whose record can't be read.
	StatusDamaged
)

// String returns the status as the admin API writes it.
func (s Status) String() string {
	switch s {
	case StatusRevoked:
		return "revoked"
	case StatusDisabled:
		return "disabled"
	case StatusNotYetValid:
		return "not_yet_valid"
	case StatusExpired:
		return "expired"
	case StatusActive:
		return "active"
	case StatusDamaged:
		return "damaged"
	}
	return "unknown"
}

// Status returns the token's state at now. A token is expired from its ExpiresAt
// on (as RFC 7519 section 4.1.4 has it for "exp").
func (t *Token) Status(now time.Time) Status {
	switch {
	case t.Damaged:
		return StatusDamaged
	case !t.RevokedAt.IsZero():
		return StatusRevoked
	case !t.DisabledAt.IsZero():
		return StatusDisabled
	case now.Before(t.NotBefore):
		return StatusNotYetValid
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return StatusExpired
	}
	return StatusActive
}

// SecretStatus is the state of one of the token's secrets: an outdated one whose
// grace is over is as good as revoked.
func (t *Token) SecretStatus(previous bool, now time.Time) Status {
	if previous && !now.Before(t.PreviousValidUntil) {
		return StatusRevoked
	}
	return t.Status(now)
}

// Digests returns the digests of the token's secrets, which it is found by.
func (t *Token) Digests() []Digest {
	if t.PreviousDigest.IsZero() {
		return []Digest{t.Digest}
	}
	return []Digest{t.Digest, t.PreviousDigest}
}

// SecretOf reports whether the digest is of one of the token's secrets, and whether
// of the previous one.
//
// How long it takes tells how much of a digest was right. Whoever presents secrets
// doesn't choose their digests, and the token was found by the whole digest before.
func (t *Token) SecretOf(d Digest) (previous, ok bool) {
	if d == t.Digest {
		return false, true
	}
	return true, d == t.PreviousDigest && !d.IsZero()
}

// Scope is what a route needs: "resource:action".
type Scope struct {
	Name string
	// Explicit scopes are not covered by the grant "*".
	Explicit bool
}

// Grants are the scopes a token has been given. Each is a scope's name,
// "resource:*" for every action on a resource, or "*" for all but the explicit
// scopes.
type Grants []string

// Cover says whether the grants include scope. Names are compared byte for byte.
func (g Grants) Cover(scope Scope) bool {
	for _, grant := range g {
		if grant == scope.Name || (grant == "*" && !scope.Explicit) {
			return true
		}
		resource, wild := strings.CutSuffix(grant, "*")
		if wild && strings.HasSuffix(resource, ":") && strings.HasPrefix(scope.Name, resource) {
			return true
		}
	}
	return false
}
