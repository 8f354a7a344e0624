package token

import (
	"io"
	"strconv"
	"time"
)

// Rotation specifies how to replace a token's secret.
type Rotation struct {
	// Grace is how long the old secret remains valid, in whole seconds. The old secret never
	// outlives the token's old or new expiry.
	Grace time.Duration
	// Expiry is the expiry of the new secret, counted from now; the zero value keeps the
	// token's expiry.
	Expiry Expiry
	// Version is the version that the rotation is based on, or [AnyVersion].
	Version uint64
}

// Rotate gives the token a new secret. It returns the secret and the changes for the audit
// log. The old secret remains valid during the grace period; any older secret becomes invalid
// immediately. If random is nil, Rotate uses the system's CSPRNG. If the token is revoked or
// expired, the error is [ErrConflict].
func (p Policy) Rotate(token *Token, r Rotation, now time.Time, random io.Reader) (Secret, map[string]string, error) {
	if err := token.Ended(now); err != nil {
		return Secret{}, nil, err
	}
	made := wholeSecond(now)
	previousEnds := made.Add(r.Grace)
	if !token.ExpiresAt.IsZero() && previousEnds.After(token.ExpiresAt) {
		previousEnds = token.ExpiresAt
	}
	expires := token.ExpiresAt
	if r.Expiry != (Expiry{}) {
		var err error
		if expires, err = p.expiry(r.Expiry, made, made, now); err != nil {
			return Secret{}, nil, err
		}
	}
	changes := map[string]string{"grace": strconv.FormatInt(int64(r.Grace/time.Second), 10) + "s"}
	addTimeChange(changes, "expires_at", token.ExpiresAt, expires)
	token.ExpiresAt = expires
	if !expires.IsZero() && previousEnds.After(expires) {
		previousEnds = expires
	}
	if _, err := checkNotBefore(token.NotBefore, expires); err != nil {
		return Secret{}, nil, err
	}
	token.PreviousDigest, token.PreviousValidUntil = Digest{}, time.Time{}
	if previousEnds.After(now) {
		token.PreviousDigest, token.PreviousValidUntil = token.Digest, previousEnds
	}
	token.Format, token.Prefix, token.SecretMadeAt = FormatNative, p.Prefixes[0], made
	secret, err := token.NewSecret(random)
	return secret, changes, err
}

// NewSecret gives the token a secret generated from random, or from the system's CSPRNG if
// random is nil.
func (t *Token) NewSecret(random io.Reader) (Secret, error) {
	secret, err := newSecret(random, t.Prefix, t.Kind, t.ID)
	if err == nil {
		t.Digest = DigestOf(secret.Reveal())
	}
	return secret, err
}
