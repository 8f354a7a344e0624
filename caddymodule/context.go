package caddymodule

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// requestContext is the context of a forwarded request. Cancellation and tracing require
// allocations. Proxies use both, but most other handlers use neither, so both are set up
// lazily.
type requestContext struct {
	exchange *exchange
	// outlives is set if canceling the client's context doesn't directly cancel this one.
	outlives bool

	// mu guards the fields below. limited is set once the backend must begin its response within
	// answer_timeout. It has no effect on handlers that never use the context's cancellation.
	closed, limited bool
	mu              sync.Mutex
	// cancellation is nil until it is first used.
	cancellation *cancellation
}

// cancellation is the part of a request's context that only some handlers use, such as proxies.
type cancellation struct {
	context.Context
	cancel context.CancelCauseFunc
	// traced is the context with the trace, or nil until it is first used.
	traced context.Context
	timer  *time.Timer
	// stopWatching stops watching the client's context. gone is set once the client has
	// disconnected. release frees the slot that the request occupies while it continues
	// without its client.
	stopWatching func() bool
	gone         bool
	release      func()
}

// Deadline implements context.Context. Neither Caddy nor the gate sets a deadline.
func (c *requestContext) Deadline() (time.Time, bool) { return c.parent().Deadline() }

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.withCancel().Done() }

// Err implements context.Context.
func (c *requestContext) Err() error { return c.withCancel().Err() }

// Value implements context.Context. Every handler looks up Caddy's own keys, and those lookups
// need neither the trace nor the cancelable context. The most common ones don't search the chain
// of Caddy's contexts either.
func (c *requestContext) Value(key any) any {
	switch caddyKey, ok := key.(caddy.CtxKey); {
	case !ok:
		return c.withTrace().Value(key)
	case caddyKey == caddy.ReplacerCtxKey:
		return c.exchange.replacer
	case caddyKey == caddyhttp.VarsCtxKey:
		return c.exchange.vars
	}
	return c.client().Value(key)
}

// client returns the client's context.
func (c *requestContext) client() context.Context { return c.exchange.response.request.Context() }

// parent returns the client's context, possibly without its cancellation.
func (c *requestContext) parent() context.Context {
	if c.outlives {
		return context.WithoutCancel(c.client())
	}
	return c.client()
}

// withCancel returns the cancelable context.
func (c *requestContext) withCancel() *cancellation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancellation != nil {
		return c.cancellation
	}
	x := new(cancellation)
	x.Context, x.cancel = context.WithCancelCause(c.parent())
	c.cancellation = x
	if c.closed {
		x.cancel(nil)
		return x
	}
	c.startTimer()
	if c.outlives {
		x.stopWatching = context.AfterFunc(c.client(), c.clientGone)
	}
	return x
}

// withTrace returns the cancelable context with the trace that checks the authorization.
// Traces that earlier handlers have set remain in effect.
func (c *requestContext) withTrace() context.Context {
	x := c.withCancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.traced == nil {
		x.traced = httptrace.WithClientTrace(x.Context, c.exchange.trace())
	}
	return x.traced
}

// clientGone is called when the client disconnects, if the request may continue without it.
func (c *requestContext) clientGone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancellation.gone = true
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
	x := c.cancellation
	if c.closed || x == nil || !x.gone || x.release != nil || c.exchange.upload != nil &&
		c.exchange.auth.attempt.Load() != sentWhole {
		return
	}
	if x.release = c.exchange.handler.detach(c.exchange.Match.Token.ID); x.release == nil {
		x.cancel(canceledError{errClientGone})
	}
}

// end cancels the context with a cause.
func (c *requestContext) end(cause error) {
	c.withCancel().cancel(cause)
}

// limitResponse starts the response timeout.
func (c *requestContext) limitResponse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited = true
	c.startTimer()
}

// startTimer starts the response timeout if it has an effect. The caller must hold c.mu.
func (c *requestContext) startTimer() {
	if x := c.cancellation; c.limited && !c.closed && x != nil && x.timer == nil {
		x.timer = time.AfterFunc(time.Duration(c.exchange.handler.AnswerTimeout), c.exchange.response.timeOut)
	}
}

// close cancels the context at the end of the request, even if a handler still uses it.
func (c *requestContext) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	x := c.cancellation
	if x == nil {
		return
	}
	if x.timer != nil {
		x.timer.Stop()
	}
	if x.stopWatching != nil {
		x.stopWatching()
	}
	if x.release != nil {
		x.release()
	}
	x.cancel(nil)
}

var _ context.Context = (*requestContext)(nil)
