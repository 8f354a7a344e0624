package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
)

// upload is the body of an upload route while it is streamed to the backend. It ends
// with its token's right: what the client chooses later must not be forwarded.
type upload struct {
	limitedBody
	passage *passage
	// body is what is sent to the backend, once that is known.
	body io.Reader
	// ended is set when the right has ended.
	ended atomic.Bool
	// complete is set when the backend's side has read the whole body.
	complete atomic.Bool
}

// uploadGrace is how long an upload whose right has ended may take to stop at the end of
// a chunk.
const uploadGrace = 500 * time.Millisecond

// streams reports whether the body of a request is streamed. A form that is missing is one
// that is wrong.
func streams(route *gate.Route, r *http.Request) bool {
	return route.Upload && (hasBody(r) || route.AdaptUpload != nil)
}

// stream gives the body to the request that is handed on, and watches the right to it. It
// returns a refusal if what is read before the backend is contacted can't be forwarded.
func (p *passage) stream(w http.ResponseWriter, r, out *http.Request) gate.Refusal {
	p.upload = &upload{limitedBody: newLimitedBody(r, p.handler.gate.MaxBody(p.Route)), passage: p}
	p.right.watch(p)
	var err error
	p.upload.body, err = p.handler.openUpload(w, out, p.Route, arriving{p.upload}, &p.spool)
	switch outcome := p.answer.outcome.Load(); {
	case outcome != nil: // the right has ended
		return *outcome
	case err != nil:
		return bodyRefusal(err)
	}
	sendInChunks(out, p.upload)
	if p.Route.AdaptUpload == nil && p.spool == nil {
		return gate.Refusal{}
	}
	return p.recheck()
}

// openUpload returns what is sent to the backend for the body of an upload route. It reads
// what has to be known before: the fields of a form, or all of the body if there is a
// directory for that, into the spool. The caller closes the spool.
func (h *BearerAuth) openUpload(w http.ResponseWriter, out *http.Request, route *gate.Route, body io.Reader, spooled **spool) (io.Reader, error) {
	u := gate.Upload{ContentType: out.Header["Content-Type"], Body: body}
	switch {
	case h.SpoolUploads != "":
		s, err := newSpool(h.SpoolUploads)
		if err != nil {
			return nil, err
		}
		*spooled = s
		u.Body, u.Spool = io.TeeReader(body, s), s
	case route.AdaptUpload != nil:
		defer h.limitReading(w)()
	}
	if err := h.gate.AdaptUpload(route, &u); err != nil {
		return nil, err
	}
	if len(u.ContentType) > 0 {
		out.Header["Content-Type"] = u.ContentType
	}
	return u.Body, nil
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

// arriving is what the client sends of an upload, for as long as the right to it lasts.
type arriving struct{ *upload }

// Read implements io.Reader.
func (a arriving) Read(b []byte) (int, error) {
	if a.ended.Load() {
		return 0, a.cut()
	}
	n, err := a.limitedBody.Read(b)
	if a.ended.Load() {
		return 0, a.cut() // what arrived meanwhile has no right either
	}
	return n, err
}

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	if u.ended.Load() {
		return 0, u.cut()
	}
	n, err := u.body.Read(b)
	switch {
	case u.ended.Load():
		return 0, u.cut()
	case err == nil:
	case !errors.Is(err, io.EOF):
		return n, u.fail(err)
	case !u.complete.Swap(true):
		u.passage.expectAnswer() // the backend has it all
		u.passage.context.uploaded()
	}
	return n, err
}

// fail ends a request whose body is too large, too slow, broken or no form.
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
