package caddymodule

import (
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// right is a request's right to be forwarded, and to its answer. It is watched for as
// long as the request is under way: a request may wait in a proxy for a connection, or
// for a backend that isn't busy, and must not reach the backend after its token has
// ended. What the backend has received whole is left to finish.
type right struct {
	exchange *exchange
	watched  tokenstore.Watch
	// attempt is how far the proxy's latest attempt to send the request has come.
	attempt atomic.Int32
	// answered says that the backend has begun to answer, ended that the right has ended.
	// refusal says why.
	answered atomic.Bool
	ended    atomic.Bool
	refusal  gate.Refusal
}

// How far an attempt to send a request has come. Transports that don't report it, such as
// Caddy's FastCGI, stay at noAttempt.
const (
	noAttempt int32 = iota
	connecting
	connected
	sentWhole
)

// watch begins to watch the right to a request that is ready to be handed on.
func (r *right) watch(p *exchange) {
	r.exchange = p
	p.store.Watch(&r.watched, &p.Match, r)
}

// StillAllowed implements tokenstore.Watched.
func (r *right) StillAllowed(m *tokenstore.Match) bool {
	p := r.exchange
	refusal := p.handler.gate.RecheckMatch(&p.Finding, m, p.clientIP, time.Time{})
	if refusal.Code == "" {
		return true
	}
	if !r.ended.Load() { // others may read the refusal from then on
		r.refusal = refusal
	}
	return false
}

// End implements tokenstore.Watched.
func (r *right) End() {
	r.ended.Store(true)
	switch p := r.exchange; {
	case p.uploading():
		p.upload.end()
	case p.upload == nil && r.attempt.Load() != sentWhole, r.answered.Load(), p.answer.headerSent():
		r.cut()
	}
}

// cut ends a request whose right has ended: with a refusal, or in its answer if that has
// begun.
func (r *right) cut() {
	if answer := &r.exchange.answer; !answer.stop(&r.refusal, canceledError{errTokenEnded}) && answer.headerSent() {
		answer.end()
	}
}

// answering is called when the answer begins, at the backend or to the client. It ends
// soon if the right has ended before.
func (r *right) answering() {
	if !r.answered.Swap(true) && r.ended.Load() {
		r.exchange.store.Watch(&r.watched, &r.exchange.Match, r)
	}
}

// trace returns the hooks that follow a proxy's attempts to send the request. Each stops a
// request whose right has ended: the store notices an expiry a little later. The hooks may
// be called by any goroutine, so they read the exchange only, and must not block.
func (p *exchange) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			p.right.attempt.Store(connecting)
			match, _ := p.store.Refresh(p.Match, p.store.Now())
			if refusal := p.handler.gate.RecheckMatch(&p.Finding, &match, p.clientIP, time.Time{}); refusal.Code != "" {
				p.answer.stop(&refusal, canceledError{errTokenEnded})
			}
		},
		GotConn: func(httptrace.GotConnInfo) { p.right.attempt.Store(connected) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.right.attempt.Store(sentWhole)
			}
			p.context.wroteRequest()
		},
	}
}

var _ tokenstore.Watched = (*right)(nil)
