package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// testbed is a single Caddy with a site for each kind of gate, in front of backends that
// record everything. Caddy logs at the debug level, so the tests can find secrets in any log
// message.
type testbed struct {
	*caddy
	mollymawk mollymawkBackend
	plain     *goBackend
	// legacy is the second backend, to which operators direct error routes and forward_auth.
	legacy *goBackend
	// upstream is the upstream token of the account "default"; stale is an upstream token that
	// no backend accepts.
	upstream, stale string
	// session is the cookie of a browser session with Mollymawk.
	session string
	// tokens holds the tokens by their names in the tables (see mintAll).
	tokens map[string]string
	names  *strings.Replacer
	// client makes the victims' calls, and victims counts them.
	client  *http.Client
	victims int
	// counted holds the counts as of the last attack.
	counted map[string]uses
	// shown contains the log lines with secrets that the tests have already reported.
	shown map[string]bool
}

// testbedSite is the configuration of one of the testbed's hosts.
type testbedSite struct {
	// plain selects the net/http backend instead of Mollymawk.
	plain bool
	// victims sends the next client to the same site.
	victims bool
}

const (
	// These gates are in front of the two backends, both without and with browser sessions.
	gatedHost, gatedMollyHost     = "gated.test", "molly.test"
	browserHost, browserMollyHost = "browser.test", "browser-molly.test"
	// These gates come after a handle_path, a strip_prefix and a rewrite.
	pathHost, prefixHost, rewriteHost = "path.test", "prefix.test", "rewrite.test"
	// This gate's backend is down.
	awayHost = "away.test"
)

var testbedSites = map[string]testbedSite{
	gatedHost: {plain: true, victims: true}, browserHost: {plain: true, victims: true},
	gatedMollyHost: {}, browserMollyHost: {},
	pathHost: {plain: true, victims: true}, prefixHost: {plain: true, victims: true},
	rewriteHost: {plain: true, victims: true},
	awayHost:    {plain: true},
}

// routeLines contains the routes to the net/http backend.
const routeLines = `
	route GET /plain/read plain:read
	route POST /plain/write plain:write
	route DELETE /plain/write plain:write
	route POST /plain/upload plain:upload {
		upload
	}
	route GET /plain/socket plain:socket {
		websocket
	}
	route GET /plain/*/console plain:console
	route GET /wild/* wild:read
	route POST /wild/write wild:write
	route GET /wild/%C3%A9 wild:write
	max_body 1KiB
	max_upload 64KiB
`

// testbedHead contains the testbed's global options. The port {$ALIASES} admits header names
// with "_" and ".".
const testbedHead = `
{
	debug
	admin unix/{$DIR}/admin.sock
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	servers 127.0.0.1:{$ALIASES} {
		expected_underscore_headers X_Token_* X-Token_* X_Http_* X_Remote_* Remote_* X_Token.Name
		expected_dot_headers X.Token.* X-Token.*
	}
	api_tokens {
		store bbolt {$DIR}/tokens.db
		account default {
			upstream_token {env.UPSTREAM}
		}
		account stale {
			upstream_token {env.STALE}
		}
		account bare
	}
}

(mollymawk) {
	reverse_proxy {$BACKEND} {
		transport http {
			versions 1.1
			keepalive off
		}
	}
}
`

// testbedBlock returns a host's site block, which serves all protocols.
func testbedBlock(host, body string) string {
	return fmt.Sprintf(
		"http://%[1]s:{$HTTP}, https://%[1]s:{$HTTPS}, http://%[1]s:{$ALIASES} {\n\ttls internal\n\tlog\n%[2]s\n}\n",
		host, body)
}

func gateBlock(options string) string {
	return "bearer_auth {\nfailure_limit off\n" + options + "\n}\n"
}

func testbedConfig() string {
	routes := gateBlock(routeLines)
	const session, plain = "browser_sessions molly_session\n", "reverse_proxy {$PLAIN}\n"
	return testbedHead +
		testbedBlock(gatedHost, "handle {\n"+routes+plain+"}") +
		testbedBlock(browserHost, "handle {\n"+gateBlock(routeLines+session)+plain+"}") +
		testbedBlock(gatedMollyHost, "handle {\n"+gateBlock("routes mollymawk\nmax_body 1KiB\nmax_upload 64KiB\n")+
			"import mollymawk\n}") +
		testbedBlock(browserMollyHost, "handle {\n"+gateBlock("routes mollymawk\n"+session)+"import mollymawk\n}") +
		testbedBlock(pathHost, "handle_path /v1/* {\n"+routes+plain+"}\nrespond 404") +
		testbedBlock(prefixHost, "uri strip_prefix /v1\nhandle {\n"+routes+plain+"}") +
		testbedBlock(rewriteHost,
			"rewrite /old/* /plain/read\nrewrite /query /plain/read?new=1\nrewrite /dots /plain/../plain/read\n"+
				"handle {\n"+routes+plain+"}") +
		testbedBlock(awayHost, "handle {\n"+routes+"reverse_proxy 127.0.0.1:1\n}")
}

// startTestbed starts the testbed and creates its tokens.
func startTestbed(t *testing.T, config string, responses map[string]http.HandlerFunc) *testbed {
	t.Helper()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	a := &testbed{
		mollymawk: mollymawkBackend{backend},
		plain:     newGoBackend(t, responses),
		legacy:    newGoBackend(t, responses),
		upstream:  backend.AddToken("alice", "gate", 24*time.Hour),
		stale:     "5c1f8a52-57a5-4d3c-9f13-0d8a5e0c2b77",
		session:   backend.Session("alice"),
		client:    &http.Client{Transport: new(http.Transport)},
		shown:     make(map[string]bool),
	}
	a.caddy = startCaddy(t, config, map[string]string{
		"BACKEND": backend.Addr(), "PLAIN": a.plain.addr(), "LEGACY": a.legacy.addr(), "UPSTREAM": a.upstream,
		"STALE": a.stale, "ALIASES": freePort(t),
		// Also let an extended CONNECT over HTTP/2 reach the gate.
		"GODEBUG": "http2xconnect=1",
	})
	a.waitForCertificates(config)
	a.mintAll()
	return a
}

// mintAll creates the tokens that the tables use:
//
//	$R  may read from either backend     $C  may write, upload and create
//	$V  is the next client's             $A  may do everything
//	$I  is bound to another address      $L  is not valid yet
//	$E  has expired                      $X  was deleted
//	$W  has an unusual name              $M  is an admin token
//	$N  has an account without an upstream token
//	$S  has an account whose upstream token the backend refuses
//	$U  is well formed but unknown
//	$F  has $R's ID, another secret and a valid checksum
//	$Q  is the cookie of a browser session, $B the upstream token
func (a *testbed) mintAll() {
	a.t.Helper()
	reading := []string{"plain:read", "plain:console", "plain:socket", "wild:read", "unikernel:list",
		"unikernel:console"}
	all := []string{"*"}
	a.tokens = map[string]string{
		"$R": a.mint(map[string]any{"scopes": reading}),
		"$C": a.mint(map[string]any{"scopes": []string{"plain:write", "plain:upload", "wild:write", "unikernel:create",
			"unikernel:destroy", "block:delete"}}),
		"$A": a.mint(map[string]any{"scopes": all}),
		"$V": a.mint(map[string]any{"scopes": all}),
		"$I": a.mint(map[string]any{"scopes": all, "allowed_ips": []string{"192.0.2.0/24", "::1/128"}}),
		"$L": a.mint(map[string]any{"scopes": all, "not_before": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}),
		"$E": a.mint(map[string]any{"scopes": all, "expires_in": 1}),
		"$X": a.mint(map[string]any{"scopes": all}),
		"$W": a.mint(map[string]any{"scopes": all, "name": "50% naïve {env.UPSTREAM}"}),
		"$M": a.mint(map[string]any{"kind": "admin"}),
		"$N": a.mint(map[string]any{"scopes": all, "account": "bare"}),
		"$S": a.mint(map[string]any{"scopes": all, "account": "stale"}),
	}
	a.call(http.MethodDelete, "tokens/"+tokenID(a.tokens["$X"]), nil, http.StatusNoContent)
	a.tokens["$U"] = signToken("mmk_0123456789AB_" + strings.Repeat("aB3dE5gH", 4))
	a.tokens["$F"] = signToken(a.tokens["$R"][:17] + strings.Repeat("aB3dE5gH", 4))
	a.eventually("a token expires", func() bool {
		var token struct{ Status string }
		a.decode(a.getAdmin("/api_tokens/v1/tokens/"+tokenID(a.tokens["$E"])), &token)
		return token.Status == "expired"
	})
	pairs := []string{"$Q", a.session, "$B", a.upstream}
	for name, token := range a.tokens {
		var escaped strings.Builder
		for i := range len(token) {
			fmt.Fprintf(&escaped, "%%%02x", token[i])
		}
		pairs = append(pairs, escapedTwice(name), strings.ReplaceAll(escaped.String(), "%", "%25"), escapedName(name),
			escaped.String(), name, token, strings.ToLower(name), strings.ReplaceAll(token, "_", "%5f"))
	}
	a.names = strings.NewReplacer(pairs...)
}

// escapedName returns a placeholder for a token with every byte escaped. A token name in lower
// case stands for the token with escaped underscores.
func escapedName(name string) string { return "%(" + name + ")" }

// escapedTwice returns a placeholder for a token with every byte escaped twice.
func escapedTwice(name string) string { return "%%(" + name + ")" }

// signToken appends a checksum to text to turn it into a well-formed token.
func signToken(text string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	check := make([]byte, 6)
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = digits[sum%62]
		sum /= 62
	}
	return text + string(check)
}

// mint creates a token through the admin API.
func (c *caddy) mint(fields map[string]any) string {
	c.t.Helper()
	body := map[string]any{"name": "test", "expires_in": "90d"}
	for name, value := range fields {
		body[name] = value
	}
	var created struct{ Token string }
	c.decode(c.call(http.MethodPost, "tokens", body, http.StatusCreated), &created)
	return created.Token
}

// call calls the admin API and returns the response body.
func (c *caddy) call(method, path string, body any, want int) string {
	c.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, "http://caddy/api_tokens/v1/"+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.admin().Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != want {
		c.t.Fatalf("%s %s: got status %d, want %d: %v", method, path, response.StatusCode, want, err)
	}
	return string(content)
}

func (c *caddy) decode(text string, into any) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		c.t.Fatal(err)
	}
}

// uses holds a token's counts.
type uses struct{ allowed, denied int }

// counts returns the counts of all tokens by ID.
func (c *caddy) counts() map[string]uses {
	c.t.Helper()
	var list struct {
		Data []struct {
			ID          string
			UsageCount  int `json:"usage_count"`
			DeniedCount int `json:"denied_count"`
		}
	}
	c.decode(c.getAdmin("/api_tokens/v1/tokens?limit=200"), &list)
	counts := make(map[string]uses)
	for _, token := range list.Data {
		counts[token.ID] = uses{token.UsageCount, token.DeniedCount}
	}
	return counts
}

// secrets returns all values that must not appear anywhere.
func (a *testbed) secrets() []string {
	secrets := []string{a.upstream, a.stale}
	for _, token := range a.tokens {
		secrets = append(secrets, token)
	}
	return secrets
}

// logMark returns the current length of the log.
func (c *caddy) logMark() int {
	c.output.mu.Lock()
	defer c.output.mu.Unlock()
	return c.output.text.Len()
}

// logSince returns the log since a mark.
func (c *caddy) logSince(mark int) string {
	c.output.mu.Lock()
	defer c.output.mu.Unlock()
	return string(c.output.text.Bytes()[mark:])
}
