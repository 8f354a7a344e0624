package tokenstore

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// TokenUsage is a token with its usage up to the moment of the call.
type TokenUsage struct {
	Token *token.Token
	Usage Usage
}

// Ping says whether the backend answers. The error is [ErrUnavailable].
func (s *Store) Ping() error {
	_, _, err := s.List(Page{Order: OrderCreated, Limit: 1})
	return err
}

// Get returns a token. The errors are [ErrNotFound], [token.ErrDamaged] and
// [ErrUnavailable].
func (s *Store) Get(id token.ID) (TokenUsage, error) {
	if s.closed.Load() {
		return TokenUsage{}, ErrClosed
	}
	if err := s.uncertain.check(id); err != nil {
		return TokenUsage{}, err
	}
	token, err := s.backend.Token(id)
	if err != nil {
		return TokenUsage{}, readError(err)
	}
	return s.WithUsage(token)
}

// Lookup finds the token whose secret was presented, whatever its state, and says
// whether it is the secret from before the last rotation. It counts nothing. The
// errors are those of [Store.Authenticate].
func (s *Store) Lookup(c token.Credential) (found TokenUsage, previous bool, err error) {
	if s.closed.Load() {
		return TokenUsage{}, false, ErrClosed
	}
	id, err := s.backend.IDOf(c.Digest)
	if err != nil {
		return TokenUsage{}, false, readError(err)
	}
	if found, err = s.Get(id); err != nil {
		return TokenUsage{}, false, err
	}
	previous, ok := found.Token.SecretOf(c.Digest)
	if !ok {
		return TokenUsage{}, false, ErrNotFound // rotated away in between
	}
	return found, previous, nil
}

// WithUsage returns a token with its usage up to now.
func (s *Store) WithUsage(token *token.Token) (TokenUsage, error) {
	used, err := s.usage(token.ID, noDay, noDay-1)
	return TokenUsage{Token: token, Usage: used}, err
}

// noDay is a day that no token is used on.
const noDay Day = 0

// usage returns a token's usage up to now, with the days from first to last.
func (s *Store) usage(id token.ID, first, last Day) (Usage, error) {
	// What was counted comes first: if it is saved meanwhile, the state says so.
	counted := s.pending.of(id, s.journal)
	used, state, err := s.backend.Usage(id, first, last)
	if errors.Is(err, token.ErrDamaged) {
		// The token is good; only its history is lost. That refuses nobody.
		s.logger.Error("the usage record of a token is damaged; its counts begin anew", zap.Stringer("token_id", id),
			zap.Error(err))
	} else if err != nil {
		return Usage{}, readError(err)
	}
	for _, d := range counted {
		if !state.includes(d.flush, id) {
			used = used.Plus(d.usage)
		}
	}
	if used.Days = slices.DeleteFunc(used.Days, func(d DayUsage) bool { return d.Day < first || d.Day > last }); len(
		used.Days) == 0 {
		used.Days = nil
	}
	return used, nil
}

// PreviousUse returns the newest allowed request with the token's secret from before
// its last rotation, or none. The errors are [ErrNotFound] and [ErrUnavailable].
func (s *Store) PreviousUse(id token.ID) (*token.Token, LastUse, error) {
	token, err := s.backend.Token(id)
	if err != nil {
		return nil, LastUse{}, readError(err)
	}
	used, err := s.usage(id, noDay, noDay-1)
	if err != nil {
		return nil, LastUse{}, err
	}
	if used.Previous.Time.Before(token.SecretMadeAt) {
		return token, LastUse{}, nil // of a secret before that
	}
	return token, used.Previous, nil
}

// Page asks for part of the list of tokens.
type Page struct {
	Order      Order
	Descending bool
	// After is the position of the last token already seen; nil begins.
	After *Position
	// Limit is the most tokens to return; less than 1 is 1.
	Limit int
	// Match leaves out tokens it returns false for; nil keeps all.
	Match func(*token.Token) bool
}

// List returns a page of tokens and the position to go on from, or nil if these
// are the last.
func (s *Store) List(page Page) ([]TokenUsage, *Position, error) {
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	limit := max(page.Limit, 1)
	var found []*token.Token
	more := false
	err := s.backend.List(page.Order, page.After, page.Descending, func(token *token.Token) bool {
		if page.Match != nil && !page.Match(token) {
			return true
		}
		if len(found) == limit {
			more = true
			return false
		}
		found = append(found, token)
		return true
	})
	if err != nil {
		return nil, nil, readError(err)
	}
	tokens := make([]TokenUsage, 0, len(found))
	for _, token := range found {
		t, err := s.WithUsage(token)
		if err != nil {
			return nil, nil, err
		}
		tokens = append(tokens, t)
	}
	if !more {
		return tokens, nil, nil
	}
	next := page.Order.PositionOf(found[len(found)-1])
	return tokens, &next, nil
}

// scanChunk is how many tokens are looked at in one go, so that the backend isn't
// held for long: bbolt's file grows while it is read.
const scanChunk = 10_000

// Scan calls visit with every token until it returns false. What visit is given is
// valid during the call only: use Clone to keep it. Tokens that are made or deleted
// meanwhile may be seen or not; all others are, once. It is the way to look at a
// million tokens in less than a second; it fails when the context ends.
func (s *Store) Scan(ctx context.Context, visit func(TokenUsage) bool) error {
	// What has been counted is saved first, so that it is in what the backend scans. If that
	// fails, nothing is saved meanwhile.
	unsaved, unlock, err := s.flushForScan()
	if err != nil {
		return readError(err)
	}
	defer unlock()
	var after token.ID
	for more := true; more; {
		switch {
		case s.closed.Load():
			return ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		seen := 0
		more = false
		err := s.backend.Scan(after, func(token *token.Token, usage Usage) bool {
			if unsaved != nil {
				for _, d := range s.pending.of(token.ID, s.journal) {
					if !unsaved.includes(d.flush, token.ID) {
						usage = usage.Plus(d.usage)
					}
				}
			}
			after = token.ID
			if !visit(TokenUsage{Token: token, Usage: usage}) {
				return false
			}
			seen++
			more = seen == scanChunk
			return !more
		})
		if err != nil {
			return readError(err)
		}
	}
	return nil
}

// flushForScan saves what has been counted. If it can't, it returns the state that the
// backend has until unlock.
func (s *Store) flushForScan() (unsaved *FlushState, unlock func(), err error) {
	s.flusher.mu.Lock()
	if s.flush() == nil {
		s.flusher.mu.Unlock()
		return nil, func() {}, nil
	}
	state, err := s.backend.State()
	if err != nil {
		s.flusher.mu.Unlock()
		return nil, nil, err
	}
	return &state.Flush, s.flusher.mu.Unlock, nil
}
