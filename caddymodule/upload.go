package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/gate"
)

// upload is an upload's request body while the gate streams it to the backend. It ends when
// the request's authorization ends, so that data that arrives later isn't forwarded.
type upload struct {
	limitedBody
	// Upload is the body to send to the backend. receive sets it after reading the part that
	// the gate needs.
	gate.Upload
	exchange *exchange
	// spool, if not nil, stores the body on disk.
	spool *spool
	// begun is set once the proxy starts to read the body. ended is set once the authorization
	// has ended.
	begun atomic.Bool
	ended atomic.Bool
	// complete is set once the proxy has read the whole body.
	complete atomic.Bool
}

// How long an upload may take to reach the end of a chunk or of the body after its
// authorization has ended. The gate reads no more of the body during this time. A form that is
// cut off within a chunk may cause harm, so forms have more time.
const (
	uploadGrace = 500 * time.Millisecond
	formGrace   = 30 * time.Second
)

// streams reports whether the request's body is streamed. A missing form is treated as a
// malformed one.
func streams(route *gate.Route, r *http.Request) bool {
	return route.Upload && (hasBody(r) || route.AdaptUpload != nil)
}

// receive starts the upload and watches its authorization. It reads the part of the body that
// the gate needs before it contacts the backend. It returns a refusal if the upload can't be
// forwarded.
func (p *exchange) receive(w http.ResponseWriter, r *http.Request) gate.Refusal {
	p.upload = &upload{limitedBody: newLimitedBody(r, p.handler.gate.MaxBody(p.Route)), exchange: p}
	p.auth.watch(p)
	opened, err := p.handler.openUpload(w, r, p.Route, uploadSource{p.upload}, &p.upload.spool)
	switch outcome := p.response.outcome.Load(); {
	case outcome != nil: // the authorization has ended
		return *outcome
	case err != nil:
		return bodyRefusal(err, &p.Finding)
	}
	p.upload.Upload = opened
	if p.Route.AdaptUpload != nil {
		p.auth.watched.Stop() // the watch reads what BindUpload sets
		refusal := p.BindUpload(&opened)
		p.auth.watch(p)
		if refusal.Code != "" {
			return refusal
		}
	} else if p.upload.spool == nil {
		return gate.Refusal{}
	}
	return p.recheck() // also notices what happened while there was no watch
}

// openUpload returns the upload to send to the backend. It first reads a form's fields or, if
// spool_uploads is set, copies the whole body to a spool. The caller must close the spool.
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

// sendInChunks sets a request's body and hides its length, so that the proxy sends it in
// chunks. A backend that knows the length may mistake the end of the connection for the end of
// the body, and a partial upload for a complete one.
func sendInChunks(out *http.Request, contentType []string, body io.ReadCloser) {
	if len(contentType) > 0 {
		out.Header["Content-Type"] = contentType
	}
	out.ContentLength = -1
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	out.Body = body
}

// uploadSource reads an upload from the client until the upload's authorization ends.
type uploadSource struct{ *upload }

// Read implements io.Reader.
func (a uploadSource) Read(b []byte) (int, error) {
	if a.ended.Load() {
		return 0, a.cut()
	}
	n, err := a.limitedBody.Read(b)
	if a.ended.Load() {
		return 0, a.cut() // data that arrived during the read must not be forwarded
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
		u.exchange.startResponseTimeout() // the backend has the whole body
	}
	return n, err
}

// fail ends a request whose body is too large, too slow or malformed.
func (u *upload) fail(err error) error {
	refusal := bodyRefusal(err, &u.exchange.Finding)
	err = canceledError{err}
	u.exchange.response.stop(&refusal, err)
	return err
}

// end is called when the authorization has ended. If the proxy has not started to send the
// upload, end refuses it. Otherwise, the next read from the body fails, so that the upload
// stops at the end of a chunk: a backend may mistake a truncated chunk for the end of the
// body, and a partial upload for a complete one. If the proxy is in the middle of a chunk, it
// has some time to finish the chunk. If the spool already holds the whole upload, the upload
// may finish.
func (u *upload) end() {
	begun := u.begun.Load()
	if begun && u.spool != nil {
		return
	}
	u.ended.Store(true)
	u.exchange.response.stopReading()
	// A concurrent read may have just set Caddy's own deadline.
	time.AfterFunc(cutOffAgain, u.exchange.response.stopReading)
	switch {
	case !begun:
		_ = u.cut()
	case u.exchange.Route.AdaptUpload != nil:
		time.AfterFunc(formGrace, func() { _ = u.cut() })
	default:
		time.AfterFunc(uploadGrace, func() { _ = u.cut() })
	}
}

// cut ends a request whose authorization has ended, unless it is already being refused.
func (u *upload) cut() error {
	u.exchange.auth.cut()
	return canceledError{errTokenEnded}
}

var _ io.ReadCloser = (*upload)(nil)
