package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// exchange is an allowed request that is being forwarded to the backend. It holds in a single
// allocation what every request needs. What only some requests need is allocated when it is needed,
// because the garbage collector's work grows with each byte.
type exchange struct {
	handler *BearerAuth
	store   *tokenstore.Store
	gate.Finding
	now time.Time
	// vars and replacer are the request's variables and placeholders.
	vars     map[string]any
	replacer *caddy.Replacer
	clientIP string
	identity identity

	// upstream is the account's credential.
	upstream *upstreamCredential

	// content is the body of an ordinary request and the call built from it, or nil if the request
	// has no body and the call is as the client sent it. On an upload route, upload is the request
	// body.
	content *content
	upload  *upload

	context  requestContext
	response responseWriter
	auth     authorization
	// out is the forwarded request, and url is its URL. values provides space for a few header
	// values without another allocation.
	out    http.Request
	url    url.URL
	values [6]string
}

// content holds a request's body and the call to the backend.
type content struct {
	body bodyBuffer
	call gate.Call
}

// Reasons why the gate cancels a request's context.
var (
	errResponseTimeout = errors.New("the backend did not begin its response in time")
	errTokenEnded      = errors.New("the token is no longer valid")
	errClientGone      = errors.New(
		"the client disconnected, and its token has already reached its detached_requests limit")
)

// canceledError is the cause of a cancellation that isn't the backend's fault. Caddy's proxy
// treats it like a cancellation by the client: it neither retries the request nor counts a
// failure. Otherwise, clients could make the proxy mark the backend as down for everyone.
type canceledError struct{ error }

// Is makes the error match context.Canceled, which Caddy's proxy checks for.
func (canceledError) Is(target error) bool { return target == context.Canceled }

// Unwrap returns the underlying error.
func (e canceledError) Unwrap() error { return e.error }

// forward passes an allowed request to the next handlers and their response to the client.
func (p *exchange) forward(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	streamed := streams(p.Route, r)
	if hasBody(r) && !streamed {
		p.content = new(content)
		defer p.content.body.release()
		if refusal := p.handler.readBody(w, r, &p.content.body, p.Route); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
		if refusal := p.recheck(); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
	}
	if refusal := p.readCall(r, streamed); refusal.Code != "" {
		return p.refuseUncontacted(w, r, refusal)
	}
	p.response.begin(w, r, p)
	p.beginContext(r)
	defer p.close()
	if streamed {
		if refusal := p.receive(w, r); refusal.Code != "" {
			return p.refuseUncontacted(w, r, refusal)
		}
	}
	account := p.handler.app.account(p.Match.Token.Account)
	if account == nil { // removed since the check
		return p.refuseUncontacted(w, r, gate.Refuse(gate.AccountNotConfigured))
	}
	p.upstream = account.credential()
	out := p.copyRequest(r)
	if streamed {
		if p.content != nil {
			out.URL.RawQuery = p.content.call.Query
		}
		sendInChunks(out, p.upload.ContentType, p.upload)
	} else {
		if p.content != nil {
			setCall(out, &p.content.call)
		} else {
			setBody(out, nil)
		}
		p.startResponseTimeout()
		p.auth.watch(p)
	}
	out.RequestURI = gate.RequestURI(out.URL, r.RequestURI)
	p.identity.accept(p.vars, p.replacer, &p.Match.Token)
	p.store.CountAllowedOn(p.Match, p.Scope(), p.Patterns(), tokenstore.LastUse{
		Time: p.now, IP: gate.CanonicalAddress(p.clientIP), UserAgent: userAgent(r), Route: p.Route.Name(),
	})
	return p.response.finish(p.send(next, out))
}

// readCall sets the call to make, and checks what it acts on. For a streamed request, the call
// has no body, and receive reads what is in the body.
func (p *exchange) readCall(r *http.Request, streamed bool) gate.Refusal {
	if refusal := p.BindQuery(r.URL.RawQuery); refusal.Code != "" {
		return refusal
	}
	if streamed && p.Route.AdaptUpload != nil {
		return gate.Refusal{}
	}
	if p.content == nil {
		if p.Route.Adapt == nil && !p.Bound() {
			p.Binding = gate.Binding{Read: true}
			return gate.Refusal{}
		}
		p.content = new(content)
	}
	call := &p.content.call
	*call = gate.Call{Path: p.Path, Query: r.URL.RawQuery}
	if !streamed {
		call.ContentType, call.Body = r.Header["Content-Type"], p.content.body.bytes
		if err := p.handler.gate.Adapt(p.Route, call); err != nil {
			return bodyRefusal(err, &p.Finding)
		}
	}
	return p.handler.gate.Bind(&p.Finding, call)
}

// send passes the request to the next handlers. If the call needs a probe, send makes the
// probe first. If the response format is known, send ensures that the client can detect a
// truncated response.
func (p *exchange) send(next caddyhttp.Handler, out *http.Request) error {
	var form gate.ResponseForm
	if p.content != nil {
		form = p.content.call.Response
		if ask := p.content.call.Probe; ask != nil {
			refusal, err := p.handler.probe(next, out, ask, true, p.now)
			if refusal.Code != "" {
				p.response.stop(&refusal, errProbeRefused)
			}
			if err != nil || refusal.Code != "" {
				return err
			}
		}
	}
	if listing, keep := p.ListFilter(); listing != nil {
		return p.sendFiltered(next, out, listing, keep)
	}
	if form.Unit == 0 {
		return callNext(next, &p.response, out, p.response.buffering)
	}
	verified := &verifiedResponse{
		ResponseWriter: &p.response, form: form, responseStarted: p.auth.responseStarted,
	}
	logger := p.handler.logger.With(zap.String("route", p.Route.Name()), zap.Stringer("token_id", p.Match.Token.ID))
	return callNext(caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return verified.serve(next, r, logger)
	}), &p.response, out, p.response.buffering)
}

// sendFiltered passes a request for a list to the next handlers, and filters their response.
func (p *exchange) sendFiltered(next caddyhttp.Handler, out *http.Request, listing *gate.Listing,
	keep func(name string) bool) error {
	prepareList(out.Header)
	filtered := newFilteredResponse(&p.response, listing, keep)
	logger := p.handler.logger.With(zap.String("route", p.Route.Name()))
	return callNext(caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return filtered.serve(next, r, logger)
	}), &p.response, out, p.response.buffering)
}

var errProbeRefused = errors.New("a probe showed that the call would harm the backend")

// recheck checks the request against the token's current state. It must not be called after
// copyRequest, because the copied headers share the match's memory.
func (p *exchange) recheck() gate.Refusal {
	p.now = p.store.Now()
	return p.handler.gate.Recheck(p.store, &p.Finding, p.clientIP, p.now)
}

// copyRequest returns a copy of the request for the next handlers. Changes that they make to
// the copy don't affect error routes or logs. The copy omits everything that clients must not
// send to the backend.
func (p *exchange) copyRequest(r *http.Request) *http.Request {
	out := &p.out
	*out = *r.WithContext(&p.context)
	out.Trailer = nil
	out.Header = p.handler.gate.Forward(r.Header, &p.Match.Token, p.upstream.authorization, p.values[:0])
	if p.Upgrade {
		gate.SetUpgrade(out.Header)
	}
	gate.PreventRetries(out.Method, out.Header)
	p.url = *r.URL
	out.URL = &p.url
	gate.SetPath(out.URL, p.Path)
	return out
}

// startResponseTimeout starts the response timeout. The request body's reader calls it at the
// end of the body.
func (p *exchange) startResponseTimeout() {
	if p.handler.AnswerTimeout > 0 && !p.Route.Stream {
		p.context.limitResponse()
	}
}

// close releases the exchange's resources.
func (p *exchange) close() {
	p.auth.watched.Stop()
	p.response.close()
	p.context.close()
	if p.upload != nil {
		p.upload.spool.close()
	}
	p.countPassed() // if there was no response
}

// refuseUncontacted refuses a request before any part of it has reached the backend.
func (p *exchange) refuseUncontacted(w http.ResponseWriter, r *http.Request, refusal gate.Refusal) error {
	countDenied(p.store, r, &p.Finding, &refusal, p.clientIP, p.now)
	p.Release()
	p.response.counted = true
	refusal.Token, refusal.Limits = p.Match.Token, p.Limits
	return p.handler.refuse(w, r, refusal)
}

// countPassed counts the request as passed. It is called when the response begins, or when the
// request ends without a response.
func (p *exchange) countPassed() {
	if !p.response.counted {
		p.response.counted = true
		metrics.passed.Inc()
	}
}

// beginContext sets up what happens if the client disconnects. GET requests, streams and
// websockets end, because their responses are no longer needed. A request that changes
// something continues, because a partial change is worse than either a complete change or
// none. Each token may have only a limited number of these requests; see [detachedRequests].
func (p *exchange) beginContext(r *http.Request) {
	p.context.exchange = p
	p.context.outlives = !p.Route.Stream && !p.Route.WebSocket && r.Method != http.MethodGet
}

// detach registers a request that continues without its client, and returns a function that
// removes it again. It returns nil if the request's token has reached its limit.
func (h *BearerAuth) detach(token token.ID) (release func()) {
	return h.app.store.current().detached.take(token, h.DetachedRequests)
}

// uploading reports whether an upload's body is still being read.
func (p *exchange) uploading() bool { return p.upload != nil && !p.upload.complete.Load() }

// callNext calls the handlers after the gate. Caddy's proxy panics if a backend aborts a
// response. If catchAbort returns true, callNext recovers from that panic and returns
// errBrokenOff. All other panics propagate and end the request as they would without the gate.
// If callNext recovered from those as well, a response that a handler meant to abort would be
// sent with status 200.
func callNext(next caddyhttp.Handler, w http.ResponseWriter, out *http.Request, catchAbort func() bool) (err error) {
	defer func() {
		switch cause := recover(); {
		case cause == nil:
		case cause == http.ErrAbortHandler && catchAbort(): //nolint:errorlint // the exact value
			err = errBrokenOff
		default:
			panic(cause)
		}
	}()
	return next.ServeHTTP(w, out)
}

var errBrokenOff = errors.New("the backend aborted its response")
