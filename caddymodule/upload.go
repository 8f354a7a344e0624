package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// upload is the body of an upload route while it is streamed to the backend. It ends
// with its token's right: what the client chooses later must not be forwarded.
type upload struct {
	source  io.ReadCloser
	passage *passage
	left    int64 // bytes that the route still takes
	// missing is how many bytes of the announced length have not arrived; negative if
	// none was announced.
	missing int64
	// ended is set when the right has ended.
	ended atomic.Bool
	// complete is set when the backend's side has read the whole body.
	complete atomic.Bool
}

// uploadGrace is how long an upload whose right has ended may take to stop at the end of
// a chunk.
const uploadGrace = 500 * time.Millisecond

// stream gives the body to the request that is handed on. It hides the body's length, so
// the proxy sends it in chunks: a backend may take the end of the connection for the end
// of a body whose length it knows, and the part that arrived for the whole.
func (p *passage) stream(r, out *http.Request) {
	out.ContentLength = -1
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	u := &upload{source: r.Body, passage: p, left: p.handler.gate.MaxBody(p.Route), missing: r.ContentLength}
	p.upload = u
	out.Body = u
}

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	if u.ended.Load() {
		return 0, u.cut()
	}
	n, err := u.source.Read(b)
	u.left -= int64(n)
	if u.missing > 0 {
		u.missing = max(0, u.missing-int64(n))
	}
	switch {
	case u.ended.Load():
		return 0, u.cut() // what arrived meanwhile has no right either
	case u.left < 0:
		return 0, u.fail(errBodyTooLarge)
	case errors.Is(err, io.EOF) && u.missing > 0: // over HTTP/3 that is no error of reading
		return n, u.fail(io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF) && !u.complete.Swap(true):
		u.passage.expectAnswer() // the backend has it all
		u.passage.context.uploaded()
	case err != nil && !errors.Is(err, io.EOF):
		return n, u.fail(err)
	}
	return n, err
}

// fail ends a request whose body is too large, too slow or broken.
func (u *upload) fail(err error) error {
	refusal := bodyRefusal(err)
	err = canceledError{err}
	u.passage.answer.stop(&refusal, err)
	return err
}

// Close implements io.Closer.
func (u *upload) Close() error { return u.source.Close() }

// end is called when the right has ended. The proxy's next read fails, so that it leaves
// the body at the end of a chunk, which no backend takes for the end of the body. A proxy
// that doesn't read, because the backend doesn't, is cut off.
func (u *upload) end() {
	u.ended.Store(true)
	u.passage.answer.stopReading()
	// A read that had just begun may have put Caddy's own deadline in place.
	time.AfterFunc(cutOffAgain, u.passage.answer.stopReading)
	time.AfterFunc(uploadGrace, func() { _ = u.cut() })
}

// cut ends a request whose right has ended, unless it is being refused already.
func (u *upload) cut() error {
	u.passage.right.cut()
	return canceledError{errTokenEnded}
}

var _ io.ReadCloser = (*upload)(nil)
