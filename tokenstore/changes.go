package tokenstore

import (
	"errors"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// errUnchanged ends a change that has nothing to do.
var errUnchanged = errors.New("nothing changes")

// Create makes a token. The secret is returned this once. An error about the
// draft is a *FieldError.
func (s *Store) Create(policy token.Policy, draft token.Draft, actor Actor) (*token.Token, token.Secret, error) {
	token, secret, _, err := s.CreateOnce(policy, draft, actor, Request{})
	return token, secret, err
}

// CreateOnce makes a token unless the request is a repeat: then it returns the
// token that was made before, as it is now, without a secret. A repeat that asks
// for something else is [ErrRepeatDiffers].
func (s *Store) CreateOnce(policy token.Policy, draft token.Draft, actor Actor, request Request) (tok *token.Token,
	secret token.Secret, repeated bool, err error) {
	now := s.Now()
	if kept := request.keep(actor, token.ID{}, s.passedNow()); kept != nil {
		// Before the draft is looked at: what was right then may be wrong now.
		if tok, err = s.repeated(kept); !errors.Is(err, ErrNotFound) {
			return tok, token.Secret{}, true, err
		}
	}
	wanted, err := policy.New(draft, now)
	if err != nil {
		return nil, token.Secret{}, false, err
	}
	wanted.CreatedBy = wire.ValidText(actor.Name)
	// A clash of ids is as good as impossible, but would hand out another's token.
	for range 3 {
		if wanted.ID, err = token.NewID(s.random); err != nil {
			return nil, token.Secret{}, false, err
		}
		if secret, err = wanted.NewSecret(s.random); err != nil {
			return nil, token.Secret{}, false, err
		}
		kept := request.keep(actor, wanted.ID, s.passedNow())
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

// createOnly makes a token where there is none.
func createOnly(wanted token.Token, entry AuditEntry, request *KeptRequest) ChangeFunc {
	return func(old *token.Token) (Change, error) {
		if old != nil {
			return Change{}, ErrTaken
		}
		token := wanted
		return Change{Token: &token, Audit: entry, Request: request}, nil
	}
}

// Delete removes a token and its usage; it stops working at once.
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

// Edit changes a token; the change is in force when Edit returns. An error about
// the edit is a *FieldError; a revoked or expired token is [token.ErrConflict].
func (s *Store) Edit(policy token.Policy, id token.ID, edit token.Edit, actor Actor) (*token.Token, error) {
	return s.change(id, edit.Version, "edit", actor, func(token *token.Token, now time.Time) (map[string]string,
		error) {
		changes, err := policy.Edit(token, edit, now)
		return changes, unlessChanged(len(changes) > 0, err)
	})
}

// Rotate gives a token a new secret under the same id. The old one works on until
// the grace is over; the one before that stops immediately. The secret is returned
// this once. A revoked or expired token is [token.ErrConflict].
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

// Revoke ends a token permanently; it stops working immediately and stays listed.
// Revoking it again is harmless.
func (s *Store) Revoke(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "revoke", actor, func(token *token.Token, now time.Time) (map[string]string, error) {
		return nil, unlessChanged(token.Revoke(now), nil)
	})
}

// Disable stops a token from working until [Store.Enable]. A token that is
// disabled or revoked stays as it is.
func (s *Store) Disable(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "disable", actor, func(token *token.Token, now time.Time) (map[string]string, error) {
		return nil, unlessChanged(token.Disable(now), nil)
	})
}

// Enable undoes [Store.Disable]. A revoked token is [token.ErrConflict].
func (s *Store) Enable(id token.ID, version uint64, actor Actor) (*token.Token, error) {
	return s.change(id, version, "enable", actor, func(token *token.Token, _ time.Time) (map[string]string, error) {
		changed, err := token.Enable()
		return nil, unlessChanged(changed, err)
	})
}

// unlessChanged returns errUnchanged if nothing changed and nothing failed.
func unlessChanged(changed bool, err error) error {
	if err == nil && !changed {
		return errUnchanged
	}
	return err
}

// change makes a new version of a token. edit changes a copy of the token and returns
// what it changed, for the audit. With errUnchanged the token is returned as it was.
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

// apply makes a change durable, then puts it in force. Both happen under the
// token's lock, so that the order in memory is the order on disk.
//
// The actor's right is checked within the transaction: once a call that ends the
// right has returned, no change of the actor's begins. Checking before the
// transaction would let changes through that wait for the disk meanwhile.
func (s *Store) apply(id token.ID, now time.Time, actor Actor, change ChangeFunc) (*token.Token, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	var before *token.Token
	var made Change
	token, err := s.applyLocked(id, now, func(old *token.Token) (_ Change, err error) {
		if err := actor.authorize(); err != nil {
			return Change{}, err
		}
		before = old
		if made, err = change(old); err == nil {
			made.noteEnded(old, now)
		}
		return made, err
	})
	s.watches.endDisallowed(&s.index, s.Now())
	if err != nil {
		return nil, changeError(err)
	}
	s.written()
	s.tellChange(now, before, &made)
	return token, nil
}

func (s *Store) applyLocked(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error) {
	defer s.index.locks.lock(id)()
	var before *token.Token
	var made *Change
	tok, err := s.backend.Apply(id, now, func(old *token.Token) (Change, error) {
		before, made = old, nil
		changed, err := change(old)
		if err == nil {
			made = &changed
		}
		return changed, err
	})
	number := s.index.byID(id)
	switch {
	case err != nil && made != nil && outcomeUnknown(err):
		s.keepNarrower(id, before, made.Token, now, err)
	case number == 0: // unused so far; its first use will read it
	case err != nil:
		s.reload(id, number)
	case tok == nil:
		s.index.remove(number)
	default:
		s.index.replace(number, tok)
	}
	return tok, err
}

// reload makes memory say what the backend says. While the backend can't be asked
// memory stays as it is: the change has failed as far as anybody was told.
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

// changeError leaves errors of the caller's making alone; all others mean that
// the store couldn't be written.
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
