package token

import (
	"strings"
	"time"
)

// Token is a token's stored record, without its usage. A Token that a store returned is shared
// and must not be changed. Times are in UTC; the zero time means none.
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

	// Prefix is the two-letter prefix of the current secret; empty for FormatImported.
	Prefix   string
	Metadata map[string]string

	// CreatedAt has microsecond precision to preserve the creation order; the microseconds are
	// never shown.
	CreatedAt time.Time
	// CreatedBy is the actor who created the token.
	CreatedBy string
	UpdatedAt time.Time
	// SecretMadeAt is when the current secret was created. The maximum lifetime counts from
	// this time.
	SecretMadeAt time.Time
	// PreviousDigest is the digest of the secret before the last rotation. That secret is
	// accepted until PreviousValidUntil. Like all times that affect validity, this is a whole
	// second.
	PreviousDigest     Digest
	PreviousValidUntil time.Time

	// Version starts at 1 and increases with every change.
	Version uint64

	// Damaged reports whether the record is unreadable. If so, only the ID and possibly
	// CreatedAt or ExpiresAt are known.
	Damaged bool
}

// Hint returns the public part of the token's text, or "" for imported tokens.
func (t *Token) Hint() string {
	if t.Format != FormatNative {
		return ""
	}
	return t.Prefix + string(t.Kind.letter()) + "_" + t.ID.String() + "_…"
}

// Status is a token's state at a point in time.
type Status uint8

// If several states apply, the first one counts.
const (
	StatusRevoked Status = iota + 1
	StatusDisabled
	StatusNotYetValid
	StatusExpired
	StatusActive
	// StatusDamaged is the status of a token whose record can't be read.
	StatusDamaged
)

// String returns the status's name in the admin API.
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

// Status returns the token's status at now. A token expires at exactly ExpiresAt, like the
// "exp" claim in RFC 7519 section 4.1.4.
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

// SecretStatus returns the status of one of the token's secrets. A previous secret counts as
// revoked once its grace period is over.
func (t *Token) SecretStatus(previous bool, now time.Time) Status {
	if previous && !now.Before(t.PreviousValidUntil) {
		return StatusRevoked
	}
	return t.Status(now)
}

// Digests returns the digests of the token's secrets, by which the store finds the token.
func (t *Token) Digests() []Digest {
	if t.PreviousDigest.IsZero() {
		return []Digest{t.Digest}
	}
	return []Digest{t.Digest, t.PreviousDigest}
}

// SecretOf reports whether the digest belongs to one of the token's secrets, and whether that
// secret is the previous one.
//
// Its timing reveals how much of a digest matched. That is harmless: a client can't choose the
// digest of the secret it presents, and the token was already found by its complete digest.
func (t *Token) SecretOf(d Digest) (previous, ok bool) {
	if d == t.Digest {
		return false, true
	}
	return true, d == t.PreviousDigest && !d.IsZero()
}

// Scope is a permission that a route requires.
type Scope struct {
	// Name is "resource:action".
	Name string
	// Explicit scopes are not covered by the grant "*".
	Explicit bool
}

// Grants are the scopes granted to a token. Each is the name of a scope, "resource:*" for
// every action on a resource, or "*" for all scopes that aren't explicit.
type Grants []string

// Cover reports whether the grants include scope. Names are case-sensitive.
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
