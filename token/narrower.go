package token

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Narrower returns the more restrictive of two states of a token, which is the one that allows
// nothing that the other doesn't. It returns nil if each allows something that the other
// doesn't. A nil state means that the token doesn't exist; for a deleted token, Narrower
// returns a revoked copy. If the secrets differ, only the newer state can be the more
// restrictive one, because its secret hasn't been given to anyone yet.
func Narrower(before, after *Token, now time.Time) *Token {
	switch {
	case before == nil:
		return nil // a new token, whose secret hasn't been given to anyone
	case after == nil:
		gone := *before
		gone.RevokedAt = now
		return &gone
	case after.allowsNoMore(before):
		return after
	case before.allowsNoMore(after) && before.Digest == after.Digest:
		return before
	}
	return nil
}

// allowsNoMore reports whether t allows nothing that other doesn't. It may return false even
// if t allows no more than other.
func (t *Token) allowsNoMore(other *Token) bool {
	return t.Kind == other.Kind && t.Account == other.Account &&
		(!t.RevokedAt.IsZero() || other.RevokedAt.IsZero()) &&
		(!t.DisabledAt.IsZero() || other.DisabledAt.IsZero()) &&
		(other.ExpiresAt.IsZero() || !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(other.ExpiresAt)) &&
		!t.NotBefore.Before(other.NotBefore) && t.previousAllowsNoMore(other) &&
		!slices.ContainsFunc(t.Scopes, func(grant string) bool { return !other.Scopes.includes(grant) }) &&
		t.Resources.within(other.Resources) && within(t.AllowedIPs, other.AllowedIPs) &&
		(t.RateLimit == other.RateLimit || other.RateLimit == RateLimit{}) &&
		(t.Quota == other.Quota || other.Quota == Quota{})
}

// previousAllowsNoMore reports whether t's previous secret, if any, works for no longer than
// the same secret does in other.
func (t *Token) previousAllowsNoMore(other *Token) bool {
	switch t.PreviousDigest {
	case Digest{}, other.Digest: // a rotation's overlap never outlasts the token's expiry
		return true
	case other.PreviousDigest:
		return !t.PreviousValidUntil.After(other.PreviousValidUntil)
	}
	return false
}

// includes reports whether the grants contain grant, or "resource:*" for its resource.
func (g Grants) includes(grant string) bool {
	resource, _, _ := strings.Cut(grant, ":")
	return slices.Contains(g, grant) || slices.Contains(g, resource+":*")
}

// within reports whether every prefix in a is within a prefix in b. An empty list means all
// addresses.
func within(a, b []netip.Prefix) bool {
	if len(b) == 0 {
		return true
	}
	return len(a) > 0 && !slices.ContainsFunc(a, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(b, func(q netip.Prefix) bool {
			return q.Bits() <= p.Bits() &&
				q.Contains(p.Addr())
		})
	})
}
