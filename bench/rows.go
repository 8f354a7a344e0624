package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// row describes a server to measure. The baseline is a Caddy that serves the same responses
// without the row's check.
type row struct {
	name string
	// proxied is set if the response comes from a backend rather than the server itself.
	proxied bool
	// secure enables TLS.
	secure bool
	// control is set if the server is identical to its baseline.
	control bool
	// tokens is the number of tokens in the store; requests use some of them.
	tokens int
	// limited sets rate limits and quotas on the tokens.
	limited bool
	// invalid makes every second request use an invalid token.
	invalid bool
	// churn changes tokens during the measurement.
	churn bool
	// check returns the directive to measure. If there is no directive, check is nil.
	check func(b *builder) (string, error)
	// authorization is sent instead of a bearer token, unless it is empty.
	authorization string
	// program is the server to run instead of Caddy, unless it is empty. config returns that
	// server's configuration.
	program string
	config  func(b *builder) string
}

// gateRow returns a row for a gate whose store has this many tokens.
func gateRow(name string, tokens int) row {
	return row{name: name, tokens: tokens, check: func(*builder) (string, error) { return gateDirective, nil }}
}

const gateDirective = `bearer_auth {
		routes mollymawk
		failure_limit off
	}`

// rows returns all rows in table order. large is the number of tokens in the large store.
func rows(large int) []row {
	limits, invalid, churned := gateRow("gate, 10k tokens, limits", 10_000),
		gateRow("gate, 10k tokens, half invalid", 10_000), gateRow("gate, 10k tokens, 100 changes/s", 10_000)
	limits.limited, invalid.invalid, churned.churn = true, true, true
	kinds := []row{
		{name: "control", control: true},
		gateRow("gate, 1 token", 1),
		gateRow("gate, 10k tokens", 10_000),
		gateRow(fmt.Sprintf("gate, %s tokens", short(large)), large),
		limits, invalid, churned,
		{name: "lower bound", check: lowerBoundCheck, authorization: "Bearer " + unknownToken},
		{name: "header matcher", check: headerMatcher},
		{name: "basic_auth", check: basicAuth, authorization: basicCredential},
		{name: "forward_auth", check: forwardAuth},
	}
	var all []row
	for _, proxied := range []bool{false, true} {
		for _, r := range kinds {
			r.proxied = proxied
			r.name = group(proxied) + r.name
			all = append(all, r)
		}
	}
	for _, r := range []row{{name: "respond over TLS/control", control: true},
		gateRow("respond over TLS/gate, 10k tokens", 10_000)} {
		r.secure = true
		all = append(all, r)
	}
	for _, r := range []row{
		{name: "nginx", program: "nginx", config: func(b *builder) string { return nginxConfig(b, false) }},
		{name: "nginx, one-token map", program: "nginx",
			config: func(b *builder) string { return nginxConfig(b, true) }},
		{name: "HAProxy", program: "haproxy", config: func(b *builder) string { return haproxyConfig(b, false) }},
		{name: "HAProxy, one-token map", program: "haproxy",
			config: func(b *builder) string { return haproxyConfig(b, true) }},
	} {
		if _, err := exec.LookPath(r.program); err == nil {
			r.proxied = true
			r.name = group(true) + r.name
			all = append(all, r)
		}
	}
	return all
}

func group(proxied bool) string {
	if proxied {
		return "proxy/"
	}
	return "respond/"
}

func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n%1_000 == 0:
		return fmt.Sprintf("%dk", n/1_000)
	}
	return fmt.Sprint(n)
}

// builder starts the rows' servers.
type builder struct {
	dir     string
	backend string // the backend's address
	unknown []string
	stores  *stores
	// admin gives every Caddy an admin endpoint.
	admin bool
	count int // servers built so far

	// These describe the server being built.
	server *server
	ctx    context.Context
	row    *row
	home   string
	tokens []string
}

// build starts a row's server and returns it with a load for it.
func (b *builder) build(ctx context.Context, r *row) (*server, *load, error) {
	b.count++
	b.ctx, b.row, b.home = ctx, r, filepath.Join(b.dir, fmt.Sprint("server-", b.count))
	if err := os.Mkdir(b.home, 0o700); err != nil {
		return nil, nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, nil, err
	}
	b.server = &server{address: address, secure: r.secure, log: filepath.Join(b.home, "log")}
	b.tokens = []string{"mmk_placeholder"}
	if r.tokens > 0 {
		if err := b.copyStore(); err != nil {
			return nil, nil, err
		}
	}
	if r.program != "" {
		err = b.startProgram()
	} else {
		err = b.startCaddy()
	}
	if err == nil {
		err = b.server.await(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return b.server, b.load(), nil
}

// copyStore creates the server's store and fills it with the row's tokens.
func (b *builder) copyStore() error {
	filled, err := b.stores.fill(b.row.tokens, b.row.limited)
	if err != nil {
		return err
	}
	b.tokens = filled.tokens
	return copyFile(filled.path, b.storePath())
}

func (b *builder) storePath() string   { return filepath.Join(b.home, "tokens.db") }
func (b *builder) adminSocket() string { return filepath.Join(b.home, "admin.sock") }

func copyFile(from, to string) error {
	content, err := os.Open(from)
	if err != nil {
		return err
	}
	defer content.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := target.ReadFrom(content); err != nil {
		return err
	}
	return target.Close()
}

func (b *builder) startCaddy() error {
	check := ""
	if b.row.check != nil {
		var err error
		if check, err = b.row.check(b); err != nil {
			return err
		}
	}
	var global strings.Builder
	global.WriteString("\tpersist_config off\n\tauto_https disable_redirects\n" +
		"\tlog {\n\t\tlevel ERROR\n\t}\n\tservers {\n\t\tprotocols h1\n\t}\n")
	if b.row.churn || b.admin {
		fmt.Fprintf(&global, "\tadmin unix/%s\n", b.adminSocket())
	} else {
		global.WriteString("\tadmin off\n")
	}
	if b.row.tokens > 0 {
		fmt.Fprintf(&global, "\tapi_tokens {\n\t\tstore bbolt %s\n\t\taccount default {\n"+
			"\t\t\tupstream_token %s\n\t\t}\n\t\tmax_lifetime unlimited\n\t}\n", b.storePath(), upstreamToken)
	}
	site, secure := "http://"+b.server.address, ""
	if b.row.secure {
		site, secure = "https://"+b.server.address, "tls internal"
		global.WriteString("\tskip_install_trust\n\tdefault_sni 127.0.0.1\n\tstorage file_system " +
			filepath.Join(b.home, "storage") + "\n")
	}
	handler := fmt.Sprintf("respond `%s`", body)
	if b.row.proxied {
		// By default, Caddy keeps 32 idle connections. With more clients than that, the cost
		// of opening connections would dominate the measurement.
		handler = fmt.Sprintf(
			"reverse_proxy %s {\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host 512\n\t\t}\n\t}", b.backend)
	}
	config := fmt.Sprintf("{\n%s}\n%s {\n\tbind 127.0.0.1\n\t%s\n\troute {\n\t%s\n\t%s\n\t}\n}\n", global.String(),
		site, secure, check, handler)
	return b.server.startCaddy(b.ctx, b.home, config)
}

// upstreamToken is as long as Mollymawk's tokens.
const upstreamToken = "3f9c1d52-7b0e-4a86-9d41-c2e8f05a6b17"

// body is the response body that the backend and respond send. It is about 200 bytes long.
var body = `{"success":true,"status":200,"data":"` + strings.Repeat("unikernel ", 16) + `"}`

// load returns a load for the server being built.
func (b *builder) load() *load {
	l := &load{server: b.server}
	for i, token := range b.tokens {
		l.requests, l.good = append(l.requests, b.request("Bearer "+token)), append(l.good, true)
		if b.row.invalid {
			invalid := b.unknown[i%len(b.unknown)]
			if i%4 < 2 {
				invalid = strings.Replace(invalid, "_", "0", 1) // malformed
			}
			l.requests, l.good = append(l.requests, b.request("Bearer "+invalid)), append(l.good, false)
		}
	}
	if b.row.authorization != "" {
		l.requests[0] = b.request(b.row.authorization)
	}
	return l
}

func (b *builder) request(authorization string) []byte {
	return fmt.Appendf(nil, "GET /api/unikernels HTTP/1.1\r\nHost: %s\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"+
		"Authorization: %s\r\n\r\n", b.server.address, authorization)
}

// lowerBoundCheck returns a directive that accepts a single token and needs no store.
func lowerBoundCheck(*builder) (string, error) { return "lower_bound " + unknownToken, nil }

// headerMatcher checks one token with Caddy's header matcher.
func headerMatcher(b *builder) (string, error) {
	return fmt.Sprintf(
		"@good header Authorization \"Bearer %s\"\n\t@bad not header Authorization \"Bearer %s\"\n\trespond @bad 401",
		b.tokens[0], b.tokens[0]), nil
}

const (
	basicPassword   = "benchmark"
	basicCredential = "Basic Y2k6YmVuY2htYXJr" // ci:benchmark
)

func basicAuth(*builder) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(basicPassword), bcrypt.DefaultCost)
	return fmt.Sprintf("basic_auth {\n\t\tci %s\n\t}", hash), err
}

// forwardAuth starts a service that accepts one token, and returns a directive that uses the
// service.
func forwardAuth(b *builder) (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte("Bearer " + b.tokens[0]))
	if err := b.server.startSelf(b.ctx, "auth-service", address, hex.EncodeToString(digest[:])); err != nil {
		return "", err
	}
	if err := (&server{address: address}).await(b.ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf(
		"forward_auth %s {\n\t\turi /\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host 512\n\t\t}\n\t}",
		address), nil
}

func (b *builder) startProgram() error {
	path := filepath.Join(b.home, "config")
	if err := os.WriteFile(path, []byte(b.row.config(b)), 0o600); err != nil {
		return err
	}
	args := []string{"-f", path, "-db"}
	if b.row.program == "nginx" {
		args = []string{"-c", path, "-p", b.home, "-e", filepath.Join(b.home, "error.log")}
	}
	return b.server.start(exec.CommandContext(b.ctx, b.row.program, args...)) //nolint:gosec // one of two fixed names
}

func nginxConfig(b *builder, check bool) string {
	known, refuse := "", ""
	if check {
		known = fmt.Sprintf("map $http_authorization $good { default 0; \"Bearer %s\" 1; }", b.tokens[0])
		refuse = "if ($good = 0) { return 401; }"
	}
	return fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid;
events { worker_connections 1024; }
http {
	access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s;
	fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	keepalive_requests 1000000000;
	%[2]s
	upstream backend { server %[3]s; keepalive 512; keepalive_requests 1000000000; }
	server {
		listen %[4]s;
		location / { %[5]s proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
}
`, b.home, known, b.backend, b.server.address, refuse)
}

func haproxyConfig(b *builder, check bool) string {
	refuse := ""
	if check {
		refuse = fmt.Sprintf("http-request deny deny_status 401 unless { req.hdr(Authorization) -m str \"Bearer %s\" }",
			b.tokens[0])
	}
	return fmt.Sprintf(`global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	http-reuse always
frontend front
	bind %s
	%s
	default_backend back
backend back
	server only %s
`, b.server.address, refuse, b.backend)
}
