package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mollygate/mollygate/tokenstore"
)

// Sync implements tokenstore.Shared. Calls that arrive during another call's read share the next
// one, which limits the load on the shared store.
func (b *Backend) Sync(ctx context.Context) error {
	err := b.Contact().Problem // trying again would only make the caller wait
	switch {
	case err != nil:
	case !b.contact.following():
		err = tokenstore.ErrReading // values, which the replica doesn't have, may not have been read yet
	default:
		err = b.syncs.join(ctx, b.sync)
	}
	switch {
	case errors.Is(err, tokenstore.ErrBehind):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", tokenstore.ErrBehind, err)
	}
	return nil
}

// sync waits until this node has everything that was committed before the call.
func (b *Backend) sync() error {
	ctx, cancel := b.deadline()
	defer cancel()
	newest, err := b.newest(ctx)
	if err == nil {
		err = newest.wait(ctx)
	}
	if err == nil {
		err = b.writer.flush(ctx)
	}
	return err
}

// sharedCalls runs a function for several callers at once. The zero value is ready to use.
type sharedCalls struct {
	mu      sync.Mutex
	running bool
	next    *sharedCall
}

type sharedCall struct {
	done chan struct{}
	err  error
}

// join waits for a call of run that begins after join does.
func (s *sharedCalls) join(ctx context.Context, run func() error) error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &sharedCall{done: make(chan struct{})}
	}
	call := s.next
	if !s.running {
		s.running = true
		go s.run(run)
	}
	s.mu.Unlock()
	select {
	case <-call.done:
		return call.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run runs the next call until there is none.
func (s *sharedCalls) run(run func() error) {
	for {
		s.mu.Lock()
		call := s.next
		if s.next = nil; call == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		call.err = run()
		close(call.done)
	}
}
