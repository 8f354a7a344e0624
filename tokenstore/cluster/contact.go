package cluster

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

// contact is the state of the connection to the shared store.
type contact struct {
	// followed receives a value when following begins.
	followed chan struct{}

	mu      sync.Mutex
	problem error
	// watching ends the current watch. It is nil if the node isn't following.
	watching context.CancelFunc
}

// begin records that the node follows. stop ends the watch.
func (c *contact) begin(stop context.CancelFunc) {
	c.mu.Lock()
	c.watching = stop
	c.mu.Unlock()
	select {
	case c.followed <- struct{}{}:
	default: // keepFresh is already about to check
	}
}

func (c *contact) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching = nil
}

func (c *contact) following() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watching != nil
}

// restart ends the current watch, and reports whether there was one.
func (c *contact) restart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching == nil {
		return false
	}
	c.watching()
	c.watching = nil
	return true
}

// lost records why the shared store can't be used. It reports whether this is new.
func (c *contact) lost(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	isNew := c.problem == nil || mustNotFollow(err) && !mustNotFollow(c.problem)
	c.problem = err
	return isNew
}

// mustNotFollow reports whether the reason is the shared store's state, which only an admin can
// correct.
func mustNotFollow(err error) bool {
	return errors.Is(err, ErrLostChanges) || errors.Is(err, errOtherStore)
}

// lost records why the shared store can't be used, and logs it if it is new.
func (b *Backend) lost(err error) {
	switch asOf := b.fresh.get(); {
	case !b.contact.lost(err):
	case asOf.IsZero():
		b.logger.Error("the shared store can't be read; refusing all tokens until it has been", zap.Error(err))
	default:
		b.logger.Error("contact to the shared store is lost; serving tokens from this gate's replica",
			zap.Error(err), zap.Time("as_of", asOf))
	}
}

// regained records that the shared store can be used. It reports whether this is new.
func (c *contact) regained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	isNew := c.problem != nil
	c.problem = nil
	return isNew
}

// Contact implements tokenstore.Shared.
func (b *Backend) Contact() tokenstore.Contact {
	contact := tokenstore.Contact{AsOf: b.fresh.get()}
	if !contact.AsOf.IsZero() && b.fresh.most > 0 {
		contact.Until = contact.AsOf.Add(b.fresh.most)
	}
	b.contact.mu.Lock()
	defer b.contact.mu.Unlock()
	contact.Problem = b.contact.problem
	return contact
}
