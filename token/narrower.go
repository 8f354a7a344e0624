package token

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Narrower returns the one of two states of a token that allows nothing which the other
// doesn't, or nil if neither does. nil is a token that doesn't exist. A token that is
// deleted is returned as a revoked one. As far as secrets go, the newer state is the
// narrower one: nobody was given a secret that only it has.
func Narrower(before, after *Token, now time.Time) *Token {
	switch {
	case before == nil:
		return nil // a new token: nobody was given its secret
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

// allowsNoMore reports whether t allows nothing that other does not. It may report false
// for a token that in fact allows no more.
func (t *Token) allowsNoMore(other *Token) bool {
	return t.Kind == other.Kind && t.Account == other.Account &&
		(!t.RevokedAt.IsZero() || other.RevokedAt.IsZero()) &&
		(!t.DisabledAt.IsZero() || other.DisabledAt.IsZero()) &&
		(other.ExpiresAt.IsZero() || !t.ExpiresAt.IsZero() && !t.ExpiresAt.After(other.ExpiresAt)) &&
		!t.NotBefore.Before(other.NotBefore) &&
		!slices.ContainsFunc(t.Scopes, func(grant string) bool { return !other.Scopes.includes(grant) }) &&
		within(t.AllowedIPs, other.AllowedIPs) &&
		(t.RateLimit == other.RateLimit || other.RateLimit == RateLimit{}) &&
		(t.Quota == other.Quota || other.Quota == Quota{})
}

// includes reports whether a grant is among the grants, or for an action of a resource for
// which they have "resource:*".
func (g Grants) includes(grant string) bool {
	resource, _, _ := strings.Cut(grant, ":")
	return slices.Contains(g, grant) || slices.Contains(g, resource+":*")
}

// within reports whether a is no wider than b. No prefixes are all addresses.
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
