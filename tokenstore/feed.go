package tokenstore

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/token"
)

// Maximum numbers of changes and used tokens that a [Feed] collects.
const (
	maxFeedChanges = 100
	maxFeedUsed    = 200
)

// ChangeNote describes a change to a token.
type ChangeNote struct {
	// Action is the audit log's name for the change.
	Action string
	ID     token.ID
}

// Feed collects a store's changes and the tokens in use for one consumer. It must be closed.
type Feed struct {
	store   *Store
	changed chan struct{}

	mu      sync.Mutex
	changes []ChangeNote
	used    map[token.ID]bool
	// manyChanges and manyUsed are set once there was more than the feed collects.
	manyChanges, manyUsed bool
}

// feeds holds a store's open feeds.
type feeds struct {
	mu   sync.Mutex
	open []*Feed
	n    atomic.Int32 // number of open feeds
}

// Feed returns a feed that collects everything from now on.
func (s *Store) Feed() *Feed {
	f := &Feed{store: s, changed: make(chan struct{}, 1), used: make(map[token.ID]bool)}
	s.pending.drain(s.journal) // requests counted so far are not part of the feed
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	s.feeds.open = append(s.feeds.open, f)
	s.feeds.n.Add(1)
	return f
}

// Close stops collecting.
func (f *Feed) Close() {
	feeds := &f.store.feeds
	feeds.mu.Lock()
	defer feeds.mu.Unlock()
	if i := slices.Index(feeds.open, f); i >= 0 {
		feeds.open = slices.Delete(feeds.open, i, i+1)
		feeds.n.Add(-1)
	}
}

// Changed returns a channel that receives a value after a change.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// announce makes Changed's channel receive a value.
func (f *Feed) announce() {
	select {
	case f.changed <- struct{}{}:
	default: // already announced
	}
}

// Changes returns the changes since the last call, in order. If there were more than 100, it
// returns none and sets many.
func (f *Feed) Changes() (changes []ChangeNote, many bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes, many = f.changes, f.manyChanges
	f.changes, f.manyChanges = nil, false
	return changes, many
}

// Used returns the tokens for which requests were counted since the last call, in no
// particular order. If there were more than 200, it returns none and sets many.
func (f *Feed) Used() (ids []token.ID, many bool) {
	f.store.pending.drain(f.store.journal)
	f.mu.Lock()
	defer f.mu.Unlock()
	ids, many = slices.Collect(maps.Keys(f.used)), f.manyUsed
	clear(f.used)
	f.manyUsed = false
	return ids, many
}

// noteChange adds a change to every feed.
func (s *feeds) noteChange(action string, id token.ID) {
	s.each(func(f *Feed) {
		f.manyChanges = f.manyChanges || len(f.changes) == maxFeedChanges
		if f.manyChanges {
			f.changes = nil
		} else {
			f.changes = append(f.changes, ChangeNote{action, id})
		}
		f.announce()
	})
}

// noteMany tells every feed that there were more changes than it collects.
func (s *feeds) noteMany() {
	s.each(func(f *Feed) {
		f.changes, f.manyChanges = nil, true
		f.announce()
	})
}

// noteUse adds a use of a token to every feed.
func (s *feeds) noteUse(id token.ID) {
	s.each(func(f *Feed) {
		f.manyUsed = f.manyUsed || len(f.used) == maxFeedUsed && !f.used[id]
		if f.manyUsed {
			clear(f.used)
		} else {
			f.used[id] = true
		}
	})
}

func (s *feeds) each(note func(*Feed)) {
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.open {
		f.mu.Lock()
		note(f)
		f.mu.Unlock()
	}
}
