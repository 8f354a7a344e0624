package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

var errBodyTooLarge = errors.New("the body is larger than the route allows")

// hasBody reports whether a request's header indicates a body.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// readBody reads an ordinary request's entire body before the backend is contacted, so that
// the backend receives either the whole request or nothing. It returns a refusal if the body
// is too large, too slow or malformed.
func (h *BearerAuth) readBody(w http.ResponseWriter, r *http.Request, body *bodyBuffer,
	route *gate.Route) gate.Refusal {
	defer h.limitReading(w)()
	body.budget = h.MaxBuffered
	err := body.readFrom(r.Body, h.gate.MaxBody(route), r.ContentLength)
	if err == nil {
		return gate.Refusal{}
	}
	return bodyRefusal(err, &gate.Finding{}) // the body isn't malformed
}

// limitReading starts body_timeout and returns a function that stops it. Unlike Caddy's own
// limit, which applies to each read, body_timeout applies to the whole body. Otherwise, a
// client could keep a request open for years by sending one byte at a time.
func (h *BearerAuth) limitReading(w http.ResponseWriter) (end func()) {
	timeout := time.Duration(h.BodyTimeout)
	controller := http.NewResponseController(w)
	if timeout <= 0 || controller.SetReadDeadline(time.Now().Add(timeout)) != nil { // some writers don't support it
		return func() {}
	}
	return func() { _ = controller.SetReadDeadline(time.Time{}) }
}

// bodyRefusal returns the refusal for a request whose body could not be read. f is what is known
// about the request.
func bodyRefusal(err error, f *gate.Finding) gate.Refusal {
	var refusal gate.Refusal
	handlerErr, byHandler := errors.AsType[caddyhttp.HandlerError](err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	invalid, isInvalid := errors.AsType[*gate.BodyError](err)
	_, spoolFailed := errors.AsType[*spoolError](err)
	switch {
	case spoolFailed:
		refusal = gate.Refuse(gate.Overloaded)
		refusal.Detail = "The gateway can't store the upload on its disk. " +
			"Try again after the time in the Retry-After header, and tell the operator if that doesn't help."
	case isInvalid:
		refusal = f.RefuseBody(invalid)
	case tooLarge, errors.Is(err, errBodyTooLarge):
		refusal = gate.Refuse(gate.BodyTooLarge)
	case errors.Is(err, errBuffersFull):
		refusal = gate.Refuse(gate.Overloaded)
	case errors.Is(err, os.ErrDeadlineExceeded):
		refusal = gate.Refuse(gate.BodyTimeout)
	default:
		refusal = gate.Refuse(gate.InvalidRequest)
		refusal.Detail = "The request body could not be read completely."
	}
	if byHandler && handlerErr.StatusCode >= http.StatusBadRequest {
		refusal.Status = handlerErr.StatusCode // set by a handler before the gate
	}
	refusal.Err = err
	return refusal
}

// setCall sets a backend request's query and body.
func setCall(out *http.Request, call *gate.Call) {
	out.URL.RawQuery = call.Query
	if len(call.ContentType) > 0 {
		out.Header["Content-Type"] = call.ContentType
	}
	setBody(out, call.Body)
}

// setBody sets a backend request's body.
func setBody(out *http.Request, body []byte) {
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	delete(out.Header, "Content-Length")
	out.Body = http.NoBody
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
}

// bodyBuffer holds a body in memory. It grows as data arrives instead of reserving the
// announced length, because a client can announce any length at no cost.
type bodyBuffer struct {
	bytes []byte
	// budget is the maximum total memory of all buffers in the process, in bytes; a negative
	// budget means no limit.
	budget int64
	// taken is the memory reserved for this buffer, in bytes.
	taken int64
}

// bufferedBytes is the memory reserved for all buffers in the process, in bytes.
var bufferedBytes atomic.Int64

var errBuffersFull = errors.New("buffered bodies would exceed max_buffered")

// firstBuffer is the initial size of a buffer, in bytes.
const firstBuffer = 1 << 10

// readFrom reads a body of at most limit bytes. declared is its announced length, or negative
// if unknown.
func (b *bodyBuffer) readFrom(r io.Reader, limit, declared int64) error {
	most := limit
	if declared >= 0 {
		most = min(most, declared)
	}
	most++ // reading one more byte shows whether the body is too long
	if !b.grow(min(firstBuffer, most)) {
		return errBuffersFull
	}
	for {
		if int64(len(b.bytes)) > limit {
			return errBodyTooLarge
		}
		if len(b.bytes) == cap(b.bytes) && !b.grow(min(2*int64(cap(b.bytes)), max(most, int64(cap(b.bytes))+1))) {
			return errBuffersFull
		}
		n, err := r.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case errors.Is(err, io.EOF):
			switch length := int64(len(b.bytes)); {
			case length > limit:
				return errBodyTooLarge
			case length < declared: // over HTTP/3, Read returns no error for this
				return io.ErrUnexpectedEOF
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// grow increases the capacity to size bytes and reports whether the budget allows it.
func (b *bodyBuffer) grow(size int64) bool {
	if !b.take(size - b.taken) {
		return false
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return true
}

// append appends p to the buffer and reports whether the budget allows it.
func (b *bodyBuffer) append(p []byte) bool {
	need := int64(len(b.bytes) + len(p))
	if need > b.taken && !b.grow(max(need, min(2*b.taken, gate.MaxResponseBody))) {
		return false
	}
	b.bytes = append(b.bytes, p...)
	return true
}

// take reserves more bytes from the budget and reports whether they were available.
func (b *bodyBuffer) take(more int64) bool {
	if total := bufferedBytes.Add(more); b.budget >= 0 && total > b.budget {
		bufferedBytes.Add(-more)
		return false
	}
	b.taken += more
	return true
}

// release returns the reserved memory to the budget and drops the body.
func (b *bodyBuffer) release() {
	bufferedBytes.Add(-b.taken)
	b.taken, b.bytes = 0, nil
}
