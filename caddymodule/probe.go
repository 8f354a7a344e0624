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
	// probeTimeout is how long the answer to a probe may take.
	probeTimeout = 10 * time.Second
	// maxProbeBody is how much of an answer is looked at, in bytes.
	maxProbeBody = 16 << 10
)

// probe asks the backend what must be known before a call is made, with the credential of
// the call, unless it is known. trusted says that the call has the gate's credential: the
// answer to another may be about that one's, and is neither kept nor shared. It returns why the
// call must not be made, or nothing. err is that of the handlers.
func (h *BearerAuth) probe(next caddyhttp.Handler, call *http.Request, ask *gate.Probe, trusted bool,
	now time.Time) (refusal gate.Refusal, err error) {
	send := func() probeResult { return sendProbe(next, call, ask) }
	var result probeResult
	switch target := ask.Path + "?" + ask.Query; {
	case trusted:
		result = h.probes.ask(call.Context(), target, now, send)
	case !h.probes.remembers(target, now):
		result = send()
	}
	return result.refusal, result.err
}

// sendProbe sends a probe, which ends with the call, and judges its answer.
func sendProbe(next caddyhttp.Handler, call *http.Request, ask *gate.Probe) probeResult {
	values := call.Context()
	if c, ok := values.(*requestContext); ok {
		values = c.parent // without the trace, which would take the probe for the call
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(values), probeTimeout)
	defer cancel()
	defer context.AfterFunc(call.Context(), cancel)()
	r := call.WithContext(ctx)
	ask.Apply(r)
	answer := &probeAnswer{header: make(http.Header), enough: cancel}
	// what it broke off after is enough
	err := callNext(next, answer, withOwnPlaceholders(r), func() bool { return true })
	switch {
	case answer.status != 0:
		refusal, known := ask.Judge(answer.status, answer.body)
		return probeResult{refusal: refusal, known: known}
	case err == nil, errors.Is(err, errBrokenOff):
		return probeResult{refusal: gate.Refuse(gate.BackendBrokeOff)}
	}
	return probeResult{err: err}
}

// withOwnPlaceholders gives a probe placeholders and variables of its own. Those of the
// call would show handlers the call's path, and error routes and logs what became of the
// probe.
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

// probeAnswer takes the answer to a probe.
type probeAnswer struct {
	header http.Header
	status int
	body   []byte
	enough func() // ends an answer that is longer than is looked at
}

// Header implements http.ResponseWriter.
func (a *probeAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *probeAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *probeAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if free := maxProbeBody - len(a.body); len(p) >= free {
		a.body = append(a.body, p[:free]...)
		a.enough()
		return len(p), nil
	}
	a.body = append(a.body, p...)
	return len(p), nil
}
