package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// straySite responds in all the ways that make Caddy log a request: with and without error
// routes, from failing handlers after the gate, and from the admin site.
const straySite = globals + `
(gated) {
	log {
		output file {$DIR}/access.log
	}
	route {
		rewrite /before /rewritten
		uri /before2 replace before2 rewritten
		request_header /before X-Seen {header.X-Api-Key}
		@forwarded path /before3
		forward_auth @forwarded {$BACKEND} {
			uri /style.css
		}
		bearer_auth {
			route GET /* plain:read
			failure_limit off
			{args[0]} {args[1]}
		}
		error /503 "overloaded" 503
		error /404 "not here" 404
		rewrite /rewritten /elsewhere
		templates /templates
		respond /templates "{{httpError 500}}"
		reverse_proxy /down 127.0.0.1:1
		reverse_proxy /proxied {$BACKEND}
		respond "fine"
	}
}

http://127.0.0.1:{$HTTP} {
	import gated refusals handle_errors
}

http://*.gated.test:{$HTTP} {
	import gated refusals handle_errors
	handle_errors {
		respond "the site's own page" {err.status_code}
	}
}

http://plain.test:{$HTTP} {
	import gated realm mollymawk
}

http://keys.test:{$HTTP} {
	log {
		output file {$DIR}/access.log
	}
	api_tokens_admin
}
`

// rawRequest sends a request as raw bytes and returns the response status.
func (c *caddy) rawRequest(text string) int {
	c.t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(c.url(""), "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	if _, err := connection.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestStrayTokensInLogs sends tokens in the wrong places, in all the ways that make Caddy log
// a request. No logger may write a token at any level, and each request must have a line in
// the access log.
func TestStrayTokensInLogs(t *testing.T) {
	t.Parallel()
	s := startSite(t, straySite, mollymawktest.Options{})
	key := s.mint(map[string]any{"scopes": []string{"plain:read"}})
	adminKey := s.mint(map[string]any{"kind": "admin"})
	typo := s.mint(map[string]any{"scopes": []string{"plain:read"}})
	var escaped, twice strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&escaped, "%%%02x", key[i])
		fmt.Fprintf(&twice, "%%25%02X", key[i])
	}
	half := strings.ReplaceAll(key, "_", "%255f")
	heads := map[string]string{
		"another header":         "X-Api-Key: " + key,
		"an admin key":           "X-Api-Key: " + adminKey,
		"Referer":                "Referer: https://a.example/?t=" + key,
		"two headers":            "X-A: " + key + "\r\nX-B: " + key,
		"two lines":              "X-A: " + key + "\r\nX-A: " + key,
		"within a longer value":  "User-Agent: curl " + key + " x",
		"JSON":                   `X-A: {"token":"` + key + `"}`,
		"escaped":                "X-A: " + escaped.String(),
		"escaped twice":          "X-A: " + twice.String(),
		"an underscore escaped":  "X-A: " + half,
		"a cookie":               "Cookie: a=b; t=" + key,
		"an underscore":          "X_Api_Key: " + key, // Caddy drops the header, but logs a copy
		"a dot":                  "X.Api.Key: " + key,
		"an identity header":     "X-Token-Id: " + key, // the gate drops this header
		"nominated":              "Connection: X-A\r\nX-A: " + key,
		"a hop-by-hop header":    "Connection: " + key,
		"Upgrade":                "Upgrade: " + key,
		"Trailer":                "Trailer: " + key,
		"a name":                 key + ": x",
		"the end of a name":      "X-" + key + ": x",
		"Proxy-Authorization":    "Proxy-Authorization: Bearer " + key,
		"X-Forwarded-For":        "X-Forwarded-For: " + key,
		"broken: a prefix":       "X-A: " + typo[:40],
		"an extra letter":        "X-A: " + key + "x",
		"broken: a checksum":     "X-A: " + typo[:len(typo)-1] + "!",
		"Accept, as the proxy's": "Accept: " + key,
		"Idempotency-Key":        "Idempotency-Key: " + key,
		"the Host":               "",
		"the URL":                "",
		"a URL encoded twice":    "",
		"the method":             "",
	}
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("a:b"))
	hosts := []string{"127.0.0.1", "a.gated.test", "plain.test", "keys.test"}
	paths := []string{"/", "/503", "/404", "/templates", "/rewritten", "/before", "/before2", "/before3", "/down",
		"/proxied", "/api/v1/tokens"}
	sent := 0
	for name, head := range heads {
		for _, host := range hosts {
			for _, path := range paths {
				method, target := "GET", path
				switch name {
				case "the Host":
					if host != "a.gated.test" {
						continue
					}
					host = strings.ReplaceAll(key, "_", "%5f") + ".gated.test"
					if path == "/" {
						host = key + ".gated.test"
					}
				case "the URL":
					target += "?token=" + key
				case "a URL encoded twice":
					target += "?token=" + half
				case "the method":
					method = key
				}
				for _, credential := range []string{"", "Authorization: Bearer " + key + "\r\n", basic + "\r\n"} {
					s.rawRequest(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" +
						credential + head + strings.Repeat("\r\n", 1+min(len(head), 1)))
					sent++
				}
			}
		}
	}
	s.stop() // flushes the log
	file, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	log := strings.ReplaceAll(s.output.String(), `"logger":"admin.api"`, "")
	for _, line := range append(strings.Split(log, "\n"), strings.Split(string(file), "\n")...) {
		secrets := []string{key[17:49], adminKey[17:49]}
		if strings.Contains(line, `"logger":"http.log.`) {
			// Broken tokens aren't recognized before the request reaches the handlers after
			// the gate, so look for them only in the http.log logs.
			secrets = append(secrets, typo[17:49])
		}
		for _, secret := range secrets {
			// Caddy logs header names in canonical case, so ignore case when comparing.
			if strings.Contains(strings.ToLower(line), strings.ToLower(secret[:15])) {
				t.Errorf("Caddy logged a token: %s",
					strings.NewReplacer(secret, "(SECRET)", secret[:15], "(SECRET)").Replace(line))
			}
		}
		if strings.Contains(line, escaped.String()[3*17:3*40]) || strings.Contains(line, twice.String()[5*17:5*40]) {
			t.Errorf("Caddy logged an encoded token: %s", line)
		}
	}
	if lines := strings.Count(string(file), `"http.log.access`); lines != sent {
		t.Errorf("the access log has %d lines for %d requests", lines, sent)
	}
	for _, what := range []string{`"logger":"http.log.error`, `"level":"error","ts"`, "X-A", "REDACTED",
		`"logger":"http.handlers.reverse_proxy`, "overloaded"} {
		if !strings.Contains(log+string(file), what) {
			t.Errorf("no log line contains %s, so this test checks too little", what)
		}
	}
}

// TestStrayTokensInAccessLog checks that a request with a stray token gets a complete access
// log line in the same file, so clients can't use a token to avoid logging.
func TestStrayTokensInAccessLog(t *testing.T) {
	t.Parallel()
	s := startSite(t, globals+`
http://127.0.0.1:{$HTTP} {
	log gate {
		output file {$DIR}/access.log
		format filter {
			request>headers>User-Agent regexp "^curl.*" agent
		}
	}
	log_append tenant blue
	bearer_auth {
		route POST /echo plain:read
	}
	handle_errors {
		respond "own page" {err.status_code}
	}
	respond "hello"
}
`, mollymawktest.Options{})
	key := s.mint(map[string]any{"scopes": []string{"plain:read"}})
	stray := signToken("mmk_0123456789AB_" + strings.Repeat("aB3dE5gH", 4)) // anyone can construct such a token
	for _, call := range [][]string{
		{"-d", "12345", "-H", "Authorization: Bearer " + key, s.url("/echo")},
		{"-d", "12345", s.url("/echo?t=" + stray)},
		{s.url("/echo")},
	} {
		curl(t, append([]string{"-H", "X-Junk: " + stray}, call...)...)
	}
	s.stop()
	file, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Level, Logger, Tenant string
		Status, Size          int
		BytesRead             int     `json:"bytes_read"`
		UserID                string  `json:"user_id"`
		Duration              float64 `json:"duration"`
		Request               struct {
			Method, Host, URI, Proto string
			ClientIP                 string `json:"client_ip"`
			RemoteIP                 string `json:"remote_ip"`
			Headers                  http.Header
		}
	}
	var lines []line
	for text := range strings.Lines(string(file)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
		if l.Tenant != "blue" || l.Logger != "http.log.access.gate" || l.Duration <= 0 ||
			l.Request.ClientIP != "127.0.0.1" || l.Request.RemoteIP != "127.0.0.1" || l.Request.Host == "" ||
			l.Request.Proto != "HTTP/1.1" || l.Request.Headers.Get("X-Junk") != "mmk_0123456789AB_…REDACTED" ||
			l.Request.Headers.Get("User-Agent") != "agent" || l.Size == 0 {
			t.Errorf("an access log line is incomplete: %s", text)
		}
	}
	if len(lines) != 3 || lines[0].Status != 200 || lines[0].UserID != tokenID(key) || lines[0].BytesRead != 5 ||
		lines[0].Size != 5 || lines[0].Level != "info" ||
		lines[1].Status != 400 || lines[1].Request.URI != "/echo?t=mmk_0123456789AB_…REDACTED" ||
		lines[2].Status != 401 {
		t.Errorf("got access log %+v", lines)
	}
	if got := strings.Count(s.output.String(), "request contains a token outside"); got != 1 {
		t.Errorf("got %d warnings for three requests, want 1", got)
	}
	s.checkLogs(key, stray)
}

// TestStrayTokensAtOtherServers checks that servers without a gate, including the one that
// redirects to HTTPS, don't log tokens either, no matter which server Caddy creates first.
func TestStrayTokensAtOtherServers(t *testing.T) {
	t.Parallel()
	const open = `
http://127.0.0.1:{$PORT%d} {
	log
	respond "open"
}
`
	config := strings.Replace(globals, "auto_https disable_redirects",
		"http_port {$HTTP}\n\thttps_port {$HTTPS}\n\tdefault_bind 127.0.0.1", 1) + `
gated.test {
	tls internal
	log
	bearer_auth {
		route GET /read plain:read
	}
	respond "hello"
}
`
	env := map[string]string{"UPSTREAM": "backend-token"}
	var ports []string
	for i := range 6 {
		config += fmt.Sprintf(open, i)
		ports = append(ports, freePort(t))
		env[fmt.Sprintf("PORT%d", i)] = ports[i]
	}
	c := startCaddy(t, config, env)
	key := c.mint(map[string]any{"kind": "admin"})
	for round := range 2 {
		status, header, _ := curl(t, "-H", "Host: gated.test", "-H", "X-Api-Key: "+key, c.url("/read?token="+key))
		if status != http.StatusPermanentRedirect || !strings.Contains(header.Get("Location"), key) {
			t.Errorf("got status %d and a Location of %d bytes", status, len(header.Get("Location")))
		}
		for _, port := range ports {
			if status, _, _ := curl(t, "-H", "X-Api-Key: "+key,
				"http://127.0.0.1:"+port+"/?token="+key); status != http.StatusOK {
				t.Errorf("a server without a gate responded with status %d", status)
			}
		}
		if round == 0 {
			if err := c.reload(config); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.stop()
	if got := len(c.accessLog()); got != 2*(1+len(ports)) {
		t.Errorf("the access log has %d lines", got)
	}
	checkNoSecret(t, "Caddy's log", c.output.String(), key)
}

// TestStrayTokensAreFailures checks that a token in another header or in the URL counts toward
// the failure limit, and that valid tokens still pass.
func TestStrayTokensAreFailures(t *testing.T) {
	t.Parallel()
	s := startSite(t, globals+`
http://127.0.0.1:{$HTTP} {
	bearer_auth {
		route GET /read plain:read
		failure_limit 4 1h
	}
	respond "hello"
}
`, mollymawktest.Options{})
	key := s.mint(map[string]any{"scopes": []string{"plain:read"}})
	stray := signToken("mmk_0123456789AB_" + strings.Repeat("aB3dE5gH", 4))
	good := append(bearer(key), "-H", "X-Junk: "+stray, s.url("/read"))
	for i, call := range []struct {
		args []string
		want int
	}{
		{[]string{"-H", "X-Junk: " + stray, s.url("/read")}, 401},
		{[]string{s.url("/read?t=" + stray)}, 400},
		{good, 200},
		{good, 200},
		{good, 200}, // the address is over the limit, but the token is valid
		{[]string{"-H", "X-Junk: " + stray, s.url("/read")}, 429},
		{[]string{s.url("/read?t=" + stray)}, 400}, // error routes never see this refusal
		{append(bearer(stray), s.url("/read")), 429},
		{append(bearer(key), s.url("/read")), 200},
	} {
		if status, _, body := curl(t, call.args...); status != call.want {
			t.Errorf("call %d: %d %s, want %d", i, status, body, call.want)
		}
	}
}

// TestTokenInURLOfAdminSite checks that the admin site refuses a token in the URL regardless
// of the path.
func TestTokenInURLOfAdminSite(t *testing.T) {
	t.Parallel()
	s := startSite(t, straySite, mollymawktest.Options{})
	key := s.mint(map[string]any{"kind": "admin"})
	for _, target := range []string{
		"/?token=" + key, "/app.js?x=" + key, "/" + key, "/nothing?" + key, "/api/v1/tokens?q=" + key,
		"/api/v1/session?x=" + key, "/api/tokens/?t=" + key,
		"/?token=" + strings.ReplaceAll(key, "_", "%5F"), "/?token=" + strings.ReplaceAll(key, "_", "%25255f"),
	} {
		status, header, body := curl(t, "-H", "Host: keys.test", s.url(target))
		if status != 400 || !strings.Contains(body, "token_in_url") || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", strings.ReplaceAll(target, key, "(KEY)"), status, body)
		}
	}
	s.checkLogs(key)
}
