package caddymodule

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mollygate/mollygate/token"
)

// requestContext is the context of a forwarded request. Cancellation and tracing require
// allocations. Proxies use both, but most other handlers use neither, so both are set up
// lazily.
type requestContext struct {
	exchange *exchange
	parent   context.Context // the client's context, possibly without its cancellation
	// client is the client's context if canceling it doesn't directly cancel this context.
	// token is the request's token, because the number of requests that continue after their
	// clients have disconnected is limited per token.
	client context.Context
	token  token.ID

	mu sync.Mutex
	// cancelable is parent with cancellation, and traced is cancelable with the trace. Both
	// are nil until they are first used.
	cancelable context.Context
	traced     context.Context
	cancel     context.CancelCauseFunc
	closed     bool
	// limit is how long the backend may take to begin its response, or 0 for no limit. It has
	// no effect on handlers that never use the context's cancellation.
	limit time.Duration
	timer *time.Timer
	// stopWatching stops watching the client's context. gone is set once the client has
	// disconnected. release frees the slot that the request occupies while it continues
	// without its client.
	stopWatching func() bool
	gone         bool
	release      func()
}

// Deadline implements context.Context. Neither Caddy nor the gate sets a deadline.
func (c *requestContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.withCancel().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error { return c.withCancel().Err() }

// Value implements context.Context. Every handler looks up Caddy's own keys, and those lookups
// need neither the trace nor the cancelable context.
func (c *requestContext) Value(key any) any {
	if _, ok := key.(caddy.CtxKey); ok {
		return c.parent.Value(key)
	}
	return c.withTrace().Value(key)
}

// withCancel returns the cancelable context.
func (c *requestContext) withCancel() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancelable != nil {
		return c.cancelable
	}
	c.cancelable, c.cancel = context.WithCancelCause(c.parent)
	if c.closed {
		c.cancel(nil)
		return c.cancelable
	}
	c.startTimer()
	if c.client != nil {
		c.stopWatching = context.AfterFunc(c.client, c.clientGone)
	}
	return c.cancelable
}

// withTrace returns the cancelable context with the trace that checks the authorization.
// Traces that earlier handlers have set remain in effect.
func (c *requestContext) withTrace() context.Context {
	cancelable := c.withCancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.traced == nil {
		c.traced = httptrace.WithClientTrace(cancelable, c.exchange.trace())
	}
	return c.traced
}

// clientGone is called when the client disconnects, if the request may continue without it.
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

// detach decides whether a request continues after its client has disconnected. An upload that
// hasn't been sent in full needs no cancellation: it ends when reading its body fails. The
// caller must hold c.mu.
func (c *requestContext) detach() {
	if c.closed || !c.gone || c.release != nil || c.exchange.upload != nil &&
		c.exchange.auth.attempt.Load() != sentWhole {
		return
	}
	if c.release = c.exchange.handler.detach(c.token); c.release == nil {
		c.cancel(canceledError{errClientGone})
	}
}

// end cancels the context with a cause.
func (c *requestContext) end(cause error) {
	c.withCancel()
	c.cancel(cause)
}

// limitResponse starts the response timeout.
func (c *requestContext) limitResponse(limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	if c.cancelable != nil && !c.closed {
		c.startTimer()
	}
}

// startTimer starts the response timeout, if there is one. The caller must hold c.mu.
func (c *requestContext) startTimer() {
	if c.limit > 0 && c.timer == nil {
		c.timer = time.AfterFunc(c.limit, c.exchange.response.timeOut)
	}
}

// close cancels the context at the end of the request, even if a handler still uses it.
func (c *requestContext) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.stopWatching != nil {
		c.stopWatching()
	}
	if c.release != nil {
		c.release()
	}
	if c.cancelable != nil {
		c.cancel(nil)
	}
}

var _ context.Context = (*requestContext)(nil)
