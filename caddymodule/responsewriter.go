package caddymodule

import (
	"errors"
	"maps"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

// responseWriter writes the backend's response to the client. It buffers responses that the
// gate must inspect and streams all others.
//
// Any goroutine may call timeOut, stop, abort, stopReading and headerSent. Only the goroutine
// that serves the request may call the other methods.
type responseWriter struct {
	http.ResponseWriter
	request  *http.Request // as the client sent it
	exchange *exchange
	// initial holds the response headers that were set before the backend set its own.
	initial headerSnapshot

	// outcome is set only once, either to responseSent when the response header is sent to the
	// client, or to the refusal that replaces the response.
	outcome atomic.Pointer[gate.Refusal]

	// buffered is the response that is being buffered, or nil if there is none.
	buffered *bufferedResponse

	// mu guards closed, which is set when the request is done. After that, nothing may touch
	// the connection, because it may already be serving the next request.
	mu     sync.Mutex
	closed bool
	// trailers is set if the response header that was sent announces trailers. sent is its number
	// of fields, or 0 if that is larger than 255.
	trailers bool
	sent     uint8
	// counted is set once the metrics include the request's outcome.
	counted bool
	// aborted is set if the token stops being valid during the response.
	aborted atomic.Bool
}

// bufferedResponse is a response that the gate must inspect.
type bufferedResponse struct {
	status int
	body   bodyBuffer
	// tooLong is set if the body is too long to inspect.
	tooLong bool
}

// append adds a part of the body.
func (b *bufferedResponse) append(p []byte) {
	if !b.tooLong && (len(b.body.bytes)+len(p) > gate.MaxResponseBody || !b.body.append(p)) {
		b.tooLong = true
		b.body.release()
	}
}

// responseSent is the outcome of a response whose header has been sent to the client.
var responseSent = new(gate.Refusal)

// begin prepares rw for the response to r.
func (rw *responseWriter) begin(w http.ResponseWriter, r *http.Request, p *exchange) {
	rw.ResponseWriter, rw.request, rw.exchange = w, r, p
	rw.initial.copy(w.Header())
}

// stop sends a refusal in place of a response that hasn't begun, and ends the request. If the
// response has begun, stop does nothing and returns false. Any goroutine may call it.
func (rw *responseWriter) stop(refusal *gate.Refusal, cause error) bool {
	instead := *refusal // a copy, because the refusal may be shared
	instead.Err = cause
	if !rw.outcome.CompareAndSwap(nil, &instead) {
		return false
	}
	rw.exchange.context.end(cause)
	return true
}

// timeOut is called when the backend has not begun its response in time.
func (rw *responseWriter) timeOut() {
	refusal := gate.Refuse(gate.BackendTimeout)
	if rw.stop(&refusal, errResponseTimeout) {
		rw.exchange.handler.backend.failed(refusal.Code, rw.exchange.store.Now())
	}
}

// Header returns the response headers. If a proxy calls Header after sending the request, a
// response has arrived and the credential is no longer needed. In that case, Header removes
// the credential from the request, because handlers such as templates could reveal it.
func (rw *responseWriter) Header() http.Header {
	if rw.exchange.auth.attempt.Load() != noAttempt {
		delete(rw.exchange.out.Header, "Authorization")
	}
	return rw.ResponseWriter.Header()
}

// WriteHeader sends the backend's status and headers, or buffers them if the gate must inspect
// the response.
func (rw *responseWriter) WriteHeader(status int) {
	if status != statusClientClosed { // set by the proxy, not the backend
		rw.exchange.handler.backend.responded()
	}
	switch {
	case rw.buffering() || rw.headerSent():
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		rw.exchange.upstream.ScrubHeaders(rw.Header())
		rw.ResponseWriter.WriteHeader(status) // an interim response
	case gate.MustBuffer(status) || rw.unsolicitedUpgrade(status) || !rw.outcome.CompareAndSwap(nil, responseSent):
		rw.buffered = &bufferedResponse{status: status, body: bodyBuffer{budget: rw.exchange.handler.MaxBuffered}}
	default:
		rw.sendHeader(status)
	}
}

// sendHeader adds the gate's own headers to the response header and sends it to the client.
func (rw *responseWriter) sendHeader(status int) {
	p, header := rw.exchange, rw.Header()
	p.countPassed()
	_, rw.trailers = header["Trailer"] // which ScrubHeaders may delete
	p.upstream.ScrubHeaders(header)
	p.setNotices(header)
	if len(header) <= math.MaxUint8 {
		rw.sent = uint8(len(header))
	}
	p.auth.responseStarted()
	if status != statusClientClosed { // set by the proxy, not the backend
		p.upstream.account.accepted()
	}
	rw.ResponseWriter.WriteHeader(status)
}

// abort ends a response that has already begun, because the token is no longer valid.
func (rw *responseWriter) abort() {
	rw.aborted.Store(true)
	rw.cutOff()
	// A concurrent write may have just set Caddy's own deadline.
	time.AfterFunc(cutOffAgain, rw.cutOff)
}

// cutOffAgain is the delay before a deadline is set again. It is well below the one second
// within which a response must end.
const cutOffAgain = 200 * time.Millisecond

// cutOff ends the response even if the client isn't reading it. It may run concurrently with
// the handler. The net/http writers allow this, but Caddy's wrappers don't, so cutOff bypasses
// the wrappers.
func (rw *responseWriter) cutOff() {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if rw.closed {
		return
	}
	rw.exchange.context.end(canceledError{errTokenEnded})
	// Some writers don't support deadlines.
	_ = http.NewResponseController(innermost(rw.ResponseWriter)).SetWriteDeadline(time.Unix(1, 0))
}

// innermost returns the net/http or HTTP/3 writer inside Caddy's wrappers.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// stopReading makes pending reads from the request body fail.
func (rw *responseWriter) stopReading() {
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if !rw.closed {
		// Some writers don't support deadlines.
		_ = http.NewResponseController(rw.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
	}
}

// Write sends or buffers part of the response body.
func (rw *responseWriter) Write(p []byte) (int, error) {
	if !rw.buffering() && !rw.headerSent() {
		rw.WriteHeader(http.StatusOK)
	}
	if rw.aborted.Load() {
		return 0, errTokenEnded
	}
	if rw.headerSent() {
		return rw.ResponseWriter.Write(p)
	}
	rw.buffered.append(p)
	return len(p), nil
}

// FlushError implements the method that http.ResponseController calls. It doesn't send
// buffered data.
func (rw *responseWriter) FlushError() error {
	if !rw.headerSent() {
		return nil
	}
	return http.NewResponseController(rw.ResponseWriter).Flush()
}

// Unwrap returns the underlying writer for http.ResponseController.
func (rw *responseWriter) Unwrap() http.ResponseWriter { return rw.ResponseWriter }

// buffering reports whether a response has begun and is being buffered.
func (rw *responseWriter) buffering() bool { return rw.buffered != nil }

// headerSent reports whether the response header has been sent to the client.
func (rw *responseWriter) headerSent() bool { return rw.outcome.Load() == responseSent }

// finish completes the response after the next handlers have returned err. If the response is
// buffered, finish sends either the response or a refusal.
func (rw *responseWriter) finish(err error) error {
	header := rw.Header()
	unchanged := rw.headerSent() && !rw.trailers && len(header) == int(rw.sent)
	if !rw.buffering() && !unchanged { // these are trailers, or headers from handlers that failed
		rw.exchange.upstream.ScrubHeaders(header)
	}
	switch {
	case rw.headerSent():
		return rw.redact(err)
	case !rw.outcome.CompareAndSwap(nil, responseSent):
		return rw.refuse(*rw.outcome.Load())
	case err != nil && !errors.Is(err, errBrokenOff):
		return rw.fail(err)
	case rw.buffering() && rw.unsolicitedUpgrade(rw.buffered.status), !rw.buffering() && rw.proxyGotUpgrade():
		return rw.replace(gate.BackendError, errUnsolicitedUpgrade)
	case !rw.buffering():
		rw.exchange.setNotices(rw.Header()) // no handler responded, so Caddy responds with 200
		return nil
	}
	status, body := rw.buffered.status, rw.buffered.body.bytes
	if rw.buffered.tooLong || err != nil {
		body = nil
	} else if body == nil {
		body = []byte{}
	}
	route := rw.exchange.Route
	refusal := route.Judge(status, rw.Header(), body, rw.exchange.upstream.UpstreamToken)
	if refusal.Code == "" {
		rw.sendHeader(status)
		_, _ = rw.ResponseWriter.Write(body) // the client may have disconnected
		return nil
	}
	if refusal.Code == gate.UpstreamCredential {
		rw.exchange.upstream.account.refused(rw.exchange.upstream.token, rw.exchange.now)
	}
	refusal.Err = err
	return rw.refuse(refusal)
}

// fail converts the Caddy proxy's errors about an unreachable or unresponsive backend into
// refusals. It returns other handlers' errors unchanged.
func (rw *responseWriter) fail(err error) error {
	handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
	switch {
	case errors.Is(err, errEmptyResponse) && rw.request.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has disconnected
	case errors.Is(err, errEmptyResponse):
		return rw.replace(gate.BackendIncomplete, err)
	case errors.Is(err, errUnfiltered):
		return rw.replace(gate.BackendError, err)
	case rw.request.Context().Err() != nil || !ok:
		return rw.redact(err)
	case handlerErr.StatusCode == http.StatusGatewayTimeout:
		return rw.lose(gate.BackendTimeout, err)
	case handlerErr.StatusCode == http.StatusBadGateway, handlerErr.StatusCode == http.StatusServiceUnavailable:
		return rw.lose(rw.lostBackend(handlerErr), err)
	}
	return rw.redact(err)
}

// lose sends a refusal because the backend is unreachable or unresponsive.
func (rw *responseWriter) lose(code gate.Code, cause error) error {
	rw.exchange.handler.backend.failed(code, rw.exchange.store.Now())
	return rw.replace(code, cause)
}

// replace sends a refusal because there is no usable response from the backend.
func (rw *responseWriter) replace(code gate.Code, cause error) error {
	refusal := gate.Refuse(code)
	refusal.Err = cause
	return rw.refuse(refusal)
}

// refuse sends a refusal instead of the backend's response.
func (rw *responseWriter) refuse(refusal gate.Refusal) error {
	header := rw.Header()
	rw.initial.restore(header)
	rw.exchange.setNotices(header)
	rw.counted = true
	refusal.Token = rw.exchange.Match.Token
	refusal.Err = rw.redact(refusal.Err)
	return rw.exchange.handler.refuse(rw.ResponseWriter, rw.request, refusal)
}

// close releases the buffer and prevents any further use of the underlying writer.
func (rw *responseWriter) close() {
	rw.mu.Lock()
	rw.closed = true
	rw.mu.Unlock()
	if rw.buffering() {
		rw.buffered.body.release()
	}
}

// headerSnapshot is a copy of the response headers that were set before the gate.
type headerSnapshot struct {
	server []string    // Caddy sets this one before it calls the handlers
	others http.Header // or nil if there are none
}

func (s *headerSnapshot) copy(h http.Header) {
	if s.server = h["Server"]; s.server == nil || len(h) > 1 {
		s.others = maps.Clone(h)
	}
}

func (s *headerSnapshot) restore(h http.Header) {
	clear(h)
	if s.server != nil {
		h["Server"] = s.server
	}
	maps.Copy(h, s.others)
}

var _ http.ResponseWriter = (*responseWriter)(nil)
