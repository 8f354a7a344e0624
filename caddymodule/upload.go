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
	limitedBody
	passage *passage
	// ended is set when the right has ended.
	ended atomic.Bool
	// complete is set when the backend's side has read the whole body.
	complete atomic.Bool
}

// uploadGrace is how long an upload whose right has ended may take to stop at the end of
// a chunk.
const uploadGrace = 500 * time.Millisecond

// stream gives the body to the request that is handed on.
func (p *passage) stream(r, out *http.Request) {
	p.upload = &upload{limitedBody: newLimitedBody(r, p.handler.gate.MaxBody(p.Route)), passage: p}
	sendInChunks(out, p.upload)
}

// sendInChunks gives a request a body and hides its length, so that the proxy sends it in
// chunks: a backend may take the end of the connection for the end of a body whose length
// it knows, and the part that arrived for the whole.
func sendInChunks(out *http.Request, body io.ReadCloser) {
	out.ContentLength = -1
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	out.Body = body
}

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	if u.ended.Load() {
		return 0, u.cut()
	}
	n, err := u.limitedBody.Read(b)
	switch {
	case u.ended.Load():
		return 0, u.cut() // what arrived meanwhile has no right either
	case err == nil:
	case !errors.Is(err, io.EOF):
		return n, u.fail(err)
	case !u.complete.Swap(true):
		u.passage.expectAnswer() // the backend has it all
		u.passage.context.uploaded()
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
