package caddymodule

import (
	"sync"

	"github.com/mollygate/mollygate/token"
)

// detachedRequests counts, per token, the requests that continue after their clients have
// disconnected. Without a limit, a client could tie up one backend connection after another by
// disconnecting immediately after each request. The zero value is ready to use. Its methods
// are safe for concurrent use.
type detachedRequests struct {
	mu      sync.Mutex
	byToken map[token.ID]int
}

// take adds a request to the token's count and returns a function that removes it again. If
// the count has already reached limit, take returns nil. A negative limit means no limit.
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
