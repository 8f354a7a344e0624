package tokenstore

import (
	"time"

	"github.com/mollygate/mollygate/token"
)

// applyShared stores a change and then updates memory. It doesn't hold the ID's lock while it
// waits for the network, because other nodes' changes to the token must take effect meanwhile.
// Memory is read from the backend, which already has the change or a later one.
func (s *Store) applyShared(id token.ID, now time.Time, change ChangeFunc) (*token.Token, error) {
	tok, err := s.backend.Apply(id, now, change)
	s.refresh(id)
	return tok, err
}

// refresh updates a token in memory from the backend.
func (s *Store) refresh(id token.ID) {
	defer s.index.locks.lock(id)()
	if number := s.index.byID(id); number != 0 {
		s.reload(id, number)
	}
}

// follower applies to a store's memory what other nodes change.
type follower struct{ *Store }

// Changed implements Follower.
func (s follower) Changed(notes []ChangeNote) {
	for _, note := range notes {
		s.refresh(note.ID)
	}
	if notes == nil {
		for _, id := range s.index.all() {
			s.refresh(id)
		}
	}
	s.watches.endDisallowed(&s.index, s.Now())
	if notes == nil {
		s.changes.Add(1)
		s.feeds.noteMany()
	}
	for _, note := range notes {
		if note.Action != "" {
			s.changes.Add(1)
			s.feeds.noteChange(note.Action, note.ID)
		}
	}
}

// Replaced implements Follower.
func (s follower) Replaced() {
	s.index.forgetQuotas()
	s.Changed(nil)
}

// Used implements Follower.
func (s follower) Used(ids []token.ID) {
	for _, id := range ids {
		s.feeds.noteUse(id)
		s.countElsewhere(id)
	}
}

// countElsewhere updates the state of a token's quota with the requests that other nodes have
// reported.
func (s *Store) countElsewhere(id token.ID) {
	number := s.index.byID(id)
	var state quotaState
	s.index.with(number, id, func(e *entry) { state = e.quota })
	if state.start == state.end {
		return // it has no quota, or none was taken yet
	}
	elsewhere, err := s.allowedElsewhere(id, state)
	if err != nil {
		return // the next report updates it
	}
	s.index.with(number, id, func(e *entry) {
		if e.quota.start == state.start && e.quota.end == state.end {
			e.quota.elsewhere = max(e.quota.elsewhere, elsewhere)
		}
	})
}
