package token

import (
	"errors"
	"fmt"
	"time"
)

// ErrConflict means that a token's state doesn't allow a change. The error's text explains why
// and what to do.
var ErrConflict = errors.New("conflict")

func conflictf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConflict, fmt.Errorf(format, args...))
}

// VersionError means that a token no longer has the version that a change is based on.
type VersionError struct {
	// Version is the token's current version.
	Version uint64
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the token has changed since: its version is now %d", e.Version)
}

// AnyVersion is the version of a change that applies to any version of the token.
const AnyVersion = 0

// CheckVersion returns a [*VersionError] unless version is the token's version or
// [AnyVersion].
func (t *Token) CheckVersion(version uint64) error {
	if version != AnyVersion && version != t.Version {
		return &VersionError{Version: t.Version}
	}
	return nil
}

// Ended returns an [ErrConflict] if the token is revoked or expired, because such a token can
// never become valid again.
func (t *Token) Ended(now time.Time) error {
	switch {
	case !t.RevokedAt.IsZero():
		return conflictf("the token was permanently revoked at %s; create a new one", formatTime(t.RevokedAt))
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return conflictf("the token expired at %s and can't become valid again; create a new one",
			formatTime(t.ExpiresAt))
	}
	return nil
}

// Revoke revokes the token permanently and reports whether that changed it.
func (t *Token) Revoke(now time.Time) bool {
	if !t.RevokedAt.IsZero() {
		return false
	}
	t.RevokedAt = wholeSecond(now)
	return true
}

// Disable disables the token until [Token.Enable] is called, and reports whether that changed
// it. A revoked token stays unchanged.
func (t *Token) Disable(now time.Time) bool {
	if !t.DisabledAt.IsZero() || !t.RevokedAt.IsZero() {
		return false
	}
	t.DisabledAt = wholeSecond(now)
	return true
}

// Enable reverts [Token.Disable] and reports whether that changed the token. If the token is
// revoked, the error is [ErrConflict].
func (t *Token) Enable() (changed bool, err error) {
	if !t.RevokedAt.IsZero() {
		return false, t.Ended(t.RevokedAt)
	}
	changed = !t.DisabledAt.IsZero()
	t.DisabledAt = time.Time{}
	return changed, nil
}

// wholeSecond truncates a time to the second, in UTC.
func wholeSecond(now time.Time) time.Time { return now.UTC().Truncate(time.Second) }
