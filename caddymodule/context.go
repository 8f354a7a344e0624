package caddymodule

import (
	"context"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// requestContext is the context of a request that is handed on. What it takes to
// tell of its end is made when somebody asks to be told, as proxies do and most
// other handlers don't.
type requestContext struct {
	parent context.Context // the client's, or one without its end

	// sent says that a proxy has taken the request.
	sent atomic.Bool

	mu sync.Mutex
	// whole, with its end, is there if made says so.
	whole  context.Context
	cancel context.CancelCauseFunc
	made   atomic.Bool
	ended  bool
	// limit, unless it is 0, is how long the answer may take from now on, and late
	// what happens then. Nobody who isn't told of the end is hindered by it.
	limit time.Duration
	late  func()
	timer *time.Timer
}

// begin makes c the context of a request, which ends with another.
func (c *requestContext) begin(parent context.Context) { c.parent = parent }

// Deadline implements context.Context. Neither Caddy nor the gate sets one.
func (c *requestContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.cancellable().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error { return c.cancellable().Err() }

// Value implements context.Context. Caddy's proxy asks for the trace when it has its
// own copy of the headers, in the goroutine that serves the request.
func (c *requestContext) Value(key any) any {
	if key == traceKey {
		c.sent.Store(true)
	}
	if c.made.Load() {
		return c.whole.Value(key) // also what package context finds a parent by
	}
	return c.parent.Value(key)
}

// traceKey is what package httptrace keeps a trace under.
var traceKey = func() any {
	var asked keyCatcher
	httptrace.ContextClientTrace(&asked)
	return asked.key
}()

type keyCatcher struct {
	context.Context
	key any
}

func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

// cancellable returns the context with its end.
func (c *requestContext) cancellable() context.Context {
	if c.made.Load() {
		return c.whole
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made.Load() {
		return c.whole
	}
	c.whole, c.cancel = context.WithCancelCause(c.parent)
	c.made.Store(true)
	if c.ended {
		c.cancel(nil)
	} else {
		c.startTimer()
	}
	return c.whole
}

// end ends the context for a reason.
func (c *requestContext) end(cause error) {
	c.cancellable()
	c.cancel(cause)
}

// expect begins to count the time that an answer may take.
func (c *requestContext) expect(limit time.Duration, late func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit, c.late = limit, late
	if c.made.Load() && !c.ended {
		c.startTimer()
	}
}

// startTimer is called with the lock held.
func (c *requestContext) startTimer() {
	if c.limit > 0 && c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.late)
	}
}

// close ends the context after the request, whoever may still be using it.
func (c *requestContext) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.made.Load() {
		c.cancel(nil)
	}
}

var _ context.Context = (*requestContext)(nil)
