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

var errBodyTooLarge = errors.New("the body is larger than the route takes")

// hasBody reports whether a request has a body, as far as that is known before it is
// read.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// readBody reads the body of an ordinary request, so that the backend sees all of it or
// nothing of the request. It returns the refusal of a body that is too large, too slow or
// broken.
func (h *BearerAuth) readBody(w http.ResponseWriter, r *http.Request, body *bodyBuffer,
	route *gate.Route) gate.Refusal {
	defer h.limitReading(w)()
	body.budget = h.MaxBuffered
	err := body.readFrom(r.Body, h.gate.MaxBody(route), r.ContentLength)
	if err == nil {
		return gate.Refusal{}
	}
	return bodyRefusal(err)
}

// limitReading lets body_timeout begin, and returns what ends it. Caddy's own limit is for
// each read. Ours is for all that is read: a client could send a byte now and then for
// years.
func (h *BearerAuth) limitReading(w http.ResponseWriter) (end func()) {
	timeout := time.Duration(h.BodyTimeout)
	controller := http.NewResponseController(w)
	if timeout <= 0 || controller.SetReadDeadline(time.Now().Add(timeout)) != nil { // not all writers can
		return func() {}
	}
	return func() { _ = controller.SetReadDeadline(time.Time{}) }
}

// bodyRefusal returns the refusal of a request whose body could not be read.
func bodyRefusal(err error) gate.Refusal {
	var refusal gate.Refusal
	handlerErr, byHandler := errors.AsType[caddyhttp.HandlerError](err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	invalid, isInvalid := errors.AsType[*gate.BodyError](err)
	_, noRoom := errors.AsType[*spoolError](err)
	switch {
	case noRoom:
		refusal = gate.Refuse(gate.Overloaded)
		refusal.Detail = "The gateway can't keep the upload on its disk. Try again after the time in the Retry-After header, and tell the operator if that doesn't help."
	case isInvalid:
		refusal = gate.Refuse(gate.InvalidRequestBody)
		refusal.Detail = invalid.Detail
	case tooLarge, errors.Is(err, errBodyTooLarge):
		refusal = gate.Refuse(gate.BodyTooLarge)
	case errors.Is(err, errBuffersFull):
		refusal = gate.Refuse(gate.Overloaded)
	case errors.Is(err, os.ErrDeadlineExceeded):
		refusal = gate.Refuse(gate.BodyTimeout)
	default:
		refusal = gate.Refuse(gate.InvalidRequest)
		refusal.Detail = "The request's body could not be read to its end."
	}
	if byHandler && handlerErr.StatusCode >= http.StatusBadRequest {
		refusal.Status = handlerErr.StatusCode // a handler before the gate knows why
	}
	refusal.Err = err
	return refusal
}

// setCall gives a request the query and the body that the backend is to get.
func setCall(out *http.Request, call *gate.Call) {
	out.URL.RawQuery = call.Query
	if len(call.ContentType) > 0 {
		out.Header["Content-Type"] = call.ContentType
	}
	out.ContentLength = int64(len(call.Body))
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	out.Body = http.NoBody
	if len(call.Body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(call.Body))
	}
}

// bodyBuffer holds a body in memory. It grows with what has arrived, not with what was
// announced: announcing costs a client nothing.
type bodyBuffer struct {
	bytes []byte
	// budget is the most that all buffers of the process may hold together, in bytes;
	// negative is no limit.
	budget int64
	// taken is this buffer's part of what all hold.
	taken int64
}

// bufferedBytes is the memory that all buffers of the process hold, in bytes.
var bufferedBytes atomic.Int64

var errBuffersFull = errors.New("the buffers for bodies are full; max_buffered limits them")

// firstBuffer is the room in bytes that a body gets before any of it has arrived.
const firstBuffer = 1 << 10

// readFrom reads a body of at most limit bytes. declared is its announced length, or
// negative.
func (b *bodyBuffer) readFrom(r io.Reader, limit, declared int64) error {
	most := limit
	if declared >= 0 {
		most = min(most, declared)
	}
	most++ // one more shows that the body goes on, or ends
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
			case length < declared: // over HTTP/3 that is no error of reading
				return io.ErrUnexpectedEOF
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// grow makes room for size bytes, and reports whether there is room for them.
func (b *bodyBuffer) grow(size int64) bool {
	if !b.take(size - b.taken) {
		return false
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return true
}

// append adds to the buffer, and reports whether there was room.
func (b *bodyBuffer) append(p []byte) bool {
	if need := int64(len(b.bytes) + len(p)); need > b.taken && !b.grow(max(need, min(2*b.taken, gate.MaxResponseBody))) {
		return false
	}
	b.bytes = append(b.bytes, p...)
	return true
}

// take reserves more bytes of the budget and reports whether they were free.
func (b *bodyBuffer) take(more int64) bool {
	if total := bufferedBytes.Add(more); b.budget >= 0 && total > b.budget {
		bufferedBytes.Add(-more)
		return false
	}
	b.taken += more
	return true
}

// release gives the memory back.
func (b *bodyBuffer) release() {
	bufferedBytes.Add(-b.taken)
	b.taken, b.bytes = 0, nil
}
