package tokenstore

import (
	"errors"
	"time"
)

// Check returns a *FieldError if no token could be made of the draft at now, whatever its
// name and its end are.
func (p Policy) Check(draft Draft, now time.Time) error {
	draft.Name, draft.Expiry = "any", Expiry{ExpiresIn: Lifetime{seconds: 1}}
	_, err := p.token(draft, now)
	return err
}

// Import takes over a token that Mollymawk made, with the secret that its clients
// have. Its lifetime counts from now; an end that lies later than max_lifetime
// allows is moved to what it allows, and capped says so. One that the store has
// already is [ErrTaken], and one whose secret was taken out of service an
// [*EndedError]. An error about the draft, or about the text ("value"), is
// a *FieldError.
func (s *Store) Import(policy Policy, draft Draft, text string, actor Actor) (token *Token, capped bool, err error) {
	now := s.Now()
	credential, err := policy.Prefixes.Parse(text)
	if err != nil || credential.Format != FormatImported {
		return nil, false, fieldErrorf("value", "is none of Mollymawk's tokens, which are UUIDs of version 4 in lower case")
	}
	draft.Expiry, capped = policy.cap(draft.Expiry, now)
	wanted, err := policy.token(draft, now)
	if err != nil {
		return nil, false, err
	}
	wanted.Format, wanted.Prefix = FormatImported, ""
	wanted.Digest = credential.Digest
	wanted.CreatedBy = validText(actor.Name)
	for range 3 {
		if wanted.ID, err = newID(s.random); err != nil {
			return nil, false, err
		}
		token, err = s.apply(wanted.ID, now, actor, createOnly(wanted, actor.audit(now, "import", &wanted, nil), nil))
		if _, ended := errors.AsType[*EndedError](err); ended || !errors.Is(err, ErrTaken) {
			return token, capped, err
		}
		if id, err := s.backend.IDOf(wanted.Digest); err == nil {
			return nil, false, s.taken(id, wanted.Digest, now)
		}
	}
	return nil, false, ErrTaken
}

// taken returns why a secret that a token has can't be imported.
func (s *Store) taken(id ID, digest Digest, now time.Time) error {
	token, err := s.backend.Token(id)
	if err != nil {
		return ErrTaken
	}
	if previous, ok := token.secretOf(digest); ok && previous && !now.Before(token.PreviousValidUntil) {
		return &EndedError{At: token.PreviousValidUntil}
	}
	return ErrTaken
}

// cap moves the end of an expiry to the latest that max_lifetime allows from now.
func (p Policy) cap(wanted Expiry, now time.Time) (expiry Expiry, capped bool) {
	if p.MaxLifetime.Unlimited() {
		return wanted, false
	}
	made := now.UTC().Truncate(time.Second)
	latest, err := p.MaxLifetime.From(made)
	if err != nil { // later than all that can be written
		return wanted, false
	}
	end := wanted.ExpiresAt
	if !wanted.ExpiresIn.Unlimited() {
		if end, err = wanted.ExpiresIn.From(made); err != nil {
			return Expiry{ExpiresAt: latest}, true
		}
	}
	if wanted.NeverExpires || end.After(latest) {
		return Expiry{ExpiresAt: latest}, true
	}
	return wanted, false
}
