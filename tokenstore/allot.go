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
	// giveBackTimeout limits how long Close gives back allotments.
	giveBackTimeout = 2 * time.Second
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

// join returns the result of a call for the token that is in progress or has just failed.
// Otherwise it calls allot.
func (a *allotments) join(id token.ID, allot func() (exhausted bool, err error)) (exhausted bool, err error) {
	a.mu.Lock()
	call := a.calls[id]
	if call != nil && (call.until.IsZero() || time.Now().Before(call.until)) {
		a.mu.Unlock()
		<-call.done
		return call.exhausted, call.err
	}
	call = a.begin(id)
	a.mu.Unlock()
	call.exhausted, call.err = allot()
	a.mu.Lock()
	defer a.mu.Unlock()
	if call.exhausted || call.err != nil {
		call.until = time.Now().Add(allotRetry)
	} else {
		delete(a.calls, id)
		a.held[id] = -1
	}
	close(call.done)
	return call.exhausted, call.err
}

// begin begins a call for the token. The caller must hold a.mu.
func (a *allotments) begin(id token.ID) *allotCall {
	if a.calls == nil {
		a.calls, a.held = make(map[token.ID]*allotCall), make(map[token.ID]int64)
	}
	call := &allotCall{done: make(chan struct{})}
	a.calls[id] = call
	return call
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

// unusedAllotment is an allotment that must be given back.
type unusedAllotment struct {
	id    token.ID
	state quotaState
	call  *allotCall
}

// giveBackIdle gives back the allotments of tokens that have been idle.
func (s *Store) giveBackIdle() {
	a := &s.allotments
	a.mu.Lock()
	due := len(a.held) > 0 && time.Since(a.checked) >= allotIdle
	if due {
		a.checked = time.Now()
	}
	a.mu.Unlock()
	if due {
		go s.giveBack(s.takeUnused(false), time.Now().Add(allotIdle))
	}
}

// takeUnused takes the allotments of tokens that were not used since the last call, or of all
// tokens if all is set. Until they are given back, requests of these tokens wait, because a later
// call must not be overtaken.
func (s *Store) takeUnused(all bool) (unused []unusedAllotment) {
	a := &s.allotments
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, call := range a.calls {
		if !call.until.IsZero() && time.Now().After(call.until) {
			delete(a.calls, id)
		}
	}
	for id, before := range a.held {
		if a.calls[id] != nil {
			continue
		}
		var state quotaState
		taken, found := false, false
		s.index.with(s.index.byID(id), id, func(e *entry) {
			found, a.held[id] = true, e.quota.taken
			if taken = all || e.quota.taken == before; taken {
				e.quota.allotted, state = e.quota.taken, e.quota
			}
		})
		switch {
		case !found:
			delete(a.held, id)
		case taken:
			delete(a.held, id)
			unused = append(unused, unusedAllotment{id, state, a.begin(id)})
		}
	}
	return unused
}

// giveBack gives back allotments until the deadline. What it can't give back stays allotted to
// this node, which uses it later.
func (s *Store) giveBack(unused []unusedAllotment, deadline time.Time) {
	for _, u := range unused {
		if time.Now().Before(deadline) {
			_, _ = s.shared.Allot(u.id, u.state.start, u.state.end, 0, u.state.taken, false)
		}
		s.allotments.mu.Lock()
		delete(s.allotments.calls, u.id)
		s.allotments.mu.Unlock()
		close(u.call.done)
	}
}
