package tokenstore

import (
	"sync"

	"github.com/mollygate/mollygate/token"
)

// idLocks holds one lock per ID whose token is being changed or loaded. A change holds its
// token's lock while it waits for the disk, and that must not delay the first use of another
// token.
type idLocks struct {
	mu   sync.Mutex
	held map[token.ID]*idLock
}

type idLock struct {
	sync.Mutex
	users int // goroutines that hold the lock or wait for it
}

// lock locks an ID so that the caller can change its token or load it into the index.
func (l *idLocks) lock(id token.ID) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[token.ID]*idLock)
	}
	lock := l.held[id]
	if lock == nil {
		lock = new(idLock)
		l.held[id] = lock
	}
	lock.users++
	l.mu.Unlock()

	lock.Lock()
	return func() {
		lock.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if lock.users--; lock.users == 0 {
			delete(l.held, id)
		}
	}
}
