package tokenstore

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// watchInterval is how often watched tokens are checked for expiry. No request continues for
// more than a second after its token expires.
const watchInterval = 250 * time.Millisecond

// Watched is an operation in progress that requires a token, such as an upload or a response.
type Watched interface {
	// StillAllowed reports whether the token still allows the operation. m is the current
	// match for the presented secret; m.Token is unknown if the secret no longer belongs to a
	// token. StillAllowed must not block or call the store.
	StillAllowed(m *Match) bool
	// End is called once, when the operation is no longer allowed. It runs on one of the
	// store's goroutines or on the goroutine that changes the token. It must not block.
	End()
}

// Watch ends an operation soon after its token stops allowing it. The zero Watch is inactive.
// A Watch must not be copied after it has been passed to [Store.Watch].
type Watch struct {
	digest  token.Digest
	watched Watched
	list    *watchList
	next    *Watch
	prev    *Watch
}

// watchLists holds the active watches. There are many lists so that requests on different
// processors don't contend for a lock.
type watchLists [64]watchList

type watchList struct {
	mu    sync.Mutex
	first *Watch
	_     [48]byte // fills a cache line
}

// Watch starts watching an operation that requires the matched secret. The caller must call
// [Watch.Stop] when the operation ends.
func (s *Store) Watch(w *Watch, m *Match, watched Watched) {
	l := &s.watches[rand.Uint32()%uint32(len(s.watches))] //nolint:gosec // spreads load
	w.digest, w.watched, w.list = m.Digest, watched, l
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.next = l.first; w.next != nil {
		w.next.prev = w
	}
	l.first = w
}

// Stop ends the watch. A call to End that has already begun may return after Stop does.
// Stopping a stopped or zero Watch has no effect.
func (w *Watch) Stop() {
	l := w.list
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(w)
}

// remove removes a watch from the list if present. The caller must hold l.mu.
func (l *watchList) remove(w *Watch) {
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case l.first == w:
		l.first = w.next
	default:
		return
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
}

// endDisallowed ends all operations that are no longer allowed.
func (ls *watchLists) endDisallowed(x *index, now time.Time) {
	for i := range ls {
		for _, w := range ls[i].takeDisallowed(x, now) {
			w.watched.End()
		}
	}
}

func (l *watchList) takeDisallowed(x *index, now time.Time) (over []*Watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := l.first; w != nil; {
		next := w.next
		var m Match
		if !x.match(w.digest, now, &m) {
			m = Match{}
		}
		if !w.watched.StillAllowed(&m) {
			over = append(over, w)
			l.remove(w)
		}
		w = next
	}
	return over
}
