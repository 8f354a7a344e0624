package caddymodule

import (
	"sync"

	"github.com/mollygate/mollygate/token"
)

// detachedRequests counts the requests that continue after their clients have gone, by
// token. Without a limit, clients that disconnect immediately hold a backend connection each until
// the backend has answered. The zero value has none. Its methods may be called by any
// number of goroutines.
type detachedRequests struct {
	mu      sync.Mutex
	byToken map[token.ID]int
}

// take counts another request of a token. It returns nil if there are limit already;
// a negative limit is none.
func (d *detachedRequests) take(id token.ID, limit int) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if limit >= 0 && d.byToken[id] >= limit {
		return nil
	}
	if d.byToken == nil {
		d.byToken = make(map[token.ID]int)
	}
	d.byToken[id]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.byToken[id]--; d.byToken[id] == 0 {
			delete(d.byToken, id)
		}
	}
}
