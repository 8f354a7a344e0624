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
	// probeTimeout is the maximum time to wait for the response to a probe.
	probeTimeout = 10 * time.Second
	// maxProbeBody is how much of a probe's response body is inspected, in bytes.
	maxProbeBody = 16 << 10
)

// probe sends the probe that a call needs, using the call's credential, unless the result is
// cached. trusted indicates that the credential is the gate's own. Responses to other
// credentials may be specific to them, so those results are neither cached nor shared. probe
// returns the reason to refuse the call, if there is one. err is an error from the handlers.
func (h *BearerAuth) probe(next caddyhttp.Handler, call *http.Request, probe *gate.Probe, trusted bool,
	now time.Time) (refusal gate.Refusal, err error) {
	send := func() probeResult { return sendProbe(next, call, probe) }
	var result probeResult
	switch target := probe.Path + "?" + probe.Query; {
	case trusted:
		result = h.probes.get(call.Context(), target, now, send)
	case !h.probes.cached(target, now):
		result = send()
	}
	return result.refusal, result.err
}

// sendProbe sends a probe and evaluates the response. Canceling the call also cancels the
// probe.
func sendProbe(next caddyhttp.Handler, call *http.Request, probe *gate.Probe) probeResult {
	values := call.Context()
	if c, ok := values.(*requestContext); ok {
		values = c.client() // without the trace, which belongs to the call
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(values), probeTimeout)
	defer cancel()
	defer context.AfterFunc(call.Context(), cancel)()
	r := call.WithContext(ctx)
	probe.Apply(r)
	response := &probeResponse{header: make(http.Header), cancel: cancel}
	// Even a truncated response can be enough.
	err := callNext(next, response, withOwnPlaceholders(r), func() bool { return true })
	switch {
	case response.status != 0:
		refusal, cacheable := probe.Judge(response.status, response.body)
		return probeResult{refusal: refusal, cacheable: cacheable}
	case err == nil, errors.Is(err, errBrokenOff):
		return probeResult{refusal: gate.Refuse(gate.BackendBrokeOff)}
	}
	return probeResult{err: err}
}

// withOwnPlaceholders gives a probe its own placeholders and variables. If it shared the
// call's, handlers would see the call's path, and the probe's outcome would appear in the
// call's error routes and logs.
func withOwnPlaceholders(r *http.Request) *http.Request {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	placeholders := caddy.NewReplacer()
	out := caddyhttp.PrepareRequest(r, placeholders, nil, server)
	placeholders.Map(replacer(r).Get) // set by earlier handlers
	if set, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(out.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), set)
	}
	return out
}

// probeResponse records the response to a probe.
type probeResponse struct {
	header http.Header
	status int
	body   []byte
	cancel func() // called when the body exceeds maxProbeBody
}

// Header implements http.ResponseWriter.
func (p *probeResponse) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *probeResponse) WriteHeader(status int) {
	if p.status == 0 && status >= http.StatusOK {
		p.status = status
	}
}

// Write implements http.ResponseWriter.
func (p *probeResponse) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if free := maxProbeBody - len(p.body); len(b) >= free {
		p.body = append(p.body, b[:free]...)
		p.cancel()
		return len(b), nil
	}
	p.body = append(p.body, b...)
	return len(b), nil
}
