package token

import "time"

// NearExpiry reports whether a token that is valid from began until end is near its end at
// now: it ends by horizon, and no more than a quarter of its life is left. Otherwise
// short-lived tokens would be near their end from their first use. A zero end is never
// near; a zero horizon is no bound.
func NearExpiry(began, end, now, horizon time.Time) bool {
	if end.IsZero() || !horizon.IsZero() && end.After(horizon) {
		return false
	}
	return end.Sub(now) <= end.Sub(began)/4
}

// ExpiresSoon reports whether the token is near its end at now: it ends within warning,
// and no more than a quarter of its life is left. An unlimited warning leaves the
// quarter alone to decide. The token's status doesn't matter.
func (t *Token) ExpiresSoon(warning Lifetime, now time.Time) bool {
	return NearExpiry(t.ValidFrom(), t.ExpiresAt, now, Horizon(warning, now))
}

// Horizon returns the end of a lifetime that begins now; the zero time if it has none.
func Horizon(l Lifetime, now time.Time) time.Time {
	end, err := l.From(now)
	if err != nil { // unlimited, or beyond the calendar
		return time.Time{}
	}
	return end
}

// ValidFrom returns the time from which the token's present secret is valid, which is when
// its life begins.
func (t *Token) ValidFrom() time.Time {
	if t.NotBefore.After(t.SecretMadeAt) {
		return t.NotBefore
	}
	return t.SecretMadeAt
}
