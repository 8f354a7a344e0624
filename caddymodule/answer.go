package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
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
	request *http.Request // as the client sent it
	out     *http.Request // as it was handed on
	// sent says that a proxy has taken the request.
	sent    atomic.Bool
	passage *passage
	cancel  context.CancelCauseFunc
	// before are the headers that the answer had before the backend set its own.
	before http.Header

	// state is changed by whichever comes first: the answer, or the end of the
	// time for it.
	state   atomic.Int32
	timeout *time.Timer

	// A held answer: its status, or 0; its body; whether that is longer than is
	// looked into.
	status  int
	body    bytes.Buffer
	tooLong bool

	// over says that nothing may touch the connection any more: it may be serving
	// the next request.
	mu      sync.Mutex
	over    bool
	release func() // of the answer's hold on the token
	// ended says that the token is no longer valid.
	ended atomic.Bool
}

// States of an answer.
const (
	awaited    int32 = iota
	handedOver       // its headers have gone to the client
	tooLate
)

func newAnswerWriter(w http.ResponseWriter, r *http.Request, p *passage, cancel context.CancelCauseFunc) *answerWriter {
	a := &answerWriter{ResponseWriter: w, request: r, passage: p, cancel: cancel, before: maps.Clone(w.Header())}
	a.timeout = time.AfterFunc(math.MaxInt64, func() {
		if a.state.CompareAndSwap(awaited, tooLate) {
			a.cancel(errAnswerTimeout)
		}
	})
	return a
}

// Header returns the headers of the answer. That they are asked for after a proxy
// has taken the request means that an answer is there. From then on a handler such
// as templates could show the credential, which nobody needs any more.
func (a *answerWriter) Header() http.Header {
	if a.sent.Load() {
		delete(a.out.Header, "Authorization")
	}
	return a.ResponseWriter.Header()
}

// startTimeout begins to count the time that the backend has for its answer. It
// is called at the end of the request's body, by whoever reads that.
func (a *answerWriter) startTimeout() {
	limit := time.Duration(a.passage.handler.AnswerTimeout)
	if limit > 0 && !a.passage.decision.Route.Stream {
		a.timeout.Reset(limit)
	}
}

// WriteHeader takes the status and the headers of the backend's answer.
func (a *answerWriter) WriteHeader(status int) {
	switch {
	case a.status != 0 || a.gone():
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		gate.ScrubHeaders(a.Header(), a.passage.upstreamToken)
		a.ResponseWriter.WriteHeader(status) // an interim answer
	case gate.LookInto(status) || !a.state.CompareAndSwap(awaited, handedOver):
		a.status = status
	default:
		a.hand(status)
	}
}

// hand gives the answer's headers to the client, with what the gate has to say.
func (a *answerWriter) hand(status int) {
	p, header := a.passage, a.Header()
	p.countPassed()
	gate.ScrubHeaders(header, p.upstreamToken)
	p.setNotices(header)
	if lasting(status, header) {
		a.endWithToken()
	}
	p.account.accepted()
	a.ResponseWriter.WriteHeader(status)
}

// lastingLength is the length in bytes from which an answer is taken to last.
const lastingLength = 1 << 20

// lasting says whether an answer may take so long that its token can end
// meanwhile.
func lasting(status int, header http.Header) bool {
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	return status == http.StatusSwitchingProtocols || err != nil || length >= lastingLength
}

// endWithToken ends the answer soon after the token has stopped being valid.
func (a *answerWriter) endWithToken() {
	a.release = a.passage.store.EndWithToken(a.passage.decision.Match, func() {
		a.ended.Store(true)
		a.cutOff()
		// A write that had just begun may have put Caddy's own deadline in place.
		time.AfterFunc(cutOffAgain, a.cutOff)
	})
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
	a.cancel(errTokenEnded)
	inner := a.ResponseWriter
	for {
		outer, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		inner = outer.Unwrap()
	}
	_ = http.NewResponseController(inner).SetWriteDeadline(time.Unix(1, 0)) // not all writers can
}

// Write takes a part of the answer's body.
func (a *answerWriter) Write(p []byte) (int, error) {
	if a.status == 0 && !a.gone() {
		a.WriteHeader(http.StatusOK)
	}
	if a.ended.Load() {
		return 0, errTokenEnded
	}
	if a.gone() {
		return a.ResponseWriter.Write(p)
	}
	if a.body.Len()+len(p) > gate.MaxAnswerBody {
		a.tooLong = true
		a.body.Reset()
	}
	if !a.tooLong {
		a.body.Write(p)
	}
	return len(p), nil
}

// FlushError is what http.ResponseController calls. What is held isn't flushed.
func (a *answerWriter) FlushError() error {
	if !a.gone() {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap gives http.ResponseController the writer below.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// gone says whether the answer's headers have gone to the client.
func (a *answerWriter) gone() bool { return a.state.Load() == handedOver }

// finish ends the answer after the handlers behind the gate have returned err. A
// held answer goes to the client, or a refusal in its place.
func (a *answerWriter) finish(err error) error {
	switch {
	case a.gone():
		gate.ScrubHeaders(a.Header(), a.passage.upstreamToken) // the trailers are among them
		return err
	case !a.state.CompareAndSwap(awaited, handedOver):
		return a.replace(gate.BackendTimeout, errAnswerTimeout)
	case err != nil && !errors.Is(err, errAnswerBroken):
		return a.fail(err)
	case a.status == 0:
		a.passage.setNotices(a.Header()) // no handler answered: Caddy will, with 200
		return nil
	}
	body := a.body.Bytes()
	if a.tooLong || err != nil {
		body = nil
	} else if body == nil {
		body = []byte{}
	}
	route := a.passage.decision.Route
	refusal := route.Judge(a.status, a.Header(), body, a.passage.upstreamToken)
	if refusal.Code == "" {
		a.hand(a.status)
		_, _ = a.ResponseWriter.Write(body) // the client may be gone
		return nil
	}
	if refusal.Code == gate.UpstreamCredential {
		a.passage.account.refused(a.passage.upstreamToken, a.passage.facts.Now)
	}
	refusal.Err = err
	return a.refuse(refusal)
}

// fail turns what Caddy's proxy says of a backend that can't be reached, or isn't
// answering, into refusals. Errors of other handlers are left alone.
func (a *answerWriter) fail(err error) error {
	handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
	switch {
	case errors.Is(err, errBodyTooLarge):
		return a.replace(gate.BodyTooLarge, err)
	case a.request.Context().Err() != nil || !ok:
		return err
	case handlerErr.StatusCode == http.StatusGatewayTimeout:
		return a.replace(gate.BackendTimeout, err)
	case handlerErr.StatusCode == http.StatusBadGateway, handlerErr.StatusCode == http.StatusServiceUnavailable:
		return a.replace(gate.BackendUnreachable, err)
	}
	return err
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
	clear(header)
	maps.Copy(header, a.before)
	a.passage.setNotices(header)
	a.passage.counted = true
	refusal.Token = a.passage.decision.Match.Token
	return a.passage.handler.refuse(a.ResponseWriter, a.request, refusal)
}

// close ends what goes with the answer.
func (a *answerWriter) close() {
	a.timeout.Stop()
	a.passage.countPassed() // if nothing was answered
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	if a.release != nil {
		a.release()
	}
}

// Interface guards
var _ http.ResponseWriter = (*answerWriter)(nil)
