package caddymodule

import (
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// authorization is a request's permission to be forwarded and to receive a response. The store
// watches it while the request is in flight, because the request may wait in a proxy for a
// connection or an idle backend, and must not reach the backend once its token is no longer
// valid. A request that the backend has received in full may finish.
type authorization struct {
	exchange *exchange
	watched  tokenstore.Watch
	// attempt is how far the proxy's latest attempt to send the request has progressed.
	attempt atomic.Int32
	// responded is set once the backend has begun its response. ended is set once the
	// authorization has ended, and refusal is the reason.
	responded atomic.Bool
	ended     atomic.Bool
	refusal   *gate.Refusal
}

// Progress of an attempt to send a request. Transports that don't report progress, such as
// Caddy's FastCGI transport, stay at noAttempt.
const (
	noAttempt int32 = iota
	connecting
	connected
	sentWhole
)

// watch starts watching a request's authorization when the request is ready to be forwarded.
func (a *authorization) watch(p *exchange) {
	a.exchange = p
	p.store.Watch(&a.watched, &p.Match, a)
}

// StillAllowed implements tokenstore.Watched.
func (a *authorization) StillAllowed(m *tokenstore.Match) bool {
	p := a.exchange
	refusal := p.handler.gate.RecheckMatch(&p.Finding, m, p.clientIP, time.Time{})
	if refusal.Code == "" {
		return true
	}
	if !a.ended.Load() { // after that, other goroutines may read refusal
		a.refusal = new(refusal)
	}
	return false
}

// End implements tokenstore.Watched.
func (a *authorization) End() {
	a.ended.Store(true)
	switch p := a.exchange; {
	case p.uploading():
		p.upload.end()
	case p.upload == nil && a.attempt.Load() != sentWhole, a.responded.Load(), p.response.headerSent():
		a.cut()
	}
}

// cut ends a request whose authorization has ended. It sends a refusal or, if the response has
// begun, aborts the response.
func (a *authorization) cut() {
	if rw := &a.exchange.response; !rw.stop(a.refusal, canceledError{errTokenEnded}) && rw.headerSent() {
		rw.abort()
	}
}

// responseStarted is called when the backend begins its response or the gate begins to send
// one to the client. If the authorization has already ended, the store soon calls End again,
// and that call aborts the response.
func (a *authorization) responseStarted() {
	if !a.responded.Swap(true) && a.ended.Load() {
		a.exchange.store.Watch(&a.watched, &a.exchange.Match, a)
	}
}

// trace returns hooks that track a proxy's attempts to send the request. On each attempt,
// GetConn stops the request if its authorization has ended, because the store detects expiry
// only after a short delay. The hooks may be called from any goroutine, so they only read the
// exchange and must not block.
func (p *exchange) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			p.auth.attempt.Store(connecting)
			match, _ := p.store.Refresh(p.Match, p.store.Now())
			if refusal := p.handler.gate.RecheckMatch(&p.Finding, &match, p.clientIP, time.Time{}); refusal.Code != "" {
				p.response.stop(&refusal, canceledError{errTokenEnded})
			}
		},
		GotConn: func(httptrace.GotConnInfo) { p.auth.attempt.Store(connected) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.auth.attempt.Store(sentWhole)
			}
			p.context.wroteRequest()
		},
	}
}

var _ tokenstore.Watched = (*authorization)(nil)
