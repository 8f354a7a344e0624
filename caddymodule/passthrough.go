package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/gate"
)

// passThrough forwards a request without a token. The gate doesn't change the request's
// credential or the response, but it checks the request body, because a harmful body is
// harmful no matter who sends it.
func (h *BearerAuth) passThrough(w http.ResponseWriter, r *http.Request, d *gate.Decision, now time.Time,
	next caddyhttp.Handler) error {
	out := cloneRequest(r.Context(), r)
	if d.Upgrade {
		gate.SetUpgrade(out.Header)
	}
	gate.PreventRetries(out.Method, out.Header)
	switch {
	case d.Route != nil && streams(d.Route, r):
		return h.forwardUpload(w, r, out, d.Route, next)
	case d.Route == nil && (h.gate.MaxBody(nil) == 0 || !hasBody(r)):
		countPassThrough(r)
		return next.ServeHTTP(w, out)
	}
	var body bodyBuffer
	defer body.release()
	if hasBody(r) {
		if refusal := h.readBody(w, r, &body, d.Route); refusal.Code != "" {
			return h.refuse(w, r, refusal)
		}
	}
	call := gate.Call{Query: r.URL.RawQuery, ContentType: r.Header["Content-Type"], Body: body.bytes}
	if err := h.gate.Adapt(d.Route, &call); err != nil {
		return h.refuse(w, r, bodyRefusal(err, &gate.Finding{}))
	}
	setCall(out, &call)
	out.RequestURI = gate.RequestURI(out.URL, r.RequestURI)
	return h.sendPassThrough(w, r, out, &call, now, next)
}

// sendPassThrough passes the request to the next handlers. If the call needs a probe,
// sendPassThrough makes the probe first. If the response format is known, it ensures that the
// client can detect a truncated response.
func (h *BearerAuth) sendPassThrough(w http.ResponseWriter, r, out *http.Request, call *gate.Call, now time.Time,
	next caddyhttp.Handler) error {
	if call.Probe != nil {
		switch refusal, err := h.probe(next, out, call.Probe, false, now); {
		case refusal.Code != "":
			return h.refuse(w, r, refusal)
		case err != nil:
			return err
		}
	}
	countPassThrough(r)
	if call.Response.Unit == 0 {
		return next.ServeHTTP(w, out)
	}
	verified := &verifiedResponse{ResponseWriter: w, form: call.Response}
	err := verified.serve(next, out, h.logger.With(zap.String("route", r.URL.Path)))
	if errors.Is(err, errEmptyResponse) {
		return h.refuse(w, r, gate.Refuse(gate.BackendIncomplete))
	}
	return err
}

func countPassThrough(r *http.Request) {
	metrics.count(outcomeBrowser)
	new(identity).mark(r)
}

// forwardUpload streams an upload without a token. Like any other upload, it is sent in
// chunks.
func (h *BearerAuth) forwardUpload(w http.ResponseWriter, r, out *http.Request, route *gate.Route,
	next caddyhttp.Handler) error {
	sent := newLimitedBody(r, h.gate.MaxBody(route))
	var spooled *spool
	opened, err := h.openUpload(w, r, route, &sent, &spooled)
	defer spooled.close()
	if err != nil {
		return h.refuse(w, r, bodyRefusal(err, &gate.Finding{}))
	}
	// If the client disconnects, reading the body fails at the end of a chunk. The client's
	// context cancels the request only after the whole body has been sent to the backend.
	// net/http reports that the body was sent before it has written the last few bytes, so
	// allow some time for them.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	out = out.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			context.AfterFunc(r.Context(), func() { time.AfterFunc(formGrace, cancel) })
		},
	}))
	body := &browserUpload{Reader: opened.Body, Closer: r.Body}
	sendInChunks(out, opened.ContentType, body)
	countPassThrough(r)
	response := &uploadResponse{ResponseWriter: w, upload: body}
	if err := next.ServeHTTP(response, out); body.err == nil || response.begun {
		return err
	}
	return h.refuse(w, r, bodyRefusal(body.err, &gate.Finding{}))
}

// browserUpload is the body of an upload without a token. Until the handlers return, only one
// goroutine reads it.
type browserUpload struct {
	io.Reader
	io.Closer
	err error // from reading the body
}

// Read implements io.Reader.
func (b *browserUpload) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	b.err = err
	return n, canceledError{err}
}

// uploadResponse suppresses the response that Caddy's proxy generates when the client cancels
// a request.
type uploadResponse struct {
	http.ResponseWriter
	upload *browserUpload
	begun  bool
}

// WriteHeader implements http.ResponseWriter.
func (u *uploadResponse) WriteHeader(status int) {
	if status == statusClientClosed && u.upload.err != nil {
		return
	}
	u.begun = u.begun || status >= http.StatusOK
	u.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (u *uploadResponse) Write(p []byte) (int, error) {
	u.begun = true
	return u.ResponseWriter.Write(p)
}

// Unwrap returns the underlying writer for http.ResponseController.
func (u *uploadResponse) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// statusClientClosed is the status that Caddy's proxy sends when the client has disconnected.
const statusClientClosed = 499

// cloneRequest returns a copy of the request for the next handlers. The copy keeps the
// client's credential but has no trailers. Changes that the handlers make to it don't affect
// error routes or logs.
func cloneRequest(ctx context.Context, r *http.Request) *http.Request {
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	delete(out.Header, "Trailer")
	out.Trailer = nil
	location := *r.URL
	out.URL = &location
	return out
}
