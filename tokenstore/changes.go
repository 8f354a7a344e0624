package tokenstore

import (
	"errors"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// errUnchanged is returned by a ChangeFunc to abort a change that has no effect.
var errUnchanged = errors.New("nothing changes")

// Create creates a token and returns its secret, which can't be retrieved later. If the draft
// is invalid, the error is a *FieldError.
func (s *Store) Create(policy token.Policy, draft token.Draft, actor Actor) (*token.Token, token.Secret, error) {
	token, secret, _, err := s.CreateOnce(policy, draft, actor, Request{})
	return token, secret, err
}

// CreateOnce creates a token unless the request is a repeat. For a repeat it returns the
// current state of the token that the first request created, without a secret. If the repeat's
// body differs, the error is [ErrRepeatDiffers].
func (s *Store) CreateOnce(policy token.Policy, draft token.Draft, actor Actor, request Request) (tok *token.Token,
	secret token.Secret, repeated bool, err error) {
	now := s.Now()
	if kept := request.keep(actor, token.ID{}, s.elapsedNow()); kept != nil {
		// Check for a repeat before validating the draft: a draft that was valid for the first
		// request may be invalid now.
		if tok, err = s.repeated(kept); !errors.Is(err, ErrNotFound) {
			return tok, token.Secret{}, true, err
		}
	}
	wanted, err := policy.New(draft, now)
	if err != nil {
		return nil, token.Secret{}, false, err
	}
	wanted.CreatedBy = wire.ValidText(actor.Name)
	// An ID collision is practically impossible, but if one occurs, try again with another ID.
	for range 3 {
		if wanted.ID, err = token.NewID(s.random); err != nil {
			return nil, token.Secret{}, false, err
		}
		if secret, err = wanted.NewSecret(s.random); err != nil {
			return nil, token.Secret{}, false, err
		}
		kept := request.keep(actor, wanted.ID, s.elapsedNow())
		tok, err = s.apply(wanted.ID, now, actor, createOnly(wanted, actor.audit(now, "create", &wanted, nil), kept))
		switch {
		case errors.Is(err, ErrRepeated):
			tok, err = s.repeated(kept)
			return tok, token.Secret{}, true, err
		case !errors.Is(err, ErrTaken):
			return tok, secret, false, err
		}
	}
	return nil, token.Secret{}, false, ErrTaken
}

// createOnly returns a ChangeFunc that creates a token. It fails with ErrTaken if the ID
// already exists.
func createOnly(wanted token.Token, entry AuditEntry, request *KeptRequest) ChangeFunc {
	return func(old *token.Token) (Change, error) {
		if old != nil {
			return Change{}, ErrTaken
		}
		token := wanted
		return Change{Token: &token, Audit: entry, Request: request}, nil
	}
}

// Delete deletes a token and its usage. The token stops working immediately.
func (s *Store) Delete(id token.ID, version uint64, actor Actor) error {
	now := s.Now()
	_, err := s.apply(id, now, actor, func(old *token.Token) (Change, error) {
		if old == nil {
			return Change{}, ErrNotFound
		}
		if old.Damaged {
			return Change{Audit: AuditEntry{Time: now, Actor: actor.Name, Address: actor.Address, Action: "delete",
				TokenID: id}}, nil
		}
		if err := old.CheckVersion(version); err != nil {
			return Change{}, err
		}
		return Change{Audit: actor.audit(now, "delete", old, nil)}, nil
	})
	return err
}

// Edit edits a token. The change is in effect when Edit returns. If the edit is invalid, the
// error is a *FieldError. For a revoked or expired token, the error is [token.ErrConflict].
func (s *Store) Edit(policy token.Policy, id token.ID, edit token.Edit, actor Actor) (*token.Token, error) {
	return s.change(id, edit.Version, "edit", actor, func(token *token.Token, now time.Time) (map[string]string,
		error) {
		changes, err := policy.Edit(token, edit, now)
		return changes, unlessChanged(len(changes) > 0, err)
	})
}

// Rotate gives a token a new secret and returns the secret, which can't be retrieved later.
// The ID stays the same. The old secret works until the grace period ends; any earlier secret
// stops working immediately. For a revoked or expired token, the error is [token.ErrConflict].
func (s *Store) Rotate(policy token.Policy, id token.ID, rotation token.Rotation, actor Actor) (*token.Token,
	token.Secret, error) {
	var secret token.Secret
	tok, err := s.change(id, rotation.Version, "rotate", actor,
		func(token *token.Token, now time.Time) (changes map[string]string, err error) {
			secret, changes, err = policy.Rotate(token, rotation, now, s.random)
			return changes, err
		})
	if err != nil {
		return nil, token.Secret{}, err
	}
	return tok, secret, nil
}

// Revoke revokes a token permanently. The token stops working immediately but stays in the
// list. Revoking a revoked token has no effect.
func (s *Store) Revoke(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "revoke", actor, func(token *token.Token, now time.Time) (map[string]string, error) {
		return nil, unlessChanged(token.Revoke(now), nil)
	})
}

// Disable disables a token until it is enabled again; see [Store.Enable]. It has no effect on
// a disabled or revoked token.
func (s *Store) Disable(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "disable", actor, func(token *token.Token, now time.Time) (map[string]string, error) {
		return nil, unlessChanged(token.Disable(now), nil)
	})
}

// Enable enables a disabled token. For a revoked token, the error is [token.ErrConflict].
func (s *Store) Enable(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "enable", actor, func(token *token.Token, _ time.Time) (map[string]string, error) {
		changed, err := token.Enable()
		return nil, unlessChanged(changed, err)
	})
}

// unlessChanged returns err, or errUnchanged if err is nil and nothing changed.
func unlessChanged(changed bool, err error) error {
	if err == nil && !changed {
		return errUnchanged
	}
	return err
}

// change stores a new version of a token. edit modifies a copy of the token and returns the
// changes for the audit log. If edit returns errUnchanged, change returns the stored token.
func (s *Store) change(id token.ID, version uint64, action string, actor Actor,
	edit func(token *token.Token, now time.Time) (map[string]string, error)) (*token.Token, error) {
	now := s.Now()
	var unchanged *token.Token
	token, err := s.apply(id, now, actor, func(old *token.Token) (Change, error) {
		if old == nil {
			return Change{}, ErrNotFound
		}
		if old.Damaged {
			return Change{}, token.ErrDamaged
		}
		if err := old.CheckVersion(version); err != nil {
			return Change{}, err
		}
		token := *old
		changes, err := edit(&token, now)
		if errors.Is(err, errUnchanged) {
			unchanged = old
		}
		if err != nil {
			return Change{}, err
		}
		token.UpdatedAt = now.UTC().Truncate(time.Second)
		token.Version++
		return Change{Token: &token, Audit: actor.audit(now, action, &token, changes)}, nil
	})
	if errors.Is(err, errUnchanged) {
		return unchanged, nil
	}
	return token, err
}

// Changes returns the number of changes to tokens since the store was opened.
func (s *Store) Changes() uint64 { return s.changes.Load() }

// apply stores a change and then updates memory. Both steps hold the token's lock, so changes
// reach memory in the same order as the disk.
//
// The actor is authorized within the transaction, so once a call that removes the actor's
// rights has returned, no change by that actor can begin. Authorizing earlier would let
// through changes that were already waiting for the disk.
func (s *Store) apply(id token.ID, now time.Time, actor Actor, change ChangeFunc) (*token.Token, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	var before *token.Token
	var applied Change
	token, err := s.applyLocked(id, now, func(old *token.Token) (_ Change, err error) {
		if err := actor.authorize(); err != nil {
			return Change{}, err
		}
		before = old
		if applied, err = change(old); err == nil {
			applied.setEnded(old, now)
		}
		return applied, err
	})
	s.watches.endDisallowed(&s.index, s.Now())
	if err != nil {
		return nil, changeError(err)
	}
	s.written()
	s.publishChange(now, before, &applied)
	s.changes.Add(1)
	s.feeds.noteChange(applied.Audit.Action, applied.Audit.TokenID)
	return token, nil
}

func (s *Store) applyLocked(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error) {
	if s.shared != nil {
		return s.applyShared(id, now, change)
	}
	defer s.index.locks.lock(id)()
	var before *token.Token
	var applied *Change
	tok, err := s.backend.Apply(id, now, func(old *token.Token) (Change, error) {
		before, applied = old, nil
		changed, err := change(old)
		if err == nil {
			applied = &changed
		}
		return changed, err
	})
	number := s.index.byID(id)
	switch {
	case err != nil && applied != nil && outcomeUnknown(err):
		s.holdInDoubt(id, before, applied.Token, now, err)
	case number == 0: // not in memory; the first use will load it
	case err != nil:
		s.reload(id, number)
	case tok == nil:
		s.index.remove(number)
	default:
		s.index.replace(number, tok)
	}
	return tok, err
}

// reload updates memory from the backend. If the backend can't be read, memory stays
// unchanged, because the change is reported as failed.
func (s *Store) reload(id token.ID, number uint32) {
	stored, err := s.backend.Token(id)
	switch {
	case err == nil:
		s.index.replace(number, stored)
	case errors.Is(err, ErrNotFound):
		s.index.remove(number)
	case errors.Is(err, token.ErrDamaged):
		s.index.unload(number)
	}
}

// changeError returns errors caused by the caller unmodified. All other errors mean that the
// store could not be written, so changeError wraps them in ErrUnavailable.
func changeError(err error) error {
	var (
		field   *token.FieldError
		version *token.VersionError
	)
	if errors.As(err, &field) || errors.As(err, &version) || errors.Is(err, ErrTaken) ||
		errors.Is(err, token.ErrConflict) ||
		errors.Is(err, ErrRepeated) || errors.Is(err, ErrUnauthorized) || errors.Is(err, errUnchanged) {
		return err
	}
	return readError(err)
}
