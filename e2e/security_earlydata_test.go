package e2e

import "testing"

// earlyDataAttacks send requests in TLS early data and repeat each one after the handshake
// (RFC 8470, CVE-2024-39321).
var earlyDataAttacks = []attack{
	{name: "POST", wireRequest: post("x", by("$C")...), want: both(tooEarly, passed("$C"))},
	{name: "POST without a body", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C")}, want: both(tooEarly, passed("$C"))},
	{name: "upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload", header: by("$C"),
		body: "hello"}, want: both(tooEarly, passed("$C"))},
	{name: "DELETE", wireRequest: wireRequest{method: "DELETE", target: "/plain/write", header: by("$C")},
		want: both(tooEarly, passed("$C"))},
	{name: "POST to a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, method: "POST",
		target: "/api/block/delete", header: by("$C"), body: `{"block_name":"x","albatross_instance":"default"}`},
		want: both(tooEarly, answered("$C", 404, "backend_error"))},
	{name: "POST, insufficient scope", wireRequest: post("x", by("$R")...),
		want: both(tooEarly, refused(403, "insufficient_scope", "$R"))},
	{name: "POST, bad token", wireRequest: post("x", by("$U")...),
		want: both(tooEarly, refused(401, "unknown_token"))},
	{name: "POST, no token", wireRequest: post("x"),
		want: both(refused(401, "missing_token"), refused(401, "missing_token"))},
	{name: "GET", wireRequest: get("/plain/read", by("$R")...), want: both(passed("$R"), passed("$R")),
		then: firstIsMarkedEarly},
	{name: "GET, bad token", wireRequest: get("/plain/read", by("$U")...),
		want: both(refused(401, "unknown_token"), refused(401, "unknown_token"))},
	{name: "GET, token bound to an address", wireRequest: get("/plain/read", by("$I")...),
		want: both(refused(425, "too_early", "$I"), refused(403, "ip_denied", "$I"))},
	{name: "GET from a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$R")}, want: both(passed("$R"), passed("$R")), then: firstIsMarkedEarly},
	// The backend must decide on requests that pass through, so the gate marks them as early.
	{name: "POST, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		body: "x"}, want: both(untouched(200), untouched(200)), then: firstIsMarkedEarly},
}

// tooEarly wants the gate to refuse the request without counting it.
var tooEarly = refused(425, "too_early")

// TestSecurityEarlyData runs the attacks over HTTP/3 with early data, which Caddy accepts by
// default.
func TestSecurityEarlyData(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, testbedConfig(), nil)
	early := h3Early{caddy: a.caddy, address: "127.0.0.1:" + a.env["HTTPS"], sessions: newSessions()}
	a.run(t, []wire{early}, earlyDataAttacks)
}

// firstIsMarkedEarly checks that the backend can distinguish a request in early data from its
// repetition.
func firstIsMarkedEarly(t *testing.T, x *exchange) {
	var marks []string
	for _, seen := range x.seen[:2] {
		marks = append(marks, seen.header.Get("Early-Data"))
	}
	if marks[0] != "1" || marks[1] != "" {
		t.Errorf("the backend saw Early-Data: %q", marks)
	}
}
