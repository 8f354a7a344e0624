package token

import "time"

// NearExpiry reports whether a token that is valid from validFrom until end is about to expire
// at now: it expires by horizon, and at most a quarter of its lifetime is left. Without the
// second condition, short-lived tokens would be near their expiry from the start. A token with
// a zero end never expires. A zero horizon means that only the second condition counts.
func NearExpiry(validFrom, end, now, horizon time.Time) bool {
	if end.IsZero() || !horizon.IsZero() && end.After(horizon) {
		return false
	}
	return end.Sub(now) <= end.Sub(validFrom)/4
}

// ExpiresSoon reports whether the token is about to expire at now: it expires within warning,
// and at most a quarter of its lifetime is left. With an unlimited warning, only the second
// condition counts. The token's status doesn't matter.
func (t *Token) ExpiresSoon(warning Lifetime, now time.Time) bool {
	return NearExpiry(t.ValidFrom(), t.ExpiresAt, now, Horizon(warning, now))
}

// Horizon returns the end of a lifetime that begins now, or the zero time if the lifetime is
// unlimited.
func Horizon(l Lifetime, now time.Time) time.Time {
	end, err := l.From(now)
	if err != nil { // unlimited, or after maxYear
		return time.Time{}
	}
	return end
}

// ValidFrom returns the time at which the token's current secret becomes valid and its
// lifetime begins.
func (t *Token) ValidFrom() time.Time {
	if t.NotBefore.After(t.SecretMadeAt) {
		return t.NotBefore
	}
	return t.SecretMadeAt
}
