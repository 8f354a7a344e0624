package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// exchange is an allowed request on its way to the backend. All that it needs is one
// piece of memory.
type exchange struct {
	handler *BearerAuth
	store   *tokenstore.Store
	gate.Finding
	now      time.Time
	clientIP netip.Addr
	identity identity

	account  *Account
	upstream *upstreamCredential
	// counted says that the metrics know what has become of the request.
	counted bool

	// body holds the body of an ordinary route, and call is what is made of it; upload is
	// the body of an upload route, or nil, and spool where it is kept, or nil.
	body   bodyBuffer
	call   gate.Call
	upload *upload
	spool  *spool

	context requestContext
	answer  answerWriter
	right   right
	// What is handed on: the request, its URL, and the values of its headers as far
	// as there is room.
	out    http.Request
	url    url.URL
	values [8]string
}

// Why a request's context was ended by the gate.
var (
	errAnswerTimeout = errors.New("the backend did not begin to answer in time")
	errTokenEnded    = errors.New("the token is no longer valid")
	errClientGone    = errors.New(
		"the client has gone, and detached_requests requests of its token already continue without theirs")
)

// canceledError is the cause of an end that is no fault of the backend. Caddy's proxy
// takes it for the client's own end: it neither tries again nor counts a failure, with
// which clients could take the backend away from each other.
type canceledError struct{ error }

// Is makes it the same as context.Canceled, which Caddy's proxy asks for.
func (canceledError) Is(target error) bool { return target == context.Canceled }

// Unwrap implements what errors.Is uses.
func (e canceledError) Unwrap() error { return e.error }

// forward hands an allowed request to the next handlers, and their answer to the
// client.
func (p *exchange) forward(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	streamed := streams(p.Route, r)
	if hasBody(r) && !streamed {
		defer p.body.release()
		if refusal := p.handler.readBody(w, r, &p.body, p.Route); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
		if refusal := p.recheck(); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
	}
	if !streamed {
		p.call = gate.Call{Query: r.URL.RawQuery, ContentType: r.Header["Content-Type"], Body: p.body.bytes}
		if err := p.handler.gate.Adapt(p.Route, &p.call); err != nil {
			return p.refuseUncontacted(w, r, bodyRefusal(err))
		}
	}
	p.beginContext(r)
	p.answer.begin(w, r, p)
	defer p.close()
	if streamed {
		if refusal := p.receive(w, r); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
	}
	if p.account = p.handler.app.account(p.Match.Token.Account); p.account == nil { // since it was checked
		return p.refuseUncontacted(w, r, gate.Refuse(gate.AccountNotConfigured))
	}
	p.upstream = p.account.credential()
	out := p.copyRequest(r)
	if streamed {
		sendInChunks(out, p.upload.ContentType, p.upload)
	} else {
		setCall(out, &p.call)
		p.expectAnswer()
		p.right.watch(p)
	}
	out.RequestURI = out.URL.RequestURI()
	p.identity.accept(r, &p.Match.Token)
	p.store.CountAllowed(p.Match, p.Scope(), tokenstore.LastUse{
		Time: p.now, IP: clientIPText(r, p.clientIP), UserAgent: r.UserAgent(), Route: p.Route.Name(),
	})
	return p.answer.finish(p.send(next, out))
}

// send hands the request to the next handlers. Before it, it asks what must be known; of an
// answer whose form is known, it says if it was cut short.
func (p *exchange) send(next caddyhttp.Handler, out *http.Request) error {
	if ask := p.call.Probe; ask != nil {
		refusal, err := p.handler.probe(next, out, ask, true, p.now)
		if refusal.Code != "" {
			p.answer.stop(&refusal, errNotAsked)
		}
		if err != nil || refusal.Code != "" {
			return err
		}
	}
	if p.call.Response.Unit == 0 {
		return callNext(next, &p.answer, out, p.answer.holds)
	}
	whole := &wholeAnswer{ResponseWriter: &p.answer, form: p.call.Response, answering: p.right.answering}
	logger := p.handler.logger.With(zap.String("route", p.Route.Name()), zap.Stringer("token_id", p.Match.Token.ID))
	return callNext(caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return whole.serve(next, r, logger)
	}), &p.answer, out, p.answer.holds)
}

var errNotAsked = errors.New("the backend was asked first, and the call would harm it")

// recheck decides again by the token as it is now.
func (p *exchange) recheck() gate.Refusal {
	p.now = p.store.Now()
	return p.handler.gate.Recheck(p.store, &p.Finding, p.clientIP, p.now)
}

// copyRequest returns the copy that is given to the next handlers: what they do to it
// doesn't show in error routes and logs, and what the client mustn't tell the backend
// isn't in it.
func (p *exchange) copyRequest(r *http.Request) *http.Request {
	out := &p.out
	*out = *r.WithContext(&p.context)
	out.Trailer = nil
	out.Header = p.handler.gate.Forward(r.Header, &p.Match.Token, p.upstream.authorization, p.values[:0])
	gate.SetUpgrade(out.Header, p.Upgrade)
	gate.SendOnce(out.Method, out.Header)
	p.url = *r.URL
	out.URL = &p.url
	gate.SetPath(out.URL, p.Path)
	return out
}

// expectAnswer begins to count the time that the backend has for its answer. It is
// called at the end of the request's body, by its reader.
func (p *exchange) expectAnswer() {
	limit := time.Duration(p.handler.AnswerTimeout)
	if limit > 0 && !p.Route.Stream {
		p.context.expect(limit)
	}
}

// close ends what goes with the request.
func (p *exchange) close() {
	p.right.watched.Stop()
	p.answer.close()
	p.context.close()
	p.spool.close()
	p.countPassed() // if nothing was answered
}

// refuseUncontacted refuses a request that the backend has seen nothing of.
func (p *exchange) refuseUncontacted(w http.ResponseWriter, r *http.Request, refusal gate.Refusal) error {
	p.store.CountDenied(p.Match, p.now, p.Scope(), string(refusal.Code))
	p.Release()
	p.counted = true
	refusal.Token, refusal.Limits = p.Match.Token, p.Limits
	return p.handler.refuse(w, r, refusal)
}

// countPassed counts the request as passed when its answer begins, or ends without
// one.
func (p *exchange) countPassed() {
	if !p.counted {
		p.counted = true
		metrics.passed.Inc()
	}
}

// beginContext decides what ends a request whose client has gone away: one that only
// reads is of no use any more; one that changes something is left to finish, because
// half a change is worse than either. Only so many of a token are: see
// [detachedRequests].
func (p *exchange) beginContext(r *http.Request) {
	if route := p.Route; route.Stream || route.WebSocket || r.Method == http.MethodGet {
		p.context = requestContext{exchange: p, parent: r.Context()}
		return
	}
	p.context = requestContext{exchange: p, parent: context.WithoutCancel(r.Context()), client: r.Context(),
		token: p.Match.Token.ID}
}

// detach lets a request of a token continue without its client, or returns nil if too
// many of them do already.
func (h *BearerAuth) detach(token token.ID) (release func()) {
	return h.app.store.current().detached.take(token, h.DetachedRequests)
}

// uploading reports whether the body of an upload is still on its way.
func (p *exchange) uploading() bool { return p.upload != nil && !p.upload.complete.Load() }

// callNext calls the handlers after the gate. A backend that breaks off an answer makes
// Caddy's proxy panic. While held reports that the client has nothing of the answer, that
// is errBrokenOff. Whatever else panics must end the request as it would without the gate:
// a handler that was to abort it hasn't answered with 200.
func callNext(next caddyhttp.Handler, w http.ResponseWriter, out *http.Request, held func() bool) (err error) {
	defer func() {
		switch cause := recover(); {
		case cause == nil:
		case cause == http.ErrAbortHandler && held(): //nolint:errorlint // the proxy panics with this very value
			err = errBrokenOff
		default:
			panic(cause)
		}
	}()
	return next.ServeHTTP(w, out)
}

var errBrokenOff = errors.New("the backend broke off its answer")
