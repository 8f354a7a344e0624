package tokenstore

import (
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
)

// If several nodes share a token with a quota, each node may allow only as many requests as the
// shared store has allotted to it. The allotments of all nodes together never exceed the quota,
// so the quota is exact without a network call per request: a node asks for more only when its
// allotment is used up, and gives back what it doesn't use.

const (
	// allotRetry is how long the result of a failed call, or of one that allotted nothing, holds.
	allotRetry = time.Second
	// allotIdle is how long a token must be unused before its allotment is given back.
	allotIdle = 10 * time.Second
)

// allotments holds the calls in progress and what must be given back. The zero value is empty.
type allotments struct {
	mu    sync.Mutex
	calls map[token.ID]*allotCall
	// held maps the tokens with allotments to the number of requests taken at the last check.
	held map[token.ID]int64
	// checked is when giveBack last checked.
	checked time.Time
}

// allotCall is a call that several requests wait for.
type allotCall struct {
	done      chan struct{}
	exhausted bool
	err       error
	// until is when the result becomes invalid. It is zero while the call is in progress.
	until time.Time
}

// join returns the result of a call of allot for the token that is in progress or has just
// failed. Otherwise it calls allot.
func (a *allotments) join(id token.ID, allot func() (exhausted bool, err error)) (exhausted bool, err error) {
	a.mu.Lock()
	call := a.calls[id]
	if call != nil && (call.until.IsZero() || time.Now().Before(call.until)) {
		a.mu.Unlock()
		<-call.done
		return call.exhausted, call.err
	}
	if a.calls == nil {
		a.calls, a.held = make(map[token.ID]*allotCall), make(map[token.ID]int64)
	}
	call = &allotCall{done: make(chan struct{})}
	a.calls[id] = call
	a.mu.Unlock()
	call.exhausted, call.err = allot()
	close(call.done)
	a.mu.Lock()
	defer a.mu.Unlock()
	if call.exhausted || call.err != nil {
		call.until = time.Now().Add(allotRetry)
	} else {
		delete(a.calls, id)
		a.held[id] = -1
	}
	return call.exhausted, call.err
}

// allot asks for more of a token's quota. state is the state of the quota, whose allotment is
// used up. It reports whether nothing is left.
func (s *Store) allot(id token.ID, number uint32, state quotaState, limit int64) (exhausted bool, err error) {
	return s.allotments.join(id, func() (bool, error) {
		allotted, err := s.shared.Allot(id, state.start, state.end, limit, state.taken, true)
		if err != nil {
			return false, readError(err)
		}
		s.index.with(number, id, func(e *entry) {
			if e.quota.start == state.start && e.quota.end == state.end {
				e.quota.allotted = allotted
			}
		})
		return allotted <= state.taken, nil
	})
}

// giveBack gives back the allotments of tokens that have been idle.
func (s *Store) giveBack() {
	a := &s.allotments
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held) == 0 || time.Since(a.checked) < allotIdle {
		return
	}
	a.checked = time.Now()
	for id, before := range a.held {
		var idle quotaState
		unused := false
		s.index.with(s.index.byID(id), id, func(e *entry) {
			a.held[id] = e.quota.taken
			if unused = e.quota.taken == before; unused {
				e.quota.allotted = e.quota.taken
				idle = e.quota
			}
		})
		if unused {
			delete(a.held, id)
			// If this fails, the next request of the token corrects it.
			go func() { _, _ = s.shared.Allot(id, idle.start, idle.end, 0, idle.taken, false) }()
		}
	}
}
