package tokenstore

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/token"
)

// Maximum numbers of changes and used tokens that an [Activity] lists.
const (
	maxFeedChanges = 100
	maxFeedUsed    = 200
)

// Activity is what has happened in a store since a [Feed] was last polled.
type Activity struct {
	// Changes lists the changes in order. It is empty if there were more than 100, in which
	// case ManyChanges is set.
	Changes     []ChangeNote
	ManyChanges bool
	// Used lists the tokens for which requests were counted, in no particular order. It is
	// empty if there were more than 200, in which case ManyUsed is set.
	Used     []token.ID
	ManyUsed bool
}

// ChangeNote describes a change to a token.
type ChangeNote struct {
	// Action is the audit log's name for the change.
	Action string
	ID     token.ID
}

// Feed collects a store's activity for one consumer. It must be closed.
type Feed struct {
	store   *Store
	changed chan struct{}

	mu       sync.Mutex
	activity Activity
	used     map[token.ID]bool
}

// feeds holds a store's open feeds.
type feeds struct {
	mu   sync.Mutex
	open []*Feed
	n    atomic.Int32 // number of open feeds
}

// Feed returns a feed of the activity from now on.
func (s *Store) Feed() *Feed {
	f := &Feed{store: s, changed: make(chan struct{}, 1), used: make(map[token.ID]bool)}
	s.pending.drain(s.journal) // requests counted so far aren't part of the activity
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

// Changed returns a channel that receives a value after a change to a token. Counted requests
// aren't announced; poll the feed to learn of them.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Poll returns the activity since the last call.
func (f *Feed) Poll() Activity {
	f.store.pending.drain(f.store.journal)
	f.mu.Lock()
	defer f.mu.Unlock()
	activity := f.activity
	for id := range f.used {
		activity.Used = append(activity.Used, id)
	}
	f.activity = Activity{}
	clear(f.used)
	return activity
}

// noteChange adds a change to every feed.
func (s *feeds) noteChange(action string, id token.ID) {
	s.each(func(f *Feed) {
		if a := &f.activity; len(a.Changes) < maxFeedChanges && !a.ManyChanges {
			a.Changes = append(a.Changes, ChangeNote{action, id})
		} else {
			a.Changes, a.ManyChanges = nil, true
		}
		select {
		case f.changed <- struct{}{}:
		default: // already announced
		}
	})
}

// noteUse adds a use of a token to every feed.
func (s *feeds) noteUse(id token.ID) {
	s.each(func(f *Feed) {
		switch {
		case f.activity.ManyUsed:
		case len(f.used) < maxFeedUsed || f.used[id]:
			f.used[id] = true
		default:
			f.activity.ManyUsed = true
			clear(f.used)
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
