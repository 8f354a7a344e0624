package caddymodule

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/token"
)

// requestContext is the context of a request that is handed on. Its end and its trace cost
// allocations, so they are made when they are first asked for, as proxies do and most
// other handlers don't.
type requestContext struct {
	exchange *exchange
	parent   context.Context // the client's, or one without its end
	// client is the client's context if its end doesn't end this one. Of the requests of
	// token, only so many continue after it.
	client context.Context
	token  token.ID

	mu sync.Mutex
	// ending is parent with an end, and traced is ending with the trace; nil until made.
	ending context.Context
	traced context.Context
	cancel context.CancelCauseFunc
	closed bool
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
func (c *requestContext) Done() <-chan struct{} { return c.withEnd().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error { return c.withEnd().Err() }

// Value implements context.Context. Caddy's own keys, for which every handler asks, are
// neither of the trace nor of what package context finds a parent by.
func (c *requestContext) Value(key any) any {
	if _, ok := key.(caddy.CtxKey); ok {
		return c.parent.Value(key)
	}
	return c.withTrace().Value(key)
}

// withEnd returns the context with its end.
func (c *requestContext) withEnd() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return c.ending
	}
	c.ending, c.cancel = context.WithCancelCause(c.parent)
	if c.closed {
		c.cancel(nil)
		return c.ending
	}
	c.startTimer()
	if c.client != nil {
		c.attached = context.AfterFunc(c.client, c.clientGone)
	}
	return c.ending
}

// withTrace returns the context with its end and with the trace of the right, which is
// added to those of handlers before.
func (c *requestContext) withTrace() context.Context {
	ending := c.withEnd()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.traced == nil {
		c.traced = httptrace.WithClientTrace(ending, c.exchange.trace())
	}
	return c.traced
}

// clientGone is called when the client of a request has gone whose context outlives it.
func (c *requestContext) clientGone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.detach()
}

// wroteRequest is called when the proxy has stopped sending the request.
func (c *requestContext) wroteRequest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detach()
}

// detach decides whether a request whose client has gone continues. An upload that the
// backend hasn't been sent whole ends by itself, when its body can't be read. It is called
// with the lock held.
func (c *requestContext) detach() {
	if c.closed || !c.gone || c.release != nil || c.exchange.upload != nil &&
		c.exchange.right.attempt.Load() != sentWhole {
		return
	}
	if c.release = c.exchange.handler.detach(c.token); c.release == nil {
		c.cancel(canceledError{errClientGone})
	}
}

// end ends the context for a reason.
func (c *requestContext) end(cause error) {
	c.withEnd()
	c.cancel(cause)
}

// expect begins to count the time that an answer may take.
func (c *requestContext) expect(limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	if c.ending != nil && !c.closed {
		c.startTimer()
	}
}

// startTimer is called with the lock held.
func (c *requestContext) startTimer() {
	if c.limit > 0 && c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.exchange.answer.late)
	}
}

// close ends the context after the request, even if a handler still uses it.
func (c *requestContext) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.attached != nil {
		c.attached()
	}
	if c.release != nil {
		c.release()
	}
	if c.ending != nil {
		c.cancel(nil)
	}
}

var _ context.Context = (*requestContext)(nil)
