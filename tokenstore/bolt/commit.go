package bolt

import (
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// committer batches changes: those that arrive during a commit share the next commit.
type committer struct {
	run func([]*pending)

	mu      sync.Mutex
	waiting []*pending
	running bool
}

// pending is a change waiting for its commit.
type pending struct {
	id     token.ID
	change tokenstore.ChangeFunc
	now    time.Time

	token *token.Token
	err   error
	// damaged is set if the token's record couldn't be read before the change.
	damaged bool
	done    chan struct{}
}

// do adds a change to the next commit and waits until the change is on disk or refused.
func (c *committer) do(p *pending) {
	p.done = make(chan struct{})
	c.mu.Lock()
	c.waiting = append(c.waiting, p)
	if !c.running {
		c.running = true
		go c.commit()
	}
	c.mu.Unlock()
	<-p.done
}

// commit commits batches until no change is waiting.
func (c *committer) commit() {
	for {
		c.mu.Lock()
		batch := c.waiting
		c.waiting = nil
		c.running = len(batch) > 0
		c.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		c.run(batch)
		for _, p := range batch {
			close(p.done)
		}
	}
}

// Apply implements tokenstore.Backend.
func (b *Backend) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	p := &pending{id: id, change: change, now: now}
	b.commits.do(p)
	return p.token, p.err
}

// commit applies a batch in one transaction. A refused change doesn't affect the others. A
// refusal may depend on data that doesn't reach the disk if the transaction fails, so in that
// case all changes fail, even refused ones.
func (b *Backend) commit(batch []*pending) {
	err := b.update(func(tx *bbolt.Tx) error {
		newest := time.Time{}
		for _, p := range batch {
			if err := apply(tx, p); err != nil {
				return err
			}
			if p.err == nil && p.now.After(newest) {
				newest = p.now
			}
		}
		return recordTime(tx, newest)
	})
	for _, p := range batch {
		switch {
		case err != nil:
			p.token, p.err = nil, err
		case p.err == nil && p.damaged:
			b.health.addDamaged(-1)
		}
	}
}
