package token

import (
	"errors"
	"fmt"
	"time"
)

// ErrConflict says that a token is in a state in which it can't be changed so.
// The text behind it says why, and what to do.
var ErrConflict = errors.New("conflict")

func conflictf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConflict, fmt.Errorf(format, args...))
}

// VersionError says that a token has another version than the change was made
// for.
type VersionError struct {
	// Version is the token's now.
	Version uint64
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the token has been changed since: its version is %d", e.Version)
}

// AnyVersion is the version to name in a change of a token whatever it has become.
const AnyVersion = 0

// CheckVersion returns a [*VersionError] unless the token has the version, or that is
// [AnyVersion].
func (t *Token) CheckVersion(version uint64) error {
	if version != AnyVersion && version != t.Version {
		return &VersionError{Version: t.Version}
	}
	return nil
}

// Ended returns why a token can't be brought back to life, if its life is over. It is an
// [ErrConflict].
func (t *Token) Ended(now time.Time) error {
	switch {
	case !t.RevokedAt.IsZero():
		return conflictf("the token was permanently revoked at %s; make a new one", formatTime(t.RevokedAt))
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return conflictf("the token expired at %s and isn't brought back to life; make a new one",
			formatTime(t.ExpiresAt))
	}
	return nil
}

// Revoke ends the token permanently, and reports whether that changed it.
func (t *Token) Revoke(now time.Time) bool {
	if !t.RevokedAt.IsZero() {
		return false
	}
	t.RevokedAt = wholeSecond(now)
	return true
}

// Disable stops the token until [Token.Enable], and reports whether that changed it. A
// revoked token stays as it is.
func (t *Token) Disable(now time.Time) bool {
	if !t.DisabledAt.IsZero() || !t.RevokedAt.IsZero() {
		return false
	}
	t.DisabledAt = wholeSecond(now)
	return true
}

// Enable undoes [Token.Disable], and reports whether that changed the token. A revoked
// token is [ErrConflict].
func (t *Token) Enable() (changed bool, err error) {
	if !t.RevokedAt.IsZero() {
		return false, t.Ended(t.RevokedAt)
	}
	changed = !t.DisabledAt.IsZero()
	t.DisabledAt = time.Time{}
	return changed, nil
}

// wholeSecond returns the second that a time is in, in UTC.
func wholeSecond(now time.Time) time.Time { return now.UTC().Truncate(time.Second) }
