package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// scrape returns the samples of Mollygate's metrics.
func (c *caddy) scrape() map[string]float64 {
	c.t.Helper()
	samples := make(map[string]float64)
	for line := range strings.Lines(c.getAdmin("/metrics")) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "caddy_bearer_auth_") && !strings.HasPrefix(line, "caddy_api_tokens") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
		if _, twice := samples[line[:at]]; twice {
			c.t.Errorf("the metrics contain %s twice", line[:at])
		}
		samples[line[:at]] = value
	}
	return samples
}

func requestsTotal(outcome string) string {
	return fmt.Sprintf("caddy_bearer_auth_requests_total{outcome=%q}", outcome)
}

// TestMetrics makes requests with several outcomes and checks the metrics, across reloads and
// with two gates in the same configuration.
func TestMetrics(t *testing.T) {
	t.Parallel()
	site := strings.Replace(plainSite, "\thandle {\n",
		"\thandle /other/* {\n\t\tbearer_auth {\n\t\t\troute GET /other/x other:read\n\t\t}\n"+
			"\t\trespond ok\n\t}\n\thandle {\n", 1)
	site = strings.Replace(site, "routes {$ROUTES:mollymawk}",
		"routes mollymawk\n\t\t\tbrowser_sessions molly_session\n\t\t\tmax_body 1KiB", 1)
	s := startSite(t, site, mollymawktest.Options{})
	before := s.scrape()
	for _, code := range append([]gate.Code{"ok", "browser"}, gate.Codes()...) {
		if value, there := before[requestsTotal(string(code))]; !there || value != 0 {
			t.Errorf("%s is %v before the first request, want 0", code, value)
		}
	}
	token := s.token("--scope", "unikernel:list", "--scope", "unikernel:console", "--scope", "unikernel:restart",
		"--quota", "6/day")
	s.token("--preset", "read", "--expires-in", "12h")
	want := make(map[string]float64)
	ask := func(outcome string, args ...string) {
		t.Helper()
		curl(t, args...)
		want[outcome]++
	}
	for range 2 {
		for range 2 {
			ask("ok", append(bearer(token), s.url("/api/unikernels"))...)
		}
		ask("insufficient_scope", append(bearer(token), "-d", "{}", s.url("/api/unikernel/destroy"))...)
		ask("body_too_large", append(bearer(token), "-H", "Transfer-Encoding: chunked", "-d", strings.Repeat("x", 1025),
			s.url("/api/unikernel/restart"))...)
		ask("backend_redirect", append(bearer(token), s.url("/api/unikernel/console"))...)
		ask("browser", s.url("/style.css"))
		ask("missing_token", s.url("/api/unikernels"))
		ask("malformed_token", append(bearer("x"), s.url("/api/unikernels"))...)
		ask("invalid_path", append(bearer(token), s.url("//api/unikernels"))...)
		ask("route_not_allowed", append(bearer(token), s.url("/other/y"))...)
		// On reload, Caddy creates a new registry; Mollygate's metrics must survive.
		if err := s.reload(site); err != nil {
			t.Fatal(err)
		}
	}
	ask("quota_exceeded", append(bearer(token), s.url("/api/unikernels"))...)
	s.backend.Close()
	down := s.token("--preset", "read")
	ask("backend_unreachable", append(bearer(down), s.url("/api/unikernels"))...)

	begun := time.Now()
	got := s.scrape()
	for _, code := range append([]gate.Code{"ok", "browser"}, gate.Codes()...) {
		if outcome := string(code); got[requestsTotal(outcome)] != want[outcome] {
			t.Errorf("%s: %v, want %v", outcome, got[requestsTotal(outcome)], want[outcome])
		}
	}
	t.Logf("the metrics include the last request %v after its response", time.Since(begun).Round(time.Millisecond))
	// Mollygate counted the tokens at the first scrape, before any existed.
	for name, want := range map[string]float64{
		"caddy_api_tokens_store_up": 1, `caddy_api_tokens{status="active"}`: 0, `caddy_api_tokens{status="revoked"}`: 0,
		`caddy_api_tokens_expiring{within="1d"}`: 0, `caddy_api_tokens_expiring{within="7d"}`: 0,
		`caddy_api_tokens_expiring{within="30d"}`: 0,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, there, want)
		}
	}
	s.eventually("the counts are saved", func() bool {
		samples := s.scrape()
		return samples["caddy_api_tokens_usage_pending"] == 0 &&
			samples["caddy_api_tokens_usage_flush_duration_seconds_count"] > 0
	})
	if _, there := got["caddy_bearer_auth_verify_duration_seconds_count"]; !there {
		t.Error("the metrics lack the histogram of decision times")
	}
	for name := range got {
		if strings.Contains(name, tokenID(token)) {
			t.Errorf("a label contains a token's ID: %s", name)
		}
	}
	// The token list must also show a use immediately.
	if allowed, denied := s.usage(token); allowed != uint64(want["ok"]+want["backend_redirect"]) || denied == 0 {
		t.Errorf("the list shows %d allowed and %d denied requests", allowed, denied)
	}
}

// TestTokenMetrics checks that the token metrics are right at the first scrape, including
// those for tokens created by an earlier process.
func TestTokenMetrics(t *testing.T) {
	t.Parallel()
	c := startCaddy(t, plainSite, map[string]string{"UPSTREAM": "x", "BACKEND": "127.0.0.1:1"})
	c.token("--preset", "read")
	c.token("--preset", "read", "--expires-in", "12h")
	c.token("--preset", "read", "--expires-in", "3d")
	revoked := c.token("--preset", "read")
	if _, stderr, code := c.run("api-token", "revoke", tokenID(revoked), "--yes"); code != 0 {
		t.Fatal(stderr)
	}
	c.stop()
	c.start(plainSite)
	got := c.scrape()
	for name, want := range map[string]float64{
		`caddy_api_tokens{status="active"}`: 3, `caddy_api_tokens{status="revoked"}`: 1,
		`caddy_api_tokens{status="expired"}`:  0,
		`caddy_api_tokens{status="disabled"}`: 0, `caddy_api_tokens{status="not_yet_valid"}`: 0,
		`caddy_api_tokens_expiring{within="1d"}`: 0, `caddy_api_tokens_expiring{within="7d"}`: 0,
		`caddy_api_tokens_expiring{within="30d"}`: 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if status, _, body := curl(t,
		append(bearer(revoked), c.url("/api/unikernels"))...); status != http.StatusUnauthorized {
		t.Errorf("got status %d: %s", status, body)
	}
}
