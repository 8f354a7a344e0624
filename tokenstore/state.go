package tokenstore

import "time"

// Revoke ends a token for good; it stops working at once and stays listed.
// Revoking it again is harmless.
func (s *Store) Revoke(id ID, version uint64, actor Actor) (*Token, error) {
	return s.change(id, version, "revoke", actor, func(token *Token, now time.Time) (map[string]string, error) {
		if !token.RevokedAt.IsZero() {
			return nil, errUnchanged
		}
		token.RevokedAt = now.UTC().Truncate(time.Second)
		return nil, nil
	})
}

// Disable stops a token from working until [Store.Enable]. A token that is
// disabled or revoked stays as it is.
func (s *Store) Disable(id ID, version uint64, actor Actor) (*Token, error) {
	return s.change(id, version, "disable", actor, func(token *Token, now time.Time) (map[string]string, error) {
		if !token.DisabledAt.IsZero() || !token.RevokedAt.IsZero() {
			return nil, errUnchanged
		}
		token.DisabledAt = now.UTC().Truncate(time.Second)
		return nil, nil
	})
}

// Enable undoes [Store.Disable]. A revoked token is [ErrConflict].
func (s *Store) Enable(id ID, version uint64, actor Actor) (*Token, error) {
	return s.change(id, version, "enable", actor, func(token *Token, _ time.Time) (map[string]string, error) {
		switch {
		case !token.RevokedAt.IsZero():
			return nil, errRevoked(token)
		case token.DisabledAt.IsZero():
			return nil, errUnchanged
		}
		token.DisabledAt = time.Time{}
		return nil, nil
	})
}

func errRevoked(token *Token) error {
	return conflictf("the token was revoked at %s, for good; make a new one", formatTime(token.RevokedAt))
}

// ended says why a token can't be brought back to life, if its life is over.
func (t *Token) ended(now time.Time) error {
	switch {
	case !t.RevokedAt.IsZero():
		return errRevoked(t)
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return conflictf("the token expired at %s and isn't brought back to life; make a new one", formatTime(t.ExpiresAt))
	}
	return nil
}
