package tokenstore

import (
	"errors"
	"time"
)

// Actor is who asks for a change.
type Actor struct {
	// Name is an admin token's id, a Caddy user's name or "caddy-admin".
	Name string
	// Address is the client's address, if there is one.
	Address string
}

// audit returns the entry about a change of a token.
func (a Actor) audit(now time.Time, action string, token *Token, changes map[string]string) AuditEntry {
	return AuditEntry{
		Time: now, Actor: a.Name, Address: a.Address, Action: action,
		TokenID: token.ID, TokenName: token.Name, Changes: changes,
	}
}

// Create makes a token. The secret is returned this once. An error about the
// draft is a *FieldError.
func (s *Store) Create(policy Policy, draft Draft, actor Actor) (*Token, Secret, error) {
	now := s.Now()
	wanted, err := policy.token(draft, now)
	if err != nil {
		return nil, Secret{}, err
	}
	wanted.CreatedBy = validText(actor.Name)
	// A clash of ids is as good as impossible, but would hand out another's token.
	for range 3 {
		if wanted.ID, err = newID(s.random); err != nil {
			return nil, Secret{}, err
		}
		secret, err := newSecret(s.random, wanted.Prefix, wanted.Kind, wanted.ID)
		if err != nil {
			return nil, Secret{}, err
		}
		wanted.Digest = digestOf(secret.Reveal())
		token, err := s.apply(wanted.ID, now, func(old *Token) (*Token, AuditEntry, error) {
			if old != nil {
				return nil, AuditEntry{}, ErrTaken
			}
			token := wanted
			return &token, actor.audit(now, "create", &token, nil), nil
		})
		if errors.Is(err, ErrTaken) {
			continue
		}
		if err != nil {
			return nil, Secret{}, err
		}
		return token, secret, nil
	}
	return nil, Secret{}, ErrTaken
}

// Delete removes a token and its usage; it stops working at once.
func (s *Store) Delete(id ID, actor Actor) error {
	now := s.Now()
	_, err := s.apply(id, now, func(old *Token) (*Token, AuditEntry, error) {
		if old == nil {
			return nil, AuditEntry{}, ErrNotFound
		}
		return nil, actor.audit(now, "delete", old, nil), nil
	})
	return err
}

// apply makes a change durable, then puts it in force. Both happen under the
// token's lock, so that the order in memory is the order on disk.
func (s *Store) apply(id ID, now time.Time, change ChangeFunc) (*Token, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	token, err := s.applyLocked(id, now, change)
	s.answers.endInvalid(s.Now())
	if err != nil {
		return nil, changeError(err)
	}
	return token, nil
}

func (s *Store) applyLocked(id ID, now time.Time, change ChangeFunc) (*Token, error) {
	defer s.index.locks.lock(id)()
	token, err := s.backend.Apply(id, now, change)
	a := s.index.byID(id)
	switch {
	case a == nil: // unused so far; its first use will read it
	case err != nil:
		// The outcome of a failed commit is unknown (a meta page may be visible
		// although its sync failed), so memory follows what the backend holds now.
		s.reload(a)
	case token == nil:
		s.index.remove(a)
	default:
		s.index.replace(a, token)
	}
	return token, err
}

// reload makes memory say what the backend says. While the backend can't be asked
// memory stays as it is: the change has failed as far as anybody was told.
func (s *Store) reload(a *active) {
	stored, err := s.backend.Token(a.id)
	switch {
	case err == nil:
		s.index.replace(a, stored)
	case errors.Is(err, ErrNotFound):
		s.index.remove(a)
	case errors.Is(err, ErrDamaged):
		s.index.unload(a)
	}
}

// changeError leaves errors of the caller's making alone; all others mean that
// the store couldn't be written.
func changeError(err error) error {
	var field *FieldError
	if errors.As(err, &field) || errors.Is(err, ErrTaken) {
		return err
	}
	return readError(err)
}
