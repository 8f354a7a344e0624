package tokenstore

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
)

// TokenUsage is a token and its usage at the time of the call.
type TokenUsage struct {
	Token *token.Token
	Usage Usage
}

// Ping returns an [ErrUnavailable] if the backend can't be read.
func (s *Store) Ping() error {
	_, _, err := s.List(Page{Order: OrderCreated, Limit: 1})
	return err
}

// Get returns a token with its usage. The errors are [ErrNotFound], [token.ErrDamaged] and
// [ErrUnavailable].
func (s *Store) Get(id token.ID) (TokenUsage, error) {
	if s.closed.Load() {
		return TokenUsage{}, ErrClosed
	}
	if err := s.inDoubt.check(id); err != nil {
		return TokenUsage{}, err
	}
	token, err := s.backend.Token(id)
	if err != nil {
		return TokenUsage{}, readError(err)
	}
	return s.WithUsage(token)
}

// Lookup finds the token that a presented secret belongs to, regardless of the token's status,
// and reports whether the secret is the previous one. It doesn't count as a request. It
// returns the same errors as [Store.Authenticate].
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
		return TokenUsage{}, false, ErrNotFound // rotated in the meantime
	}
	return found, previous, nil
}

// WithUsage returns the token with its current usage.
func (s *Store) WithUsage(token *token.Token) (TokenUsage, error) {
	used, err := s.usage(token.ID, noDay, noDay-1)
	return TokenUsage{Token: token, Usage: used}, err
}

// noDay is a day on which no token was used.
const noDay Day = 0

// usage returns a token's current usage at all nodes, including the days from first to last.
func (s *Store) usage(id token.ID, first, last Day) (Usage, error) {
	used, err := s.ownUsage(id, first, last)
	if err != nil || s.shared == nil {
		return used, err
	}
	elsewhere, err := s.shared.Elsewhere(id, first, last)
	if err != nil {
		return Usage{}, readError(err)
	}
	return used.Plus(elsewhere), nil
}

// ownUsage returns a token's current usage at this node, including the days from first to last.
func (s *Store) ownUsage(id token.ID, first, last Day) (Usage, error) {
	// Read the pending usage first. If it is saved before the backend is read, the state shows
	// that.
	counted := s.pending.differences(id, s.journal)
	used, state, err := s.backend.Usage(id, first, last)
	if errors.Is(err, token.ErrDamaged) {
		// Only the token's history is lost; its requests are still accepted.
		s.logger.Error("a token's usage record is damaged; its counts restart from zero",
			zap.Stringer("token_id", id), zap.Error(err))
	} else if err != nil {
		return Usage{}, readError(err)
	}
	for _, d := range counted {
		if !state.includes(d.flush, id) {
			used = used.Plus(d.usage)
		}
	}
	used.Refusals = nil // some may be saved already; see Refusals
	used.Days = slices.DeleteFunc(used.Days, func(d DayUsage) bool { return d.Day < first || d.Day > last })
	if len(used.Days) == 0 {
		used.Days = nil
	}
	return used, nil
}

// PreviousUse returns the token and the newest allowed request that used its previous secret,
// or a zero LastUse if there is none. The errors are [ErrNotFound] and [ErrUnavailable].
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
		return token, LastUse{}, nil // the request used an older secret
	}
	return token, used.Previous, nil
}

// Page selects a page from the list of tokens.
type Page struct {
	Order      Order
	Descending bool
	// After is the position of the last token already returned. Nil starts at the first token.
	After *Position
	// Limit is the maximum number of tokens to return. Values below 1 mean 1.
	Limit int
	// Match reports whether to include a token. Nil includes all.
	Match func(*token.Token) bool
}

// List returns a page of tokens and the position to continue from, or nil if there are no more
// tokens.
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

// scanChunk is the number of tokens that one backend transaction scans. It is limited because
// bbolt's file grows while a read transaction is open.
const scanChunk = 10_000

// Scan calls visit for every token until visit returns false. The token is valid only during
// the call; use Clone to retain it. Scan visits each token once, but may miss tokens created
// or deleted during the scan. Scanning a million tokens takes less than a second. Scan returns
// the context's error if the context is done.
func (s *Store) Scan(ctx context.Context, visit func(TokenUsage) bool) error {
	// Flush first, so that the backend's usage includes everything counted so far. If the
	// flush fails, the flusher stays locked, and nothing is saved during the scan.
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
				for _, d := range s.pending.differences(token.ID, s.journal) {
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

// flushForScan calls flush. If flush fails, flushForScan returns the backend's FlushState,
// which doesn't change until unlock is called.
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
