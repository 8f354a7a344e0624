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

// forwardUntouched hands a request without a token on, for the backend to answer. Its
// credential and its answer are the client's own affair. But what a body could do to the
// backend doesn't depend on who sends it.
func (h *BearerAuth) forwardUntouched(w http.ResponseWriter, r *http.Request, d *gate.Decision, now time.Time,
	next caddyhttp.Handler) error {
	out := handOn(r.Context(), r)
	gate.SetUpgrade(out.Header, d.Upgrade)
	gate.SendOnce(out.Method, out.Header)
	switch {
	case d.Route != nil && streams(d.Route, r):
		return h.forwardUpload(w, r, out, d.Route, next)
	case d.Route == nil && (h.gate.MaxBody(nil) == 0 || !hasBody(r)):
		countUntouched(r)
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
		return h.refuse(w, r, bodyRefusal(err))
	}
	setCall(out, &call)
	out.RequestURI = out.URL.RequestURI()
	return h.sendUntouched(w, r, out, &call, now, next)
}

// sendUntouched makes a call. Before it, it asks what must be known; of an answer whose form
// is known, it says if it was cut short.
func (h *BearerAuth) sendUntouched(w http.ResponseWriter, r, out *http.Request, call *gate.Call, now time.Time,
	next caddyhttp.Handler) error {
	if call.Probe != nil {
		switch refusal, err := h.probe(next, out, call.Probe, false, now); {
		case refusal.Code != "":
			return h.refuse(w, r, refusal)
		case err != nil:
			return err
		}
	}
	countUntouched(r)
	if call.Response.Unit == 0 {
		return next.ServeHTTP(w, out)
	}
	whole := &wholeAnswer{ResponseWriter: w, form: call.Response}
	err := whole.serve(next, out, h.logger.With(zap.String("route", r.URL.Path)))
	if errors.Is(err, errNothingSent) {
		return h.refuse(w, r, gate.Refuse(gate.BackendIncomplete))
	}
	return err
}

func countUntouched(r *http.Request) {
	metrics.count(outcomeBrowser)
	new(identity).mark(r)
}

// forwardUpload streams an upload without a token, in chunks like any other.
func (h *BearerAuth) forwardUpload(w http.ResponseWriter, r, out *http.Request, route *gate.Route,
	next caddyhttp.Handler) error {
	sent := newLimitedBody(r, h.gate.MaxBody(route))
	var spooled *spool
	opened, err := h.openUpload(w, r, route, &sent, &spooled)
	defer spooled.close()
	if err != nil {
		return h.refuse(w, r, bodyRefusal(err))
	}
	// A client that leaves shows in its body, at the end of a chunk. Its context ends the
	// request only after the backend has been sent all of the body; package net/http says so
	// before it has written the last few bytes, so they are given time.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	out = out.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			context.AfterFunc(r.Context(), func() { time.AfterFunc(formGrace, cancel) })
		},
	}))
	body := &browserUpload{Reader: opened.Body, Closer: r.Body}
	sendInChunks(out, opened.ContentType, body)
	countUntouched(r)
	answer := &uploadAnswer{ResponseWriter: w, upload: body}
	if err := next.ServeHTTP(answer, out); body.err == nil || answer.begun {
		return err
	}
	return h.refuse(w, r, bodyRefusal(body.err))
}

// browserUpload is the body of an upload without a token. It is read by one goroutine
// until the handlers have returned.
type browserUpload struct {
	io.Reader
	io.Closer
	err error // what is wrong with the body
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

// uploadAnswer keeps back the answer that Caddy's proxy makes up for a request that its
// client has ended.
type uploadAnswer struct {
	http.ResponseWriter
	upload *browserUpload
	begun  bool
}

// WriteHeader implements http.ResponseWriter.
func (a *uploadAnswer) WriteHeader(status int) {
	if status == statusClientClosed && a.upload.err != nil {
		return
	}
	a.begun = a.begun || status >= http.StatusOK
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *uploadAnswer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// Unwrap gives http.ResponseController the writer below.
func (a *uploadAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// statusClientClosed is what Caddy's proxy answers to a client that has gone.
const statusClientClosed = 499

// handOn returns a copy of a request whose credential hasn't been replaced, for the
// handlers that answer it: what they do to it doesn't show in error routes and logs,
// and the client's trailers don't reach it.
func handOn(ctx context.Context, r *http.Request) *http.Request {
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	delete(out.Header, "Trailer")
	out.Trailer = nil
	location := *r.URL
	out.URL = &location
	return out
}
