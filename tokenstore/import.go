package tokenstore

import (
	"errors"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
	"github.com/mollygate/mollygate/token"
)

// Import imports a token created by Mollymawk, with the secret that its clients already use.
// The token's lifetime starts now. If the token would expire later than max_lifetime allows,
// Import shortens its lifetime and sets capped. The error is [ErrTaken] if the store already
// has the token, or an [*EndedError] if its secret was taken out of service. If the draft or
// the text (field "value") is invalid, the error is a *FieldError.
func (s *Store) Import(policy token.Policy, draft token.Draft, text string, actor Actor) (tok *token.Token, capped bool,
	err error) {
	now := s.Now()
	wanted, capped, err := policy.Import(draft, text, now)
	if err != nil {
		return nil, false, err
	}
	wanted.CreatedBy = wire.ValidText(actor.Name)
	for range 3 {
		if wanted.ID, err = token.NewID(s.random); err != nil {
			return nil, false, err
		}
		tok, err = s.apply(wanted.ID, now, actor, createOnly(wanted, actor.audit(now, "import", &wanted, nil), nil))
		if _, ended := errors.AsType[*EndedError](err); ended || !errors.Is(err, ErrTaken) {
			return tok, capped, err
		}
		if id, err := s.backend.IDOf(wanted.Digest); err == nil {
			return nil, false, s.taken(id, wanted.Digest, now)
		}
	}
	return nil, false, ErrTaken
}

// taken returns the error for importing a secret that already belongs to the token with the
// given ID.
func (s *Store) taken(id token.ID, digest token.Digest, now time.Time) error {
	token, err := s.backend.Token(id)
	if err != nil {
		return ErrTaken
	}
	if previous, ok := token.SecretOf(digest); ok && previous && !now.Before(token.PreviousValidUntil) {
		return &EndedError{At: token.PreviousValidUntil}
	}
	return ErrTaken
}
