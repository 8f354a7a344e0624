package caddymodule

import (
	"context"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// requestContext is the context of a request that is handed on. What it takes to
// tell of its end is made when somebody asks to be told, as proxies do and most
// other handlers don't.
type requestContext struct {
	passage *passage
	parent  context.Context // the client's, or one without its end
	// client is the client's context if its end doesn't end this one. Of the requests of
	// token, only so many continue after it.
	client context.Context
	token  tokenstore.ID

	// sent says that a proxy has taken the request.
	sent atomic.Bool

	mu sync.Mutex
	// whole, with its end, is there if made says so.
	whole  context.Context
	cancel context.CancelCauseFunc
	made   atomic.Bool
	ended  bool
	// limit, unless it is 0, is how long the answer may take from now on. It doesn't
	// bind handlers that never call Done.
	limit time.Duration
	timer *time.Timer
	// attached ends the wait for the client's end. gone says that the client has gone.
	// release gives back what the request has taken to go on without it.
	attached func() bool
	gone     bool
	release  func()
}

// Deadline implements context.Context. Neither Caddy nor the gate sets one.
func (c *requestContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.cancellable().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error { return c.cancellable().Err() }

// Value implements context.Context. Caddy's proxy asks for the trace each time before it
// sends the request, when it has its own copy of the headers, in the goroutine that
// serves the request.
func (c *requestContext) Value(key any) any {
	if key == traceKey {
		c.sent.Store(true)
		return c.passage.right.trace()
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
		return c.whole
	}
	c.startTimer()
	if c.client != nil {
		c.attached = context.AfterFunc(c.client, c.clientGone)
	}
	return c.whole
}

// clientGone is called when the client of a request has gone whose context outlives it.
func (c *requestContext) clientGone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.detach()
}

// sentWhole is called when the backend has been sent the whole request.
func (c *requestContext) sentWhole() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detach()
}

// detach decides whether a request whose client has gone continues. An upload that the
// backend hasn't been sent whole ends by itself, when its body can't be read. It is called
// with the lock held.
func (c *requestContext) detach() {
	if c.ended || !c.gone || c.release != nil || c.passage.upload != nil && !c.passage.right.received.Load() {
		return
	}
	if c.release = c.passage.handler.detach(c.token); c.release == nil {
		c.cancel(canceledError{errClientGone})
	}
}

// end ends the context for a reason.
func (c *requestContext) end(cause error) {
	c.cancellable()
	c.cancel(cause)
}

// expect begins to count the time that an answer may take.
func (c *requestContext) expect(limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	if c.made.Load() && !c.ended {
		c.startTimer()
	}
}

// startTimer is called with the lock held.
func (c *requestContext) startTimer() {
	if c.limit > 0 && c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.passage.answer.late)
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
	if c.attached != nil {
		c.attached()
	}
	if c.release != nil {
		c.release()
	}
	if c.made.Load() {
		c.cancel(nil)
	}
}

var _ context.Context = (*requestContext)(nil)
