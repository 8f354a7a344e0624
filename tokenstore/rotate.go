package tokenstore

import (
	"strconv"
	"time"
)

// Rotation is how a token gets a new secret.
type Rotation struct {
	// Grace is how long the old secret is still accepted, in whole seconds. It ends
	// earlier if the token, as it was before, would have ended.
	Grace time.Duration
	// Expiry of the new secret, counted from now; the zero value keeps the token's.
	Expiry Expiry
	// Version is the one the rotation is meant for, or [AnyVersion].
	Version uint64
}

// Rotate gives a token a new secret under the same id. The old one works on until
// the grace is over; the one before that stops at once. The secret is returned
// this once. A revoked or expired token is [ErrConflict].
func (s *Store) Rotate(policy Policy, id ID, rotation Rotation, actor Actor) (*Token, Secret, error) {
	var secret Secret
	token, err := s.change(id, rotation.Version, "rotate", actor, func(token *Token, now time.Time) (map[string]string, error) {
		if err := token.ended(now); err != nil {
			return nil, err
		}
		made := now.UTC().Truncate(time.Second)
		previousEnds := made.Add(rotation.Grace)
		if !token.ExpiresAt.IsZero() && previousEnds.After(token.ExpiresAt) {
			previousEnds = token.ExpiresAt
		}
		expires, err := policy.newExpiry(token, rotation.Expiry, made, now)
		if err != nil {
			return nil, err
		}
		changes := map[string]string{"grace": strconv.FormatInt(int64(rotation.Grace/time.Second), 10) + "s"}
		noteTime(changes, "expires_at", token.ExpiresAt, expires)
		token.ExpiresAt = expires
		if !expires.IsZero() && previousEnds.After(expires) {
			previousEnds = expires
		}
		if _, err := checkNotBefore(token.NotBefore, expires); err != nil {
			return nil, err
		}
		token.PreviousDigest, token.PreviousValidUntil = Digest{}, time.Time{}
		if previousEnds.After(now) {
			token.PreviousDigest, token.PreviousValidUntil = token.Digest, previousEnds
		}
		token.Format, token.Prefix, token.SecretMadeAt = FormatNative, policy.Prefixes[0], made
		if secret, err = newSecret(s.random, token.Prefix, token.Kind, token.ID); err != nil {
			return nil, err
		}
		token.Digest = digestOf(secret.Reveal())
		return changes, nil
	})
	if err != nil {
		return nil, Secret{}, err
	}
	return token, secret, nil
}

// newExpiry returns when a rotated token ends.
func (p Policy) newExpiry(token *Token, wanted Expiry, made, now time.Time) (time.Time, error) {
	if wanted == (Expiry{}) {
		return token.ExpiresAt, nil
	}
	return p.expiry(wanted, made, made, now)
}
