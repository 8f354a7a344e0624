package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// combination is a site with a gate, configured as an operator might configure it.
type combination struct {
	// host is the site's host, and body holds its directives. GATE stands for a gate, REFUSING
	// for a gate that leaves refusals to error routes, and PROXY for the proxy to the backend.
	host, body string
	// good is the outcome of a valid request. The default is passed.
	good []verdict
	// refuses returns the verdict for a refusal. The default is refused.
	refuses func(status int, code string, token ...string) []verdict
	// attacks are run in addition to the common ones.
	attacks []attack
}

// byErrorRoutes returns the verdicts for a refusal whose body is written by the site's error
// routes.
func byErrorRoutes(status int, code string, token ...string) []verdict {
	want := refusedElsewhere(status, token...)
	want[0].code = code
	return want
}

// elsewhere returns the verdicts for a refusal by a site whose error routes proxy to the
// second backend, which responds with 200.
func elsewhere(_ int, _ string, token ...string) []verdict {
	return refusedElsewhere(http.StatusOK, token...)
}

const (
	// leaks is a response in which an operator's configuration might reveal the credential or
	// the identity.
	leaks = "[{http.request.header.Authorization}|{http.request.header.X-Token-Name}|" +
		"{http.request.header.X-Token-Id}|{http.auth.user.name}|{http.auth.candidate.name}]"
	proxy = "reverse_proxy {$PLAIN}"
	// authCheck is the path that forward_auth requests.
	authCheck = "/check"
	// hash is the hash of the password "secret".
	hash = "$2a$04$m9GvXGWaTYGcFMoVwDmiK.iMqXAsmhq.W5VC6.9D5Gzmx67LKa/qS"
)

var combinations = []combination{
	{host: "handle.test", body: "handle {\nGATE\nPROXY\n}"},
	{host: "site.test", body: "GATE\nPROXY"},
	{host: "route.test", body: "route {\nGATE\nPROXY\n}"},
	{host: "matcher.test", body: "@api path /plain/* /wild/*\nGATE\nhandle @api {\nPROXY\n}\nhandle {\nrespond 404\n}"},
	{host: "fallback.test", body: "handle /other/* {\nPROXY\n}\nhandle {\nGATE\nPROXY\n}"},
	{host: "encode.test", body: "encode gzip zstd\nhandle {\nGATE\nPROXY\n}",
		attacks: inspectedResponses("encode.test")},
	{host: "encode-after.test", body: "handle {\nGATE\nencode {\nminimum_length 1\n}\nPROXY\n}",
		attacks: inspectedResponses("encode-after.test")},
	{host: "encode-before.test", body: "route {\nencode {\nminimum_length 1\n}\nGATE\nPROXY\n}",
		attacks: inspectedResponses("encode-before.test")},
	{host: "logs.test",
		body: "log_append sent {http.request.header.Authorization}\nlog_append who {http.auth.user.name}\n" +
			"log_append given {http.reverse_proxy.header.X-Echo}\nhandle {\nGATE\n" +
			"log_append later {http.request.header.Authorization}\nPROXY\n}"},
	{host: "header.test", body: "header >X-Leak " + leaks + "\nroute {\nGATE\nheader X-Later " + leaks +
		"\nheader >X-Deferred " + leaks + "\nPROXY\n}"},
	{host: "header-down.test",
		body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_down X-Leak {http.request.header.Authorization}\n" +
			"header_down X-Who " + leaks + "\n}\n}"},
	{host: "header-up.test", body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_up X-Copy " + leaks +
		"\nheader_up X-Who {http.auth.user.name}\n}\n}",
		attacks: []attack{{name: "odd name", wireRequest: wireRequest{host: "header-up.test", header: by("$W")},
			want: passed("$W"), then: sawHeader("X-Who", "50% naïve {env.UPSTREAM}")}}},
	// security.md recommends this if there are caches.
	{host: "private.test", body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_down Cache-Control private\n}\n}",
		attacks: []attack{
			{name: "made private",
				wireRequest: wireRequest{host: "private.test", target: "/plain/read?answer=public", header: by("$R")},
				want:        passed("$R"), then: hasHeader("Cache-Control", "private")}}},
	{host: "header-own.test",
		body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_up Authorization \"Bearer {env.UPSTREAM}\"\n}\n}",
		attacks: []attack{
			{name: "Connection names the credential", wireRequest: wireRequest{host: "header-own.test",
				header: by("$R", "Connection: Authorization")}, want: passed("$R")}}},
	{host: "request-header.test",
		body: "handle {\nGATE\nrequest_header X-Who {http.auth.user.name}\n" +
			"request_header X-Copy {http.request.header.Authorization}\nPROXY\n}",
		attacks: []attack{{name: "odd name", wireRequest: wireRequest{host: "request-header.test", header: by("$W")},
			want: passed("$W"), then: sawHeader("X-Who", "50% naïve {env.UPSTREAM}")}}},
	{host: "request-header-before.test",
		body: "route {\nrequest_header X-Token-Name operator\n" +
			"request_header X-Seen {http.request.header.X-Token-Id}\nGATE\nPROXY\n}"},
	{host: "templates.test", body: "handle {\nGATE\ntemplates {\nmime text/html text/plain\n}\nPROXY\n}",
		attacks: []attack{
			{name: "template with the credential",
				wireRequest: wireRequest{host: "templates.test", target: "/plain/read?answer=template",
					header: by("$R")}, want: passed("$R"), then: bodyHas("rendered")},
			{name: "template with an upload's credential",
				wireRequest: wireRequest{host: "templates.test", method: "POST",
					target: "/plain/upload?answer=template", header: by("$C"), body: "hello"}, want: passed("$C"),
				then: bodyHas("rendered")},
			{name: "template with an include",
				wireRequest: wireRequest{host: "templates.test", target: "/plain/read?answer=include",
					header: by("$R")}, want: []verdict{{outcome: passes, status: []int{200, 401, 500}, token: "$R"}}},
		}},
	{host: "errors.test", body: "handle {\nREFUSING\nPROXY\n}\nhandle_errors {\nrespond \"" + leaks +
		" {http.error.status_code} {http.request.header.Cookie}\"\n}", refuses: byErrorRoutes, attacks: []attack{
		{name: "token in the URL", wireRequest: wireRequest{host: "errors.test", target: "/plain/read?t=$R"},
			want: refused(400, "token_in_url")},
		{name: "TRACE", wireRequest: wireRequest{host: "errors.test", method: "TRACE", header: by("$R")},
			want: refusedElsewhere(405)},
	}},
	{host: "errors-own.test", body: "handle {\nGATE\nPROXY\n}\nhandle_errors {\nrespond \"" + leaks +
		" {http.error.status_code}\"\n}"},
	{host: "errors-away.test", body: "handle {\nREFUSING\nreverse_proxy 127.0.0.1:1\n}\nhandle_errors {\nrespond \"" +
		leaks + "\"\n}", refuses: byErrorRoutes, good: answeredByNobody("$R", 502, "")},
	{host: "errors-later.test", body: "handle {\nGATE\nerror \"" + leaks + "\" 418\n}\nhandle_errors {\nrespond \"" +
		leaks + " {http.error.message}\"\n}", good: answeredByNobody("$R", 418, "")},
	{host: "abort.test", body: "route {\nGATE\nabort\n}", good: answeredByNobody("$R", 0, "")},
	{host: "legacy.test", body: "handle {\nREFUSING\nPROXY\n}\nhandle_errors {\nreverse_proxy {$LEGACY}\n}",
		refuses: elsewhere, attacks: []attack{
			{name: "identity headers", wireRequest: wireRequest{host: "legacy.test", header: by("$U", spoofed...)},
				want: refusedElsewhere(200)},
			{name: "identity headers and Connection",
				wireRequest: wireRequest{host: "legacy.test",
					header: by("$U", "X-Token-Name: root", "Connection: X-Forwarded-For")},
				want: refusedElsewhere(200)},
			{name: "trailers", wireRequest: wireRequest{host: "legacy.test", method: "POST",
				target: "/plain/write", header: by("$U", "Trailer: X-Token-Name"), body: "x",
				trailer: []string{"X-Token-Name: root"}}, want: refusedElsewhere(200)},
			{name: "tunnel", wireRequest: tunnel("legacy.test", by("$R")...), want: refusedElsewhere(405),
				then: legacySawNothing},
			{name: "tunnel, no token", wireRequest: tunnel("legacy.test"), want: refusedElsewhere(405),
				then: legacySawNothing},
			{name: "TRACE", wireRequest: wireRequest{host: "legacy.test", method: "TRACE", header: by("$R")},
				want: refusedElsewhere(405), then: legacySawNothing},
			{name: "upgrade", wireRequest: wireRequest{host: "legacy.test", target: "/plain/socket",
				header: by("$U", "Connection: Upgrade", "Upgrade: websocket")}, want: refusedElsewhere(200)},
		}},
	{host: "basic.test", body: "route {\nbasic_auth {\nadmin " + hash + "\n}\nGATE\nPROXY\n}",
		good: refusedElsewhere(401), refuses: func(int, string, ...string) []verdict { return refusedElsewhere(401) },
		attacks: []attack{
			{name: "password alone",
				wireRequest: wireRequest{host: "basic.test", header: []string{"Authorization: Basic YWRtaW46c2VjcmV0"}},
				want:        refused(401, "missing_token")},
			{name: "password and token",
				wireRequest: wireRequest{host: "basic.test", header: []string{"Authorization: Basic YWRtaW46c2VjcmV0",
					bearerLine("$R")}}, want: refused(400, "invalid_request")},
		}},
	{host: "basic-after.test", body: "basic_auth {\nadmin " + hash + "\n}\nGATE\nPROXY",
		good: answeredByNobody("$R", 401, ""), attacks: []attack{
			{name: "password alone", wireRequest: wireRequest{host: "basic-after.test",
				header: []string{"Authorization: Basic YWRtaW46c2VjcmV0"}}, want: refused(401, "missing_token")},
		}},
	{host: "forward.test", body: "route {\nforward_auth {$LEGACY} {\nuri " + authCheck +
		"\nheader_up -Authorization\ncopy_headers X-User>X-Token-Name\n}\nGATE\nPROXY\n}"},
	{host: "forward-after.test", body: "GATE\nforward_auth {$LEGACY} {\nuri " + authCheck +
		"\nheader_up -Authorization\nheader_up -X-Token-*\n}\nPROXY"},
	{host: "retry.test",
		body: "handle {\nGATE\nreverse_proxy 127.0.0.1:1 {$PLAIN} {\nlb_policy first\nfail_duration 1m\n" +
			"lb_try_duration 2s\nlb_try_interval 1ms\n}\n}"},
	{host: "h2c.test", body: "handle {\nGATE\nreverse_proxy h2c://{$PLAIN}\n}"},
	{host: "invoke.test", body: "invoke gated"},
	{host: "size.test", body: "request_body {\nmax_size 10\n}\nhandle {\nGATE\nPROXY\n}", attacks: []attack{
		{name: "larger body", wireRequest: wireRequest{host: "size.test", method: "POST", target: "/plain/write",
			header: by("$C"), body: "01234567890"},
			want: []verdict{{outcome: mayPass, status: []int{400, 413}, token: "$C"}}},
	}},
	{host: "timeouts.test", body: "timeouts {\nread_timeout 5s\n}\nhandle {\nGATE\nPROXY\n}"},
}

// common returns the attacks that are run against every combination.
func (c combination) common() []attack {
	good, refuses := c.good, c.refuses
	if good == nil {
		good = passed("$R")
	}
	if refuses == nil {
		refuses = refused
	}
	at := func(r wireRequest) wireRequest {
		r.host = c.host
		return r
	}
	return []attack{
		{name: "good", wireRequest: at(get("/plain/read", by("$R")...)), want: good},
		{name: "spoofed", wireRequest: at(get("/plain/read", by("$R", spoofed...)...)), want: good},
		{name: "named in Connection", wireRequest: at(nominating("Authorization, X-Token-Name, X-Token-Id")),
			want: good},
		{name: "no token", wireRequest: at(get("/plain/read", spoofed...)), want: refuses(401, "missing_token")},
		{name: "bad token", wireRequest: at(get("/plain/read", by("$U", spoofed...)...)),
			want: refuses(401, "unknown_token")},
		{name: "expired token", wireRequest: at(get("/plain/read", by("$E")...)),
			want: refuses(401, "expired_token", "$E")},
		{name: "scope missing", wireRequest: at(post("x", by("$R")...)),
			want: refuses(403, "insufficient_scope", "$R")},
		{name: "path", wireRequest: at(get("/plain/../plain/read", by("$R")...)), want: refuses(400, "invalid_path")},
	}
}

// inspectedResponses returns attacks that request responses which the gate must inspect, from
// a client that accepts encoded responses.
func inspectedResponses(host string) []attack {
	asks := func(response string) wireRequest {
		return wireRequest{host: host, target: "/plain/read?answer=" + response,
			header: by("$R", "Accept-Encoding: gzip, zstd")}
	}
	return []attack{
		{name: "redirect", wireRequest: asks("redirect"), want: answered("$R", 400, "")},
		{name: "HTML", wireRequest: asks("html"), want: answered("$R", 404, "")},
		{name: "credential repeated", wireRequest: asks("echo-400"), want: answered("$R", 400, "")},
		{name: "credential refused", wireRequest: asks("401"), want: answered("$R", 502, "")},
		{name: "encoded", wireRequest: asks("gzip"), want: answered("$R", 400, "")},
	}
}

// TestSecurityOperators tries configurations that operators might write around a gate. None of
// them may reveal a secret or let an unauthorized request through.
func TestSecurityOperators(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, operatorsConfig(), backendResponses)
	wires := a.wires()[:2]
	for _, c := range combinations {
		t.Run(strings.TrimSuffix(c.host, ".test"), func(t *testing.T) {
			a.run(t, wires, c.common())
			a.run(t, wires, c.attacks)
		})
	}
	// log_credentials shows what Caddy normally hides, but must not show a token's secret.
	t.Run("log_credentials", func(t *testing.T) {
		mark := a.logMark()
		response := h1{"127.0.0.1:" + a.env["ALIASES"]}.exchange(wireRequest{host: "handle.test", method: "GET",
			target: "/plain/read", header: by(a.tokens["$R"])}, 1)[0]
		if response.status != http.StatusOK {
			t.Errorf("got response %+v", response)
		}
		for _, secret := range a.secrets() {
			checkNoSecret(t, "the response", response.text(), secret)
		}
		eventually(t, "the log shows the token's ID",
			func() bool { return strings.Contains(a.logSince(mark), "Bearer "+a.tokens["$R"][:17]+"…REDACTED") },
			noNote{})
		for _, token := range a.tokens {
			checkNoSecret(t, "the log", a.logSince(mark), token)
		}
	})
}

func operatorsConfig() string {
	var b strings.Builder
	b.WriteString(strings.Replace(testbedHead,
		"expected_underscore_headers X_Token_* X-Token_* X_Http_* X_Remote_* Remote_* X_Token.Name\n"+
			"\t\texpected_dot_headers X.Token.* X-Token.*", "log_credentials", 1))
	expand := strings.NewReplacer("GATE", gateBlock(routeLines), "REFUSING",
		gateBlock(routeLines+"refusals handle_errors\n"), "PROXY", proxy)
	b.WriteString("&(gated) {\n" + expand.Replace("route {\nGATE\nPROXY\n}") + "\n}\n")
	b.WriteString(testbedBlock(gatedMollyHost, "handle {\n"+gateBlock("routes mollymawk")+"import mollymawk\n}"))
	for _, c := range combinations {
		b.WriteString(testbedBlock(c.host, expand.Replace(c.body)))
	}
	return b.String()
}

func sawHeader(name, want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.seen[0].header.Get(name); got != want {
			t.Errorf("the backend saw %s: %q, want %q", name, got, want)
		}
	}
}

func bodyHas(want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.responses[0].body; !strings.Contains(got, want) {
			t.Errorf("the client got %q, want it to contain %q", shortened(got), want)
		}
	}
}

// legacySawNothing checks that error routes sent no requests to the second backend.
func legacySawNothing(t *testing.T, x *exchange) {
	if seen := x.legacy.requests(); len(seen) > 0 {
		t.Errorf("the second backend saw %v: %q", seen, x.legacy.input())
	}
}
