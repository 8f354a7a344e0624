package cluster

import (
	"context"
	"sync"
)

// progress is a revision that only grows, and that others can wait for. The zero value is 0.
type progress struct {
	mu       sync.Mutex
	revision int64
	waiting  map[chan struct{}]int64
}

func (p *progress) get() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

// reach raises the revision.
func (p *progress) reach(revision int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision = max(p.revision, revision)
	for done, wanted := range p.waiting {
		if wanted <= p.revision {
			close(done)
			delete(p.waiting, done)
		}
	}
}

// restart sets the revision, which may be lower than before.
func (p *progress) restart(revision int64) {
	p.mu.Lock()
	p.revision = revision
	p.mu.Unlock()
	p.reach(revision)
}

// wait waits until the revision is reached. The error is the context's.
func (p *progress) wait(ctx context.Context, revision int64) error {
	p.mu.Lock()
	if revision <= p.revision {
		p.mu.Unlock()
		return nil
	}
	if p.waiting == nil {
		p.waiting = make(map[chan struct{}]int64)
	}
	done := make(chan struct{})
	p.waiting[done] = revision
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.waiting, done)
		p.mu.Unlock()
		return context.Cause(ctx)
	}
}
