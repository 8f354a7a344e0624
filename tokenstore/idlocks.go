package tokenstore

import (
	"sync"

	"github.com/mollygate/mollygate/token"
)

// idLocks holds a lock for each ID that is being changed or loaded. A change to one token
// holds its lock while it waits for the disk, and must not delay the first use of another
// token.
type idLocks struct {
	mu   sync.Mutex
	held map[token.ID]*idLock
}

type idLock struct {
	sync.Mutex
	users int // goroutines that hold the lock or wait for it
}

// lock locks an ID, to change its token or to load the token into the index.
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
