package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// combination is a way in which operators write a site with a gate.
type combination struct {
	// host is the site's, body what stands in it; GATE stands for a gate, REFUSING
	// for one that leaves refusals to error routes, and PROXY for the backend.
	host, body string
	// good is what a good request comes to; by default it passes.
	good []verdict
	// refuses says how refusals are answered; by default by the gate.
	refuses func(status int, code string, token ...string) []verdict
	// attacks are made besides those that every combination stands.
	attacks []attack
}

// byErrorRoutes is for a site whose error routes write the body of what is
// otherwise the gate's answer.
func byErrorRoutes(status int, code string, token ...string) []verdict {
	want := refusedElsewhere(status, token...)
	want[0].code = code
	return want
}

// elsewhere is for one whose error routes ask another backend, which says 200.
func elsewhere(_ int, _ string, token ...string) []verdict {
	return refusedElsewhere(http.StatusOK, token...)
}

const (
	// leaks is how an operator might show what a request came with.
	leaks = "[{http.request.header.Authorization}|{http.request.header.X-Token-Name}|{http.request.header.X-Token-Id}|{http.auth.user.name}|{http.auth.candidate.name}]"
	proxy = "reverse_proxy {$PLAIN}"
	// authCheck is what forward_auth asks.
	authCheck = "/check"
	// hash is of the password "secret".
	hash = "$2a$04$m9GvXGWaTYGcFMoVwDmiK.iMqXAsmhq.W5VC6.9D5Gzmx67LKa/qS"
)

var combinations = []combination{
	{host: "handle.test", body: "handle {\nGATE\nPROXY\n}"},
	{host: "site.test", body: "GATE\nPROXY"},
	{host: "route.test", body: "route {\nGATE\nPROXY\n}"},
	{host: "matcher.test", body: "@api path /plain/* /wild/*\nGATE\nhandle @api {\nPROXY\n}\nhandle {\nrespond 404\n}"},
	{host: "fallback.test", body: "handle /other/* {\nPROXY\n}\nhandle {\nGATE\nPROXY\n}"},
	{host: "encode.test", body: "encode gzip zstd\nhandle {\nGATE\nPROXY\n}", attacks: answers("encode.test")},
	{host: "encode-after.test", body: "handle {\nGATE\nencode {\nminimum_length 1\n}\nPROXY\n}",
		attacks: answers("encode-after.test")},
	{host: "encode-before.test", body: "route {\nencode {\nminimum_length 1\n}\nGATE\nPROXY\n}",
		attacks: answers("encode-before.test")},
	{host: "logs.test",
		body: "log_append sent {http.request.header.Authorization}\nlog_append who {http.auth.user.name}\nlog_append given {http.reverse_proxy.header.X-Echo}\nhandle {\nGATE\nlog_append later {http.request.header.Authorization}\nPROXY\n}"},
	{host: "header.test", body: "header >X-Leak " + leaks + "\nroute {\nGATE\nheader X-Later " + leaks +
		"\nheader >X-Deferred " + leaks + "\nPROXY\n}"},
	{host: "header-down.test",
		body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_down X-Leak {http.request.header.Authorization}\nheader_down X-Who " + leaks + "\n}\n}"},
	{host: "header-up.test", body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_up X-Copy " + leaks +
		"\nheader_up X-Who {http.auth.user.name}\n}\n}",
		attacks: []attack{{id: "odd name", wireRequest: wireRequest{host: "header-up.test", header: by("$W")},
			want: passed("$W"), then: sawHeader("X-Who", "50% naïve {env.UPSTREAM}")}}},
	// What security.md says to write where there are caches.
	{host: "private.test", body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_down Cache-Control private\n}\n}",
		attacks: []attack{
			{id: "CACHE-02 made private",
				wireRequest: wireRequest{host: "private.test", target: "/plain/read?answer=public", header: by("$R")},
				want:        passed("$R"), then: hasHeader("Cache-Control", "private")}}},
	{host: "header-own.test",
		body: "handle {\nGATE\nreverse_proxy {$PLAIN} {\nheader_up Authorization \"Bearer {env.UPSTREAM}\"\n}\n}",
		attacks: []attack{
			{id: "HOP-08 named in Connection", wireRequest: wireRequest{host: "header-own.test",
				header: by("$R", "Connection: Authorization")}, want: passed("$R")}}},
	{host: "request-header.test",
		body: "handle {\nGATE\nrequest_header X-Who {http.auth.user.name}\nrequest_header X-Copy {http.request.header.Authorization}\nPROXY\n}",
		attacks: []attack{{id: "odd name", wireRequest: wireRequest{host: "request-header.test", header: by("$W")},
			want: passed("$W"), then: sawHeader("X-Who", "50% naïve {env.UPSTREAM}")}}},
	{host: "request-header-before.test",
		body: "route {\nrequest_header X-Token-Name operator\nrequest_header X-Seen {http.request.header.X-Token-Id}\nGATE\nPROXY\n}"},
	{host: "templates.test", body: "handle {\nGATE\ntemplates {\nmime text/html text/plain\n}\nPROXY\n}",
		attacks: []attack{
			{id: "LOG-07 template",
				wireRequest: wireRequest{host: "templates.test", target: "/plain/read?answer=template",
					header: by("$R")}, want: passed("$R"), then: bodyHas("rendered")},
			{id: "LOG-07 template of an upload", wireRequest: wireRequest{host: "templates.test", method: "POST",
				target: "/plain/upload?answer=template", header: by("$C"), body: "hello"}, want: passed("$C"),
				then: bodyHas("rendered")},
			{id: "LOG-07 template, include",
				wireRequest: wireRequest{host: "templates.test", target: "/plain/read?answer=include",
					header: by("$R")}, want: []verdict{{outcome: passes, status: []int{200, 401, 500}, token: "$R"}}},
		}},
	{host: "errors.test", body: "handle {\nREFUSING\nPROXY\n}\nhandle_errors {\nrespond \"" + leaks +
		" {http.error.status_code} {http.request.header.Cookie}\"\n}", refuses: byErrorRoutes, attacks: []attack{
		{id: "LOG-06 token in the URL", wireRequest: wireRequest{host: "errors.test", target: "/plain/read?t=$R"},
			want: refused(400, "token_in_url")},
		{id: "LOG-06 TRACE", wireRequest: wireRequest{host: "errors.test", method: "TRACE", header: by("$R")},
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
			{id: "IDH-09 spoofed", wireRequest: wireRequest{host: "legacy.test", header: by("$U", spoofed...)},
				want: refusedElsewhere(200)},
			{id: "IDH-09 spoofed, Connection",
				wireRequest: wireRequest{host: "legacy.test",
					header: by("$U", "X-Token-Name: root", "Connection: X-Forwarded-For")},
				want: refusedElsewhere(200)},
			{id: "IDH-09 trailers", wireRequest: wireRequest{host: "legacy.test", method: "POST",
				target: "/plain/write", header: by("$U", "Trailer: X-Token-Name"), body: "x",
				trailer: []string{"X-Token-Name: root"}}, want: refusedElsewhere(200)},
			{id: "IDH-09 tunnel", wireRequest: tunnel("legacy.test", by("$R")...), want: refusedElsewhere(405),
				then: legacySawNothing},
			{id: "IDH-09 tunnel, no token", wireRequest: tunnel("legacy.test"), want: refusedElsewhere(405),
				then: legacySawNothing},
			{id: "IDH-09 TRACE", wireRequest: wireRequest{host: "legacy.test", method: "TRACE", header: by("$R")},
				want: refusedElsewhere(405), then: legacySawNothing},
			{id: "IDH-09 upgrade", wireRequest: wireRequest{host: "legacy.test", target: "/plain/socket",
				header: by("$U", "Connection: Upgrade", "Upgrade: websocket")}, want: refusedElsewhere(200)},
		}},
	{host: "basic.test", body: "route {\nbasic_auth {\nadmin " + hash + "\n}\nGATE\nPROXY\n}",
		good: refusedElsewhere(401), refuses: func(int, string, ...string) []verdict { return refusedElsewhere(401) },
		attacks: []attack{
			{id: "CFG-13 password alone",
				wireRequest: wireRequest{host: "basic.test", header: []string{"Authorization: Basic YWRtaW46c2VjcmV0"}},
				want:        refused(401, "missing_token")},
			{id: "CFG-13 password and token",
				wireRequest: wireRequest{host: "basic.test", header: []string{"Authorization: Basic YWRtaW46c2VjcmV0",
					bearerLine("$R")}}, want: refused(400, "invalid_request")},
		}},
	{host: "basic-after.test", body: "basic_auth {\nadmin " + hash + "\n}\nGATE\nPROXY",
		good: answeredByNobody("$R", 401, ""), attacks: []attack{
			{id: "CFG-13 password alone", wireRequest: wireRequest{host: "basic-after.test",
				header: []string{"Authorization: Basic YWRtaW46c2VjcmV0"}}, want: refused(401, "missing_token")},
		}},
	{host: "forward.test", body: "route {\nforward_auth {$LEGACY} {\nuri " + authCheck +
		"\nheader_up -Authorization\ncopy_headers X-User>X-Token-Name\n}\nGATE\nPROXY\n}"},
	{host: "forward-after.test", body: "GATE\nforward_auth {$LEGACY} {\nuri " + authCheck +
		"\nheader_up -Authorization\nheader_up -X-Token-*\n}\nPROXY"},
	{host: "retry.test",
		body: "handle {\nGATE\nreverse_proxy 127.0.0.1:1 {$PLAIN} {\nlb_policy first\nfail_duration 1m\nlb_try_duration 2s\nlb_try_interval 1ms\n}\n}"},
	{host: "h2c.test", body: "handle {\nGATE\nreverse_proxy h2c://{$PLAIN}\n}"},
	{host: "invoke.test", body: "invoke gated"},
	{host: "size.test", body: "request_body {\nmax_size 10\n}\nhandle {\nGATE\nPROXY\n}", attacks: []attack{
		{id: "larger body", wireRequest: wireRequest{host: "size.test", method: "POST", target: "/plain/write",
			header: by("$C"), body: "01234567890"},
			want: []verdict{{outcome: mayPass, status: []int{400, 413}, token: "$C"}}},
	}},
	{host: "timeouts.test", body: "timeouts {\nread_timeout 5s\n}\nhandle {\nGATE\nPROXY\n}"},
}

// common are the attacks that every combination stands.
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
		{id: "good", wireRequest: at(get("/plain/read", by("$R")...)), want: good},
		{id: "spoofed", wireRequest: at(get("/plain/read", by("$R", spoofed...)...)), want: good},
		{id: "named in Connection", wireRequest: at(nominating("Authorization, X-Token-Name, X-Token-Id")), want: good},
		{id: "no token", wireRequest: at(get("/plain/read", spoofed...)), want: refuses(401, "missing_token")},
		{id: "bad token", wireRequest: at(get("/plain/read", by("$U", spoofed...)...)),
			want: refuses(401, "unknown_token")},
		{id: "expired token", wireRequest: at(get("/plain/read", by("$E")...)),
			want: refuses(401, "expired_token", "$E")},
		{id: "scope missing", wireRequest: at(post("x", by("$R")...)), want: refuses(403, "insufficient_scope", "$R")},
		{id: "path", wireRequest: at(get("/plain/../plain/read", by("$R")...)), want: refuses(400, "invalid_path")},
	}
}

// answers are attacks that ask for answers which must be looked into, by a client
// that takes encoded ones.
func answers(host string) []attack {
	asks := func(answer string) wireRequest {
		return wireRequest{host: host, target: "/plain/read?answer=" + answer,
			header: by("$R", "Accept-Encoding: gzip, zstd")}
	}
	return []attack{
		{id: "ANS redirect", wireRequest: asks("redirect"), want: answered("$R", 400, "")},
		{id: "ANS HTML", wireRequest: asks("html"), want: answered("$R", 404, "")},
		{id: "ANS repeated", wireRequest: asks("echo-400"), want: answered("$R", 400, "")},
		{id: "ANS credential refused", wireRequest: asks("401"), want: answered("$R", 502, "")},
		{id: "ANS encoded", wireRequest: asks("gzip"), want: answered("$R", 400, "")},
	}
}

// TestSecurityOperators tries what operators write around a gate. Nothing of it may show
// a secret or let a request past.
func TestSecurityOperators(t *testing.T) {
	t.Parallel()
	a := startArena(t, operatorsConfig(), backendAnswers)
	wires := a.wires()[:2]
	for _, c := range combinations {
		t.Run(strings.TrimSuffix(c.host, ".test"), func(t *testing.T) {
			a.run(t, wires, c.common())
			a.run(t, wires, c.attacks)
		})
	}
	// LOG-04: log_credentials shows what Caddy hides, but no secret of a token.
	t.Run("log_credentials", func(t *testing.T) {
		mark := a.logMark()
		answer := h1{"127.0.0.1:" + a.env["ALIASES"]}.exchange(wireRequest{host: "handle.test", method: "GET",
			target: "/plain/read", header: by(a.tokens["$R"])}, 1)[0]
		if answer.status != http.StatusOK {
			t.Errorf("the answer is %+v", answer)
		}
		for _, secret := range a.secrets() {
			checkNoSecret(t, "the answer", answer.text(), secret)
		}
		eventually(t, "the log shows whose credential it is",
			func() bool { return strings.Contains(a.logSince(mark), "Bearer "+a.tokens["$R"][:17]+"…REDACTED") },
			noNote{})
		for _, token := range a.tokens {
			checkNoSecret(t, "the log", a.logSince(mark), token)
		}
	})
}

func operatorsConfig() string {
	var b strings.Builder
	b.WriteString(strings.Replace(arenaHead,
		"expected_underscore_headers X_Token_* X-Token_* X_Http_* X_Remote_* Remote_* X_Token.Name\n\t\texpected_dot_headers X.Token.* X-Token.*", "log_credentials", 1))
	expand := strings.NewReplacer("GATE", gateBlock(routeLines), "REFUSING",
		gateBlock(routeLines+"refusals handle_errors\n"), "PROXY", proxy)
	b.WriteString("&(gated) {\n" + expand.Replace("route {\nGATE\nPROXY\n}") + "\n}\n")
	b.WriteString(arenaBlock(gatedMollyHost, "handle {\n"+gateBlock("routes mollymawk")+"import mollymawk\n}"))
	for _, c := range combinations {
		b.WriteString(arenaBlock(c.host, expand.Replace(c.body)))
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
		if got := x.answers[0].body; !strings.Contains(got, want) {
			t.Errorf("the client got %q, want %q in it", shortened(got), want)
		}
	}
}

// legacySawNothing checks that an error route wasn't asked.
func legacySawNothing(t *testing.T, x *exchange) {
	if seen := x.legacy.requests(); len(seen) > 0 {
		t.Errorf("the backend of the error route saw %v: %q", seen, x.legacy.input())
	}
}
