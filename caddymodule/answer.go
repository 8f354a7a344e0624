package caddymodule

import (
	"errors"
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
	passage *passage
	// before are the headers that the answer had before the backend set its own.
	before headerLines

	// state is changed by whichever comes first: the answer, or the end of the
	// time for it.
	state atomic.Int32

	// A held answer: its status, or 0; its body; whether that is longer than is
	// looked into.
	status  int
	body    []byte
	tooLong bool

	// mayLast says that the answer will end with its token if there is more of it
	// than what is written at once; written, that something was.
	mayLast, written bool
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

// begin makes a the writer of an answer to r.
func (a *answerWriter) begin(w http.ResponseWriter, r *http.Request, p *passage) {
	a.ResponseWriter, a.request, a.passage = w, r, p
	a.before.copy(w.Header())
}

// late is called when the time for the answer is over.
func (a *answerWriter) late() {
	if a.state.CompareAndSwap(awaited, tooLate) {
		a.passage.context.end(errAnswerTimeout)
	}
}

// Header returns the headers of the answer. That they are asked for after a proxy
// has taken the request means that an answer is there. From then on a handler such
// as templates could show the credential, which nobody needs any more.
func (a *answerWriter) Header() http.Header {
	if a.passage.context.sent.Load() {
		delete(a.passage.out.Header, "Authorization")
	}
	return a.ResponseWriter.Header()
}

// WriteHeader takes the status and the headers of the backend's answer.
func (a *answerWriter) WriteHeader(status int) {
	switch {
	case a.status != 0 || a.gone():
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		gate.ScrubHeaders(a.Header(), a.passage.upstream.token)
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
	gate.ScrubHeaders(header, p.upstream.token)
	p.setNotices(header)
	switch duration(status, header) {
	case endsSoon:
	case unknownEnd:
		if !p.context.sent.Load() {
			// A handler of Caddy's own usually writes all it has at once.
			a.mayLast = true
			break
		}
		fallthrough
	case lasts:
		a.endWithToken()
	}
	p.account.accepted()
	a.ResponseWriter.WriteHeader(status)
}

// lastingLength is the length in bytes from which an answer is taken to last.
const lastingLength = 1 << 20

// How long an answer may take, as its head tells.
const (
	endsSoon = iota
	unknownEnd
	lasts
)

// duration says whether an answer may take so long that its token can end meanwhile.
func duration(status int, header http.Header) int {
	switch status {
	case http.StatusSwitchingProtocols:
		return lasts
	case http.StatusNoContent, http.StatusNotModified:
		return endsSoon
	}
	lengths := header["Content-Length"]
	if len(lengths) == 0 {
		return unknownEnd
	}
	length, err := strconv.ParseInt(lengths[0], 10, 64)
	if err != nil || length >= lastingLength {
		return lasts
	}
	return endsSoon
}

// goesOn notes that another part of the answer comes, or that it is sent in parts.
func (a *answerWriter) goesOn() {
	if a.mayLast {
		a.mayLast = false
		a.endWithToken()
	}
}

// endWithToken ends the answer soon after the token has stopped being valid.
func (a *answerWriter) endWithToken() {
	a.release = a.passage.store.EndWithToken(a.passage.Match, func() {
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
	a.passage.context.end(errTokenEnded)
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
		if a.written {
			a.goesOn()
		}
		a.written = true
		return a.ResponseWriter.Write(p)
	}
	if len(a.body)+len(p) > gate.MaxAnswerBody {
		a.tooLong = true
		a.body = nil
	}
	if !a.tooLong {
		a.body = append(a.body, p...)
	}
	return len(p), nil
}

// FlushError is what http.ResponseController calls. What is held isn't flushed.
func (a *answerWriter) FlushError() error {
	if !a.gone() {
		return nil
	}
	a.goesOn()
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
		gate.ScrubHeaders(a.Header(), a.passage.upstream.token) // the trailers are among them
		return err
	case !a.state.CompareAndSwap(awaited, handedOver):
		return a.replace(gate.BackendTimeout, errAnswerTimeout)
	case err != nil && !errors.Is(err, errAnswerBroken):
		return a.fail(err)
	case a.status == 0:
		a.passage.setNotices(a.Header()) // no handler answered: Caddy will, with 200
		return nil
	}
	body := a.body
	if a.tooLong || err != nil {
		body = nil
	} else if body == nil {
		body = []byte{}
	}
	route := a.passage.Route
	refusal := route.Judge(a.status, a.Header(), body, a.passage.upstream.token)
	if refusal.Code == "" {
		a.hand(a.status)
		_, _ = a.ResponseWriter.Write(body) // the client may be gone
		return nil
	}
	if refusal.Code == gate.UpstreamCredential {
		a.passage.account.refused(a.passage.upstream.token, a.passage.now)
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
	a.before.restore(header)
	a.passage.setNotices(header)
	a.passage.counted = true
	refusal.Token = a.passage.Match.Token
	return a.passage.handler.refuse(a.ResponseWriter, a.request, refusal)
}

// close ends the answer: its writer is of no use any more.
func (a *answerWriter) close() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	if a.release != nil {
		a.release()
	}
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

// Interface guards
var _ http.ResponseWriter = (*answerWriter)(nil)
