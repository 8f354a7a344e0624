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
	// Upload is what is sent to the backend, once that is known.
	gate.Upload
	exchange *exchange
	// begun is set when the backend's side begins to read it, ended when the right to it
	// has ended.
	begun atomic.Bool
	ended atomic.Bool
	// complete is set when the backend's side has read the whole body.
	complete atomic.Bool
}

// How long an upload that is to end may take to reach the end of a chunk, or of the body.
// Nothing more is read of it. A form that is cut off within a chunk may do harm.
const (
	uploadGrace = 500 * time.Millisecond
	formGrace   = 30 * time.Second
)

// streams reports whether the body of a request is streamed. A form that is missing is one
// that is wrong.
func streams(route *gate.Route, r *http.Request) bool {
	return route.Upload && (hasBody(r) || route.AdaptUpload != nil)
}

// receive begins the upload, watches the right to it, and reads what is read before the
// backend is contacted. It returns a refusal if that can't be forwarded.
func (p *exchange) receive(w http.ResponseWriter, r *http.Request) gate.Refusal {
	p.upload = &upload{limitedBody: newLimitedBody(r, p.handler.gate.MaxBody(p.Route)), exchange: p}
	p.right.watch(p)
	opened, err := p.handler.openUpload(w, r, p.Route, arriving{p.upload}, &p.spool)
	switch outcome := p.answer.outcome.Load(); {
	case outcome != nil: // the right has ended
		return *outcome
	case err != nil:
		return bodyRefusal(err)
	}
	p.upload.Upload = opened
	if p.Route.AdaptUpload == nil && p.spool == nil {
		return gate.Refusal{}
	}
	return p.recheck()
}

// openUpload returns what is sent to the backend for an upload. It reads what has to be
// known before: the fields of a form, or all of the body if there is a directory for that,
// into the spool. The caller closes the spool.
func (h *BearerAuth) openUpload(w http.ResponseWriter, r *http.Request, route *gate.Route, body io.Reader,
	spooled **spool) (gate.Upload, error) {
	u := gate.Upload{ContentType: r.Header["Content-Type"], Body: body}
	switch {
	case h.SpoolUploads != "":
		s, err := newSpool(h.SpoolUploads)
		if err != nil {
			return u, err
		}
		*spooled = s
		u.Body, u.Spool = io.TeeReader(body, s), s
	case route.AdaptUpload != nil:
		defer h.limitReading(w)()
	}
	return u, h.gate.AdaptUpload(route, &u)
}

// sendInChunks gives a request an upload, which body reads, and hides its length, so that
// the proxy sends it in chunks: a backend may take the end of the connection for the end of
// a body whose length it knows, and the part that arrived for the whole.
func sendInChunks(out *http.Request, contentType []string, body io.ReadCloser) {
	if len(contentType) > 0 {
		out.Header["Content-Type"] = contentType
	}
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
	u.begun.Store(true)
	if u.ended.Load() {
		return 0, u.cut()
	}
	n, err := u.Body.Read(b)
	switch {
	case u.ended.Load():
		return 0, u.cut()
	case err == nil:
	case !errors.Is(err, io.EOF):
		return n, u.fail(err)
	case !u.complete.Swap(true):
		u.exchange.expectAnswer() // the backend has it all
	}
	return n, err
}

// fail ends a request whose body is too large, too slow, broken or no form.
func (u *upload) fail(err error) error {
	refusal := bodyRefusal(err)
	err = canceledError{err}
	u.exchange.answer.stop(&refusal, err)
	return err
}

// end is called when the right has ended. What the proxy has not begun to send is refused.
// Of what it has, it leaves the body at the end of a chunk, because its next read fails: a
// backend may take a chunk that is cut off for the end of the body, and the part that
// arrived for the whole. So a proxy that is held up within a chunk has time for it, and an
// upload that is whole in the spool is left to finish.
func (u *upload) end() {
	begun := u.begun.Load()
	if begun && u.exchange.spool != nil {
		return
	}
	u.ended.Store(true)
	u.exchange.answer.stopReading()
	// A read that had just begun may have put Caddy's own deadline in place.
	time.AfterFunc(cutOffAgain, u.exchange.answer.stopReading)
	switch {
	case !begun:
		_ = u.cut()
	case u.exchange.Route.AdaptUpload != nil:
		time.AfterFunc(formGrace, func() { _ = u.cut() })
	default:
		time.AfterFunc(uploadGrace, func() { _ = u.cut() })
	}
}

// cut ends a request whose right has ended, unless it is being refused already.
func (u *upload) cut() error {
	u.exchange.right.cut()
	return canceledError{errTokenEnded}
}

var _ io.ReadCloser = (*upload)(nil)
