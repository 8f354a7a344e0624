package bolt

import (
	"sync"
	"time"
)

// background runs work that outlives the call that started it. The zero value is ready to use.
type background struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
	// end is closed by close. It is nil until pause needs it.
	end chan struct{}
}

// start runs f in a goroutine, unless close has been called.
func (g *background) start(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.group.Go(f)
	}
}

// close waits for all started functions to return.
func (g *background) close() {
	g.mu.Lock()
	g.closed = true
	if g.end != nil {
		close(g.end)
		g.end = nil
	}
	g.mu.Unlock()
	g.group.Wait()
}

// pause waits for d, or until close is called.
func (g *background) pause(d time.Duration) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	if g.end == nil {
		g.end = make(chan struct{})
	}
	end := g.end
	g.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-end:
	}
}
