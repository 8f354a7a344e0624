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
	passage *passage
	watched tokenstore.Watch
	// received says that the backend has been sent the whole request, answered that it
	// has begun to answer, ended that the right has ended. refusal says why.
	received atomic.Bool
	answered atomic.Bool
	ended    atomic.Bool
	refusal  gate.Refusal
	// hooks are those of the proxy's connections, made when it asks for them.
	hooks *httptrace.ClientTrace
}

// watch begins to watch the right to a request that is ready to be handed on.
func (r *right) watch(p *passage) {
	r.passage = p
	p.store.Watch(&r.watched, &p.Match, r)
}

// StillAllowed implements tokenstore.Watched.
func (r *right) StillAllowed(m *tokenstore.Match) bool {
	p := r.passage
	refusal := p.handler.gate.RefuseRight(&p.Finding, m, p.clientIP, time.Time{})
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
	switch p := r.passage; {
	case p.uploading():
		p.upload.end()
	case p.upload == nil && !r.received.Load(), r.answered.Load(), p.answer.gone():
		r.cut()
	}
}

// cut ends a request whose right has ended: with a refusal, or in its answer if that has
// begun.
func (r *right) cut() {
	if answer := &r.passage.answer; !answer.stop(&r.refusal, canceledError{errTokenEnded}) && answer.gone() {
		answer.end()
	}
}

// answering is called when the answer begins, at the backend or to the client. It ends
// soon if the right has ended before.
func (r *right) answering() {
	if !r.answered.Swap(true) && r.ended.Load() {
		r.passage.store.Watch(&r.watched, &r.passage.Match, r)
	}
}

// trace returns what a proxy tells of its connections. It is called before the request is
// sent, the first time or again, and stops one whose right has ended: the store may
// notice the end of a lifetime a little later.
func (r *right) trace() *httptrace.ClientTrace {
	if refusal := r.passage.recheck(); refusal.Code != "" {
		r.passage.answer.stop(&refusal, canceledError{errTokenEnded})
	}
	if r.hooks == nil {
		r.hooks = &httptrace.ClientTrace{
			GetConn: func(string) { r.received.Store(false) }, // again, if a connection was closed
			WroteRequest: func(info httptrace.WroteRequestInfo) {
				r.received.Store(info.Err == nil)
				r.passage.context.sentWhole()
			},
		}
		httptrace.WithClientTrace(r.passage.context.parent, r.hooks) // adds those that a handler before has asked for
	}
	return r.hooks
}

var _ tokenstore.Watched = (*right)(nil)
