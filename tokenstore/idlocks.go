package tokenstore

import (
	"sync"

	"github.com/mollygate/mollygate/token"
)

// idLocks is a lock for each id that is in use just now. A change of one token
// waits for the disk with its lock held and must not make another's first use
// wait.
type idLocks struct {
	mu   sync.Mutex
	held map[token.ID]*idLock
}

type idLock struct {
	sync.Mutex
	users int // who holds it and who waits for it
}

// lock begins a change of one token, or its way into the index.
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
