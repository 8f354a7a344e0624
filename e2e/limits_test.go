package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestLimits uses up a rate limit and a quota with curl.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--scope", "unikernel:list", "--rate-limit", "4/4h", "--quota", "2/month")
	id := tokenID(token)
	response := func(path, code string, header map[string]string) {
		t.Helper()
		explained := s.explain(map[string]string{"token": token, "method": "GET", "path": path, "ip": "127.0.0.1"})
		status, got, body := curl(t, append(bearer(token), s.url(path))...)
		gotCode := "ok"
		if status != http.StatusOK {
			gotCode, _ = problem(t, body)["code"].(string)
			if problem(t, body)["token_id"] != id {
				t.Errorf("got body %s", body)
			}
		}
		if gotCode != code || explained.Code != code {
			t.Errorf("got %d %s, explained as %s, want %s", status, gotCode, explained.Code, code)
		}
		for name, want := range header {
			if value := got.Get(name); value != want &&
				(!strings.HasSuffix(want, "…") || !strings.HasPrefix(value, strings.TrimSuffix(want, "…"))) {
				t.Errorf("%s: %s, want %s", name, value, want)
			}
		}
	}
	begin := time.Now().UTC()
	month := time.Date(begin.Year(), begin.Month(), 1, 0, 0, 0, 0, time.UTC)
	if left := month.AddDate(0, 1, 0).Sub(begin); left < time.Minute {
		time.Sleep(left) // the quota must not be reset during the test
		month = month.AddDate(0, 1, 0)
	}
	policy := fmt.Sprintf(`"rate_limit";q=4;w=14400, "quota";q=2;w=%d`,
		int(month.AddDate(0, 1, 0).Sub(month).Seconds()))
	response("/api/unikernels", "ok",
		map[string]string{"RateLimit-Policy": policy, "RateLimit": `"rate_limit";r=3;t=3600, "quota";r=1;t=…`,
			"Retry-After": ""})
	// A request refused for lack of scope counts against the rate limit but not the quota; a
	// request without a route counts against neither.
	response("/api/nothing", "route_not_allowed", map[string]string{"RateLimit": "", "RateLimit-Policy": ""})
	response("/api/unikernel/console", "insufficient_scope",
		map[string]string{"RateLimit-Policy": `"rate_limit";q=4;w=14400`, "RateLimit": `"rate_limit";r=2;t=7200`})
	response("/api/unikernels", "ok", map[string]string{"RateLimit": `"rate_limit";r=1;t=10800, "quota";r=0;t=…`})
	response("/api/unikernels", "quota_exceeded",
		map[string]string{"RateLimit-Policy": policy, "RateLimit": `"rate_limit";r=0;t=3600, "quota";r=0;t=…`,
			"Cache-Control": "no-store"})
	response("/api/unikernels", "rate_limited", map[string]string{"RateLimit-Policy": `"rate_limit";q=4;w=14400`,
		"RateLimit": `"rate_limit";r=0;t=3600`, "Retry-After": "3600"})
	response("/api/unikernel/console", "rate_limited", nil)
	// A reload must not reset the limits, and a change must take effect immediately.
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	response("/api/unikernels", "rate_limited", nil)
	for _, test := range []struct{ flag, limit, code string }{
		{"--rate-limit", "none", "quota_exceeded"},
		{"--quota", "3/month", "ok"},
		{"--quota", "3/day", "quota_exceeded"},
		{"--rate-limit", "1/1d", "rate_limited"}, // all four requests have yet to be refilled
		{"--rate-limit", "none", "quota_exceeded"},
		{"--quota", "none", "ok"},
	} {
		if _, stderr, code := s.run("api-token", "edit", id, test.flag, test.limit); code != 0 {
			t.Fatal(stderr)
		}
		response("/api/unikernels", test.code, nil)
	}
	if allowed, denied := s.usage(token); allowed != 4 || denied != 10 {
		t.Errorf("the server counted %d allowed, %d denied", allowed, denied)
	}
	if n := len(s.backend.Requests()); n != 4 {
		t.Errorf("the backend saw %d requests", n)
	}
	s.checkBackend(token)
	s.checkLogs(token)
}

// TestUndeclaredBodyUsesNoQuota checks that a request whose chunked body is too large to
// forward doesn't use up any quota.
func TestUndeclaredBodyUsesNoQuota(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}", "routes mollymawk\n\t\t\tmax_body 1KiB",
		1), mollymawktest.Options{})
	token := s.token("--scope", "*", "--quota", "1/month")
	for range 3 {
		status, header, body := curl(t, append(bearer(token), "-H", "Transfer-Encoding: chunked", "-d",
			strings.Repeat("x", 1025), s.url("/api/unikernel/destroy"))...)
		if status != http.StatusRequestEntityTooLarge || !strings.HasPrefix(header.Get("RateLimit"), `"quota";r=1;`) {
			t.Fatalf("%d %v %s", status, header, body)
		}
	}
	for _, want := range []int{200, 429} {
		if status, _, body := curl(t, append(bearer(token), s.url("/api/unikernels"))...); status != want {
			t.Errorf("%d %s, want %d", status, body, want)
		}
	}
}

// hammer runs clients that use one token until the context ends. It calls refused with any
// status other than 200. It returns the number of requests sent and the number of responses
// with status 200.
func hammer(ctx context.Context, c *caddy, token string, refused func(status int)) (sent, answered uint64) {
	var all sync.WaitGroup
	var begun, passed atomic.Uint64
	transport := &http.Transport{MaxIdleConnsPerHost: countingClients}
	defer transport.CloseIdleConnections()
	for range countingClients {
		all.Go(func() {
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("/allowed"), nil)
				if err != nil {
					return
				}
				request.Header.Set("Authorization", "Bearer "+token)
				begun.Add(1)
				response, err := transport.RoundTrip(request)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if response.StatusCode == http.StatusOK {
					passed.Add(1)
				} else {
					refused(response.StatusCode)
				}
			}
		})
	}
	all.Wait()
	return begun.Load(), passed.Load()
}

// TestRateLimitIsExact checks that 64 simultaneous clients get the limit plus what is refilled
// in the meantime, never more and barely less.
func TestRateLimitIsExact(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	const limit, window = 1000, time.Minute
	token := c.token("--scope", "test:allowed", "--rate-limit", "1000/1m")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	begun := time.Now()
	sent, answered := hammer(ctx, c, token, func(status int) {
		if status != http.StatusTooManyRequests {
			t.Errorf("got status %d", status)
		}
	})
	took := time.Since(begun)
	most := limit + uint64(took*limit/window) + 1
	t.Logf("%d requests in %v: %d allowed, limit %d", sent, took, answered, most)
	allowed, denied := c.usage(token)
	if allowed > most || sent > 2*limit && allowed < limit || answered > allowed || allowed+denied > sent {
		t.Errorf("%d allowed and %d refused of %d requests, limit %d", allowed, denied,
			sent, most)
	}
}

// TestAllowedIPsBehindProxies checks that the gate uses an address in a header only if the
// request comes from a proxy in trusted_proxies.
func TestAllowedIPsBehindProxies(t *testing.T) {
	t.Parallel()
	proxies := func(options string) string {
		return strings.Replace(plainSite, "api_tokens {", "servers {\n"+options+"\n\t}\n\tapi_tokens {", 1)
	}
	const strict = "\t\ttrusted_proxies static 127.0.0.0/8 10.0.0.0/8\n\t\ttrusted_proxies_strict"
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--scope", "*", "--allowed-ip", "203.0.113.0/24", "--allowed-ip", "2001:db8::/32")
	mapped := s.token("--scope", "*", "--allowed-ip", "::ffff:203.0.113.0/120")
	for name, test := range map[string]struct {
		site      string
		forwarded []string
		token     string
		seen      string // the refused address, or empty if the request is allowed
	}{
		"no proxy":             {plainSite, []string{"203.0.113.7"}, token, "127.0.0.1"},
		"another header":       {proxies(strict), nil, token, "127.0.0.1"},
		"through a proxy":      {proxies(strict), []string{"203.0.113.7"}, token, ""},
		"IPv6":                 {proxies(strict), []string{"2001:db8::7"}, token, ""},
		"IPv6 outside":         {proxies(strict), []string{"2001:db9::7"}, token, "2001:db9::7"},
		"forged":               {proxies(strict), []string{"203.0.113.7, 198.51.100.7"}, token, "198.51.100.7"},
		"forged, two lines":    {proxies(strict), []string{"203.0.113.7", "198.51.100.7"}, token, "198.51.100.7"},
		"two proxies":          {proxies(strict), []string{"198.51.100.7, 203.0.113.7, 10.1.2.3"}, token, ""},
		"IPv4 in IPv6":         {proxies(strict), []string{"::ffff:203.0.113.7"}, token, ""},
		"mapped range":         {proxies(strict), []string{"203.0.113.7"}, mapped, ""},
		"mapped range, both":   {proxies(strict), []string{"::ffff:203.0.113.7"}, mapped, ""},
		"outside mapped range": {proxies(strict), []string{"::ffff:203.0.114.7"}, mapped, "203.0.114.7"},
		"no address":           {proxies(strict), []string{"203.0.113.7x"}, token, "127.0.0.1"},
	} {
		if err := s.reload(test.site); err != nil {
			t.Fatal(err)
		}
		args := append(bearer(test.token), "-H", "X-Real-IP: 203.0.113.7", "-H", "Forwarded: for=203.0.113.7")
		for _, value := range test.forwarded {
			args = append(args, "-H", "X-Forwarded-For: "+value)
		}
		status, _, body := curl(t, append(args, s.url("/api/unikernels"))...)
		switch {
		case test.seen == "" && status != http.StatusOK:
			t.Errorf("%s: got status %d: %s", name, status, body)
		case test.seen != "" && (status != http.StatusForbidden || problem(t, body)["code"] != "ip_denied" ||
			problem(t, body)["client_ip"] != test.seen):
			t.Errorf("%s: %d %s, want ip_denied with client_ip %s", name, status, body, test.seen)
		}
	}
}

// TestMaxScopes checks that a token can't be created, edited or imported with more scopes than
// its account allows, and that existing tokens keep their scopes.
func TestMaxScopes(t *testing.T) {
	t.Parallel()
	with := func(lines string) string {
		return strings.Replace(plainSite, "upstream_token {env.UPSTREAM}\n", "upstream_token {env.UPSTREAM}\n"+lines, 1)
	}
	s := startSite(t, plainSite, mollymawktest.Options{})
	before := s.token("--preset", "full")
	if err := s.reload(with("\t\t\tmax_scopes read unikernel:restart\n")); err != nil {
		t.Fatal(err)
	}
	if status, _, body := curl(t, append(bearer(before), s.url("/api/unikernels"))...); status != http.StatusOK {
		t.Errorf("a token created before the limit got status %d: %s", status, body)
	}
	token := s.token("--preset", "read")
	s.token("--scope", "unikernel:restart", "--scope", "unikernel:list")
	create := []string{"api-token", "create", "--name", "x", "--expires-in", "1d"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{append(create, "--preset", "full"), `--preset: "*" exceeds the maximum of account default, which is `},
		{append(create, "--scope", "unikernel:*"), `--scope: "unikernel:*" exceeds the maximum of account default`},
		{append(create, "--scope", "unikernel:list", "--scope", "unikernel:create"),
			`--scope: "unikernel:create" exceeds the maximum`},
		{[]string{"api-token", "edit", tokenID(token), "--preset", "deploy"}, "--preset: "},
	} {
		if _, stderr, code := s.run(test.args...); code != 2 || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: %d %s, want %s", test.args, code, stderr, test.want)
		}
	}
	record := s.write("user.json",
		`{"name":"alice","uuid":"7c8a9f10-1f6a-4e4d-9a0e-8f7f5c1d2e3b",`+
			`"tokens":[{"name":"old","value":"3f0c8a52-6a1e-4f7d-8c2b-9d5e7f1a2b3c",`+
			`"token_type":"Bearer","expires_in":31536000,"created_at":"`+
			time.Now().UTC().Format("2006-01-02 15:04:05-00:00")+`","last_access":"","usage_count":0}]}`)
	if _, stderr, code := s.run("api-token", "import", record, "--account", "default"); code == 0 ||
		!strings.Contains(stderr, "exceeds the maximum of account default") {
		t.Errorf("importing: got exit code %d: %s", code, stderr)
	}
	// A scope that no route requires would allow nothing, so loading the configuration fails
	// and the running one stays active.
	if err := s.reload(with("\t\t\tmax_scopes unikernel:lsit\n")); err == nil ||
		!strings.Contains(err.Error(), "account default: max_scopes") ||
		!strings.Contains(err.Error(), "unikernel:lsit") {
		t.Errorf("%v", err)
	}
	if status, _, body := curl(t, append(bearer(token), s.url("/api/unikernels"))...); status != http.StatusOK {
		t.Errorf("after a rejected reload: got status %d: %s", status, body)
	}
}
