package gate

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// limited adds a token with two requests per minute and three per month, and returns its text.
func limited(t testing.TB, tokens *testTokens, id string) string {
	t.Helper()
	return tokens.add(t, "mmk", id, func(tok *token.Token) {
		tok.Scopes = token.Grants{"report:*"}
		tok.RateLimit = token.RateLimit{Requests: 2, Window: time.Minute}
		tok.Quota = token.Quota{Requests: 3, Period: token.PeriodMonth}
	})
}

// TestWhatLimitsCount checks which requests count. Requests that are refused before the rate
// limit check don't count. Requests without the required scope count against the rate limit;
// otherwise a client could probe its token's permissions without limit. Only requests sent to
// the backend count against the quota.
func TestWhatLimitsCount(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	for name, test := range map[string]struct {
		change      func(*Request)
		want        string
		rate, quota int64
	}{
		"allowed": {nil, "", 1, 1},
		"path":    {func(r *Request) { r.Path = "//" }, "400 invalid_path", 0, 0},
		"URL":     {func(r *Request) { r.TokenInURL = true }, "400 token_in_url", 0, 0},
		"route":   {func(r *Request) { r.Path = "/x" }, "403 route_not_allowed", 0, 0},
		"method":  {func(r *Request) { r.Method = "PUT" }, "405 method_not_allowed", 0, 0},
		"early":   {func(r *Request) { r.Method, r.EarlyData = "POST", true }, "425 too_early", 0, 0},
		"scope":   {func(r *Request) { r.Method, r.Path = "POST", "/api/image" }, "403 insufficient_scope", 1, 0},
		"body":    {func(r *Request) { r.Method, r.ContentLength = "POST", 1001 }, "413 body_too_large", 1, 0},
	} {
		text := limited(t, &tokens, "limited00000")
		id := token.ID([]byte("limited00000"))
		d := decide(newTestGate(t, nil), tokens, request(text, test.change))
		if got := refusalText(d.Refusal); got != test.want {
			t.Errorf("%s: got refusal %q, want %q", name, got, test.want)
		}
		if rate, quota := tokens.rates[id], tokens.quotas[id]; rate != test.rate || quota != test.quota {
			t.Errorf("%s: got %d requests against the rate limit and %d against the quota, want %d and %d", name, rate,
				quota, test.rate, test.quota)
		}
		delete(tokens.rates, id)
		delete(tokens.quotas, id)
	}
	text := limited(t, &tokens, "limited00000")
	g := newTestGate(t, func(c *Config) { c.HasAccount = func(string) bool { return false } })
	if d := decide(g, tokens, request(text, nil)); d.Refusal.Code != AccountNotConfigured ||
		tokens.quotas[d.Match.Token.ID] != 0 {
		t.Errorf("got refusal %q and %d requests against the quota, want account_not_configured and 0",
			d.Refusal.Code, tokens.quotas[d.Match.Token.ID])
	}
}

// TestLimitRefusals checks a refusal's text and headers, and that Explain counts nothing.
func TestLimitRefusals(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	text := limited(t, &tokens, "limited00000")
	id := token.ID([]byte("limited00000"))
	g := newTestGate(t, nil)
	ask := func() (Decision, http.Header) {
		explained := g.Explain(tokens, Question{Method: "GET", Target: "/api/report", Text: text, Now: testNow})
		d := decide(g, tokens, request(text, nil))
		if explained.Refusal.Code != d.Refusal.Code || explained.Refusal.RetryAfter != d.Refusal.RetryAfter {
			t.Errorf("explained as %q, decided as %q", explained.Refusal.Code, d.Refusal.Code)
		}
		h := make(http.Header)
		if d.Refused() {
			d.Refusal.SetHeaders("x", h)
		} else {
			d.Limits.SetHeaders(h)
		}
		return d, h
	}
	check := func(h http.Header, policy, left, retry string) {
		t.Helper()
		if h.Get("RateLimit-Policy") != policy || h.Get("RateLimit") != left || h.Get("Retry-After") != retry {
			t.Errorf("got headers %v\nwant %s\n%s\n%s", h, policy, left, retry)
		}
	}
	const policies = `"rate_limit";q=2;w=60, "quota";q=3;w=2678400`
	d, h := ask()
	check(h, policies, `"rate_limit";r=1;t=30, "quota";r=2;t=129600`, "")
	d.Release()
	if d.Limits.Quota.Remaining != 3 {
		t.Errorf("after Release: got quota %+v, want 3 remaining", d.Limits.Quota)
	}
	ask()
	d, h = ask()
	check(h, `"rate_limit";q=2;w=60`, `"rate_limit";r=0;t=30`, "30")
	if got := d.Refusal.Problem(); refusalText(d.Refusal) != "429 rate_limited" ||
		got.Detail != "This API key may make 2 requests per 1m. Try again in 30 s." {
		t.Errorf("got problem %+v", got)
	}
	tokens.rates[id], tokens.quotas[id] = 0, 3
	d, h = ask()
	check(h, policies, `"rate_limit";r=1;t=30, "quota";r=0;t=129600`, "129600")
	if got := d.Refusal.Problem(); refusalText(d.Refusal) != "429 quota_exceeded" ||
		got.Detail != "This API key has used all of its 3 requests for this month (UTC). Try again in 129600 s." {
		t.Errorf("got problem %+v", got)
	}
	tokens.rates[id] = 1
	missing := decide(g, tokens, request(text, func(r *Request) { r.Method, r.Path = "POST", "/api/image" }))
	h = make(http.Header)
	missing.Refusal.SetHeaders("x", h)
	check(h, `"rate_limit";q=2;w=60`, `"rate_limit";r=0;t=30`, "")

	tokens.rates[id], tokens.quotaErr = 0, errors.New("disk")
	if d, _ := ask(); d.Refusal.Code != StoreUnavailable || d.Refusal.Err == nil || !d.Matched() {
		t.Errorf("with an unreadable quota: got %+v, want store_unavailable", d.Refusal)
	}
	tokens.quotaErr = tokenstore.ErrNotFound
	if d, _ := ask(); d.Refusal.Code != UnknownToken {
		t.Errorf("with a concurrently deleted token: got %+v, want unknown_token", d.Refusal)
	}
	h = make(http.Header)
	unlimited := decide(g, tokens, request(tokens.good, nil))
	if unlimited.Limits.SetHeaders(h); len(h) > 0 {
		t.Errorf("without limits: got headers %v, want none", h)
	}
}
