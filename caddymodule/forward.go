package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// passage is an allowed request on its way to the backend.
type passage struct {
	handler  *BearerAuth
	store    *tokenstore.Store
	decision *gate.Decision
	facts    *gate.Request

	account       *Account
	upstreamToken string
	// counted says that the metrics know what has become of the request.
	counted bool
}

// Why a request's context was ended by the gate.
var (
	errAnswerTimeout = errors.New("the backend did not begin to answer in time")
	errTokenEnded    = errors.New("the token is no longer valid")
)

// forward hands an allowed request to the next handlers, and their answer to the
// client.
func (h *BearerAuth) forward(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, p *passage) error {
	token, route := p.decision.Match.Token, p.decision.Route
	p.account = h.app.account(token.Account)
	p.upstreamToken = p.account.token()

	ctx, cancel := context.WithCancelCause(p.parentContext(r))
	defer cancel(nil)
	answer := newAnswerWriter(w, r, p, cancel)
	defer answer.close()
	out := handOn(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Caddy's proxy asks for a connection when it has its own copy of the
		// headers, in this goroutine.
		GetConn: func(string) { answer.sent.Store(true) },
	}), r)
	answer.out = out
	if err := p.takeBody(r, out); err != nil {
		return p.refuseUncontacted(w, r, bodyRefusal(err))
	}
	gate.Forward(out.Header, token, p.upstreamToken)
	gate.SetUpgrade(out.Header, p.decision.Upgrade)
	gate.SetPath(out.URL, p.decision.Path)
	out.RequestURI = out.URL.RequestURI()
	setPlaceholders(r, &userPlaceholders, token)
	p.store.CountAllowed(p.decision.Match, p.decision.Scope(), tokenstore.LastUse{
		Time: p.facts.Now, IP: p.facts.ClientIP.String(), UserAgent: r.UserAgent(), Route: route.Name(),
	})

	if body, ok := out.Body.(*uploadBody); ok {
		body.ended = answer.startTimeout
	} else {
		answer.startTimeout()
	}
	return answer.finish(callNext(next, answer, out))
}

// refuseUncontacted refuses a request that the backend has seen nothing of.
func (p *passage) refuseUncontacted(w http.ResponseWriter, r *http.Request, refusal gate.Refusal) error {
	p.store.CountDenied(p.decision.Match, p.facts.Now, p.decision.Scope(), string(refusal.Code))
	p.decision.Release()
	p.counted = true
	refusal.Token, refusal.Limits = p.decision.Match.Token, p.decision.Limits
	return p.handler.refuse(w, r, refusal)
}

// countPassed counts the request as passed when its answer begins, or ends without
// one.
func (p *passage) countPassed() {
	if !p.counted {
		p.counted = true
		metrics.count(outcomeOK)
	}
}

// parentContext decides what ends a request whose client has gone away: one that
// only reads is of no use any more; one that changes something is left to finish,
// because half a change is worse than either.
func (p *passage) parentContext(r *http.Request) context.Context {
	if route := p.decision.Route; route.Stream || route.WebSocket || r.Method == http.MethodGet {
		return r.Context()
	}
	return context.WithoutCancel(r.Context())
}

// handOn returns the copy of a request that is given to the next handlers: what
// they do to it doesn't show in error routes and logs, and the client's trailers
// don't reach it.
func handOn(ctx context.Context, r *http.Request) *http.Request {
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	delete(out.Header, "Trailer")
	out.Trailer = nil
	location := *r.URL
	out.URL = &location
	return out
}

// callNext calls the handlers after the gate. A backend that breaks off an answer
// makes Caddy's proxy panic, which for an answer that is still held is an error
// like any other. Whatever else panics must end the request as it would without
// the gate: a handler that was to abort it hasn't answered with 200.
func callNext(next caddyhttp.Handler, answer *answerWriter, out *http.Request) (err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if cause != http.ErrAbortHandler || answer.status == 0 { //nolint:errorlint // the proxy panics with this very value
			panic(cause)
		}
		err = errAnswerBroken
	}()
	return next.ServeHTTP(answer, out)
}

var errAnswerBroken = errors.New("the backend broke off its answer")
