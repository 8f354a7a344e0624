package caddymodule

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
)

const (
	// inquiryTimeout is how long the answer to an inquiry may take.
	inquiryTimeout = 10 * time.Second
	// maxInquiryBody is how much of an answer is looked at, in bytes.
	maxInquiryBody = 16 << 10
)

// inquire asks the backend what must be known before a call is made, with the credential of
// the call, unless it is known. trusted says that the call has the gate's credential: the
// answer to another may be about that one's, and is neither kept nor shared. It returns why the
// call must not be made, or nothing. err is that of the handlers.
func (h *BearerAuth) inquire(next caddyhttp.Handler, call *http.Request, ask *gate.Inquiry, trusted bool,
	now time.Time) (refusal gate.Refusal, err error) {
	send := func() inquiryResult { return sendInquiry(next, call, ask) }
	var result inquiryResult
	switch target := ask.Path + "?" + ask.Query; {
	case trusted:
		result = h.inquiries.ask(call.Context(), target, now, send)
	case !h.inquiries.remembers(target, now):
		result = send()
	}
	return result.refusal, result.err
}

// sendInquiry sends an inquiry, which ends with the call, and judges its answer.
func sendInquiry(next caddyhttp.Handler, call *http.Request, ask *gate.Inquiry) inquiryResult {
	values := call.Context()
	if c, ok := values.(*requestContext); ok {
		values = c.parent // without the trace, which would take the inquiry for the call
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(values), inquiryTimeout)
	defer cancel()
	defer context.AfterFunc(call.Context(), cancel)()
	r := call.WithContext(ctx)
	ask.Apply(r)
	answer := &inquiryAnswer{header: make(http.Header), enough: cancel}
	// what it broke off after is enough
	err := callNext(next, answer, withOwnPlaceholders(r), func() bool { return true })
	switch {
	case answer.status != 0:
		refusal, known := ask.Judge(answer.status, answer.body)
		return inquiryResult{refusal: refusal, known: known}
	case err == nil, errors.Is(err, errBrokenOff):
		return inquiryResult{refusal: gate.Refuse(gate.BackendBrokeOff)}
	}
	return inquiryResult{err: err}
}

// withOwnPlaceholders gives an inquiry placeholders and variables of its own. Those of the
// call would show handlers the call's path, and error routes and logs what became of the
// inquiry.
func withOwnPlaceholders(r *http.Request) *http.Request {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	placeholders := caddy.NewReplacer()
	out := caddyhttp.PrepareRequest(r, placeholders, nil, server)
	placeholders.Map(replacer(r).Get) // what handlers before have set
	if set, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(out.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), set)
	}
	return out
}

// inquiryAnswer takes the answer to an inquiry.
type inquiryAnswer struct {
	header http.Header
	status int
	body   []byte
	enough func() // ends an answer that is longer than is looked at
}

// Header implements http.ResponseWriter.
func (a *inquiryAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *inquiryAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *inquiryAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if free := maxInquiryBody - len(a.body); len(p) >= free {
		a.body = append(a.body, p[:free]...)
		a.enough()
		return len(p), nil
	}
	a.body = append(a.body, p...)
	return len(p), nil
}
