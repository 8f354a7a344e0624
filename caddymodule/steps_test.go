package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/tokenstore"
)

// BenchmarkSteps measures what each step costs that a gate adds to an allowed request. The sum is
// less than the difference between the rows "gated" and "open" of BenchmarkChain, because that
// includes the garbage collector's work and a longer chain of handlers.
func BenchmarkSteps(b *testing.B) {
	_, token := loadChains(b)
	app, store := activeApp(b)
	h := app.gates.configured[0].handler
	w := &silentWriter{header: http.Header{"Server": {"Caddy"}}}
	r := httptest.NewRequest(http.MethodGet, "/api/unikernels", nil)
	r.Header = http.Header{"User-Agent": {"curl/8.5.0"}, "Accept": {"*/*"}}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	authorization := []string{"Bearer " + token}

	var (
		taken    gate.Taken
		stray    strayTokens
		facts    gate.Request
		decision gate.Decision
		p        *exchange
		response http.Header
	)
	begin := func() {
		delete(w.header, "Content-Type")
		p = &exchange{handler: h, store: store, Finding: decision.Finding, now: facts.Now, vars: vars,
			replacer: replacer(r), clientIP: facts.ClientIP}
		p.response.begin(w, r, p)
		p.beginContext(r)
		p.upstream = app.account("default").credential()
	}
	now := store.Now()
	steps := []struct {
		name string
		run  func()
	}{
		{"take headers", func() {
			r.Header["Authorization"] = authorization
			taken, stray = app.takeHeaders(r)
		}},
		{"collect facts", func() { facts = h.facts(r, vars, &taken, stray, now) }},
		{"decide", func() {
			decision = gate.Decision{}
			h.gate.Decide(store, &facts, &decision)
		}},
		{"begin the exchange", begin},
		{"copy the request", func() { p.copyRequest(r) }},
		{"set the body", func() { setBody(&p.out, nil) }},
		{"watch the token", func() {
			p.auth.watch(p)
			p.auth.watched.Stop()
		}},
		{"identify the user", func() {
			delete(vars, identityVar)
			new(identity).accept(vars, p.replacer, &p.Match.Token)
		}},
		{"look up the placeholders in a later handler", func() { replacer(&p.out) }},
		{"count the request", func() {
			store.CountAllowedOn(p.Match, p.Scope(), p.Patterns(), tokenstore.LastUse{
				Time: now, IP: gate.CanonicalAddress(p.clientIP), UserAgent: userAgent(r), Route: p.Route.Name(),
			})
		}},
		{"check the response", func() {
			w.header["Content-Type"] = response["Content-Type"]
			p.response.outcome.Store(nil)
			p.response.WriteHeader(http.StatusOK)
			_ = p.response.finish(nil)
		}},
		{"end the exchange", func() { p.close() }},
	}
	response = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	for _, step := range steps {
		step.run() // the next steps need its results
	}
	if decision.Refused() || w.status != http.StatusOK {
		b.Fatalf("got refusal %q and status %d", decision.Refusal.Code, w.status)
	}
	for _, step := range steps {
		b.Run(step.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step.run()
			}
		})
	}
}
