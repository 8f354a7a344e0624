package caddymodule

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// answerWriter takes the backend's answer. One that must be looked into is held
// until it is whole; all others go to the client as they come.
//
// It is used by the goroutine that serves the request. Only startTimeout, and what
// ends the answer with its token, may be called by another.
type answerWriter struct {
	http.ResponseWriter
	request  *http.Request // as the client sent it
	exchange *exchange
	// before are the headers that the answer had before the backend set its own.
	before headerLines

	// outcome is decided by whichever comes first: it is handedOver once the answer's
	// headers go to the client, or the refusal that takes the answer's place.
	outcome atomic.Pointer[gate.Refusal]

	// A held answer: its status, or 0; its body; whether that is longer than is
	// looked into.
	status  int
	body    bodyBuffer
	tooLong bool

	// over says that nothing may touch the connection any more: it may be serving
	// the next request.
	mu   sync.Mutex
	over bool
	// ended says that the token is no longer valid.
	ended atomic.Bool
}

// handedOver is the outcome of an answer whose headers have gone to the client.
var handedOver = new(gate.Refusal)

// begin makes a the writer of an answer to r.
func (a *answerWriter) begin(w http.ResponseWriter, r *http.Request, p *exchange) {
	a.ResponseWriter, a.request, a.exchange = w, r, p
	a.body.budget = p.handler.MaxBuffered
	a.before.copy(w.Header())
}

// stop puts a refusal in the place of an answer that hasn't begun, and ends the request.
// It reports false if the answer has begun. It may be called by any goroutine.
func (a *answerWriter) stop(refusal *gate.Refusal, cause error) bool {
	instead := *refusal // which others may hold, too
	instead.Err = cause
	if !a.outcome.CompareAndSwap(nil, &instead) {
		return false
	}
	a.exchange.context.end(cause)
	return true
}

// late is called when the time for the answer is over.
func (a *answerWriter) late() {
	refusal := gate.Refuse(gate.BackendTimeout)
	a.stop(&refusal, errAnswerTimeout)
}

// Header returns the headers of the answer. That they are asked for after a proxy
// has taken the request means that an answer is there. From then on a handler such
// as templates could show the credential, which isn't needed any more.
func (a *answerWriter) Header() http.Header {
	if a.exchange.right.attempt.Load() != noAttempt {
		delete(a.exchange.out.Header, "Authorization")
	}
	return a.ResponseWriter.Header()
}

// WriteHeader takes the status and the headers of the backend's answer.
func (a *answerWriter) WriteHeader(status int) {
	switch {
	case a.status != 0 || a.headerSent():
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		gate.ScrubHeaders(a.Header(), a.exchange.upstream.token)
		a.ResponseWriter.WriteHeader(status) // an interim answer
	case gate.MustBuffer(status) || a.unaskedSwitch(status) || !a.outcome.CompareAndSwap(nil, handedOver):
		a.status = status
	default:
		a.sendHeader(status)
	}
}

// sendHeader gives the answer's headers to the client, with what the gate has to say.
func (a *answerWriter) sendHeader(status int) {
	p, header := a.exchange, a.Header()
	p.countPassed()
	gate.ScrubHeaders(header, p.upstream.token)
	p.setNotices(header)
	p.right.answering()
	if status != statusClientClosed { // which the proxy makes up
		p.account.accepted()
	}
	a.ResponseWriter.WriteHeader(status)
}

// end ends an answer that has begun, with its token.
func (a *answerWriter) end() {
	a.ended.Store(true)
	a.cutOff()
	// A write that had just begun may have put Caddy's own deadline in place.
	time.AfterFunc(cutOffAgain, a.cutOff)
}

// cutOffAgain is well below the second in which an answer has to end.
const cutOffAgain = 200 * time.Millisecond

// cutOff ends the answer for a client that doesn't read and so would hold it up. It
// may be called beside the handler, as net/http's own writers allow; those of Caddy
// around them don't, so they are passed by.
func (a *answerWriter) cutOff() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.exchange.context.end(canceledError{errTokenEnded})
	_ = http.NewResponseController(innermost(a.ResponseWriter)).SetWriteDeadline(time.Unix(1, 0)) // not all writers can
}

// innermost returns the writer of net/http, or of HTTP/3, below those of Caddy.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// stopReading makes pending reads of the request's body fail.
func (a *answerWriter) stopReading() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		_ = http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Unix(1, 0)) // not all writers can
	}
}

// Write takes a part of the answer's body.
func (a *answerWriter) Write(p []byte) (int, error) {
	if a.status == 0 && !a.headerSent() {
		a.WriteHeader(http.StatusOK)
	}
	if a.ended.Load() {
		return 0, errTokenEnded
	}
	if a.headerSent() {
		return a.ResponseWriter.Write(p)
	}
	if !a.tooLong && (len(a.body.bytes)+len(p) > gate.MaxResponseBody || !a.body.append(p)) {
		a.tooLong = true
		a.body.release()
	}
	return len(p), nil
}

// FlushError is what http.ResponseController calls. What is held isn't flushed.
func (a *answerWriter) FlushError() error {
	if !a.headerSent() {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap gives http.ResponseController the writer below.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// holds reports whether an answer has begun and is held.
func (a *answerWriter) holds() bool { return a.status != 0 }

// headerSent reports whether the answer's headers have gone to the client.
func (a *answerWriter) headerSent() bool { return a.outcome.Load() == handedOver }

// finish ends the answer after the handlers behind the gate have returned err. A
// held answer goes to the client, or a refusal in its place.
func (a *answerWriter) finish(err error) error {
	if a.status == 0 { // trailers, or what handlers set before they failed
		gate.ScrubHeaders(a.Header(), a.exchange.upstream.token)
	}
	switch {
	case a.headerSent():
		return a.redact(err)
	case !a.outcome.CompareAndSwap(nil, handedOver):
		return a.refuse(*a.outcome.Load())
	case err != nil && !errors.Is(err, errBrokenOff):
		return a.fail(err)
	case a.unaskedSwitch(a.status), a.status == 0 && a.proxySawSwitch():
		return a.replace(gate.BackendError, errUnaskedSwitch)
	case a.status == 0:
		a.exchange.setNotices(a.Header()) // no handler answered: Caddy will, with 200
		return nil
	}
	body := a.body.bytes
	if a.tooLong || err != nil {
		body = nil
	} else if body == nil {
		body = []byte{}
	}
	route := a.exchange.Route
	refusal := route.Judge(a.status, a.Header(), body, a.exchange.upstream.token)
	if refusal.Code == "" {
		a.sendHeader(a.status)
		_, _ = a.ResponseWriter.Write(body) // the client may be gone
		return nil
	}
	if refusal.Code == gate.UpstreamCredential {
		a.exchange.account.refused(a.exchange.upstream.token, a.exchange.now)
	}
	refusal.Err = err
	return a.refuse(refusal)
}

// fail turns what Caddy's proxy says of a backend that can't be reached, or isn't
// answering, into refusals. Errors of other handlers are left alone.
func (a *answerWriter) fail(err error) error {
	handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
	switch {
	case errors.Is(err, errNothingSent) && a.request.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has left
	case errors.Is(err, errNothingSent):
		return a.replace(gate.BackendIncomplete, err)
	case a.request.Context().Err() != nil || !ok:
		return a.redact(err)
	case handlerErr.StatusCode == http.StatusGatewayTimeout:
		return a.replace(gate.BackendTimeout, err)
	case handlerErr.StatusCode == http.StatusBadGateway, handlerErr.StatusCode == http.StatusServiceUnavailable:
		return a.replace(a.lostBackend(handlerErr), err)
	}
	return a.redact(err)
}

// replace answers with a refusal for which there was no answer of the backend.
func (a *answerWriter) replace(code gate.Code, cause error) error {
	refusal := gate.Refuse(code)
	refusal.Err = cause
	return a.refuse(refusal)
}

// refuse answers with a refusal in place of the backend's answer.
func (a *answerWriter) refuse(refusal gate.Refusal) error {
	header := a.Header()
	a.before.restore(header)
	a.exchange.setNotices(header)
	a.exchange.counted = true
	refusal.Token = a.exchange.Match.Token
	refusal.Err = a.redact(refusal.Err)
	return a.exchange.handler.refuse(a.ResponseWriter, a.request, refusal)
}

// close ends the answer: its writer is of no use any more.
func (a *answerWriter) close() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	a.body.release()
}

// headerLines are a few headers with their values.
type headerLines struct {
	lines []headerLine
	room  [2]headerLine // Caddy itself sets one before the handlers
}

type headerLine struct {
	name   string
	values []string
}

func (l *headerLines) copy(h http.Header) {
	l.lines = l.room[:0]
	for name, values := range h {
		l.lines = append(l.lines, headerLine{name, values})
	}
}

func (l *headerLines) restore(h http.Header) {
	clear(h)
	for _, line := range l.lines {
		h[line.name] = line.values
	}
}

var _ http.ResponseWriter = (*answerWriter)(nil)
