package gate

import (
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

// TestExplainMatchesDecide compares Explain with Decide for random requests of all kinds. It
// presents the secret to Explain and, if the secret is valid, repeats the question with the
// token instead of the secret.
func TestExplainMatchesDecide(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	g := newTestGate(t, func(c *Config) {
		c.HasAccount = func(name string) bool { return name == "alice" }
		c.Failures = NewFailureLimit(1, time.Hour)
	})
	texts := []string{
		tokens.good, tokens.reader, tokens.admin, tokens.expired, tokens.early, tokens.revoked, tokens.disabled,
		tokens.local, tokens.unknown, tokens.malformed,
		tokens.add(t, "mmk", "bobs00000000", func(token *token.Token) { token.Account = "bob" }), "x", "a b", "ä",
	}
	for i, limits := range []struct{ rate, quota int64 }{{10, 0}, {0, 10}, {20, 5}, {1000, 1000}} {
		texts = append(texts, tokens.add(t, "mmk", "limited0000"+strconv.Itoa(i), func(tok *token.Token) {
			tok.RateLimit = token.RateLimit{Requests: limits.rate, Window: time.Minute}
			tok.Quota = token.Quota{Requests: limits.quota, Period: token.PeriodDay}
		}))
	}
	methods := []string{"GET", "POST", "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", "DELETE"}
	targets := []string{
		"/api/report", "/api/report?x=1", "/old/report", "/api/image", "/api/logs/a/live", "/api/logs//live",
		"/api/logs/%2e%2e/live", "/api/other-users",
		"/api/nothing", "/", "//api/report", "/api/report/", "/api/report?t=" + tokens.good, "/" + tokens.good, "/%zz",
		"/api report", "/api/report?a b", "/api/report?a=\"b\"", "/api/report?a[b]=%20",
	}
	addresses := []string{"10.1.2.3", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1", "::1"}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	outcomes := make(map[Code]int)
	for range 20_000 {
		question := Question{Method: pick(methods), Target: pick(targets), Text: pick(texts),
			ClientIP: netip.MustParseAddr(pick(addresses)), Now: testNow}
		r := Request{Method: question.Method, Authorization: []string{"Bearer " + question.Text},
			ClientIP: AddressText(question.ClientIP), Now: testNow}
		if u, err := url.ParseRequestURI(question.Target); err == nil { // net/http rejects all other targets itself
			r.Path, r.Query, r.TokenInURL = RawPath(u), u.RawQuery, URLHasToken(testPrefixes, u)
		}
		e := g.Explain(tokens, question)
		// Explain the token without a secret before Decide counts the request against its
		// limits.
		var byToken Explanation
		if credential, err := testPrefixes.Parse(question.Text); err == nil &&
			tokens.known[credential.Digest].token != nil {
			withToken := question
			withToken.Text, withToken.Token = "", tokens.known[credential.Digest].token
			byToken = g.Explain(tokens, withToken)
		}
		// Decide without the failure limit, whose result would depend on earlier requests.
		decision := decide(newTestGate(t, func(c *Config) { c.HasAccount = g.config.HasAccount }), tokens, &r)
		if e.Refusal.Code != decision.Refusal.Code || e.Refusal.Status != decision.Refusal.Status {
			t.Fatalf("%s %s from %s: explained as %q, decided as %q", question.Method, question.Target,
				question.ClientIP, e.Refusal.Code, decision.Refusal.Code)
		}
		outcomes[e.Refusal.Code]++
		checkOrder(t, e)

		if decision.Matched() && byToken.Refusal.Code != decision.Refusal.Code {
			t.Fatalf("%s %s with token %s: explained as %q, decided as %q", question.Method, question.Target,
				decision.Match.Token.ID, byToken.Refusal.Code, decision.Refusal.Code)
		}
	}
	for _, code := range []Code{
		"", InvalidRequest, TokenInURL, MalformedToken, UnknownToken, WrongKind, ExpiredToken, NotYetValid,
		RevokedToken, DisabledToken,
		InsufficientScope, RouteNotAllowed, IPDenied, MethodNotAllowed, InvalidPath, AccountNotConfigured, RateLimited,
		QuotaExceeded,
	} {
		if outcomes[code] == 0 {
			t.Errorf("no request resulted in %q", code)
		}
	}
}

// checkOrder compares an explanation's checks with its refusal.
func checkOrder(t *testing.T, e Explanation) {
	t.Helper()
	last := -1
	failed := false
	for _, c := range e.Checks {
		at := slices.Index(checkNames[:], c.Name)
		if at <= last || c.Detail == "" {
			t.Fatalf("the checks are out of order or lack a detail: %+v", e.Checks)
		}
		last = at
		if !c.Pass && !failed {
			failed = true
			if c.Detail != e.Refusal.Problem().Detail {
				t.Fatalf("the first failed check is %+v, but the refusal is %q", c, e.Refusal.Code)
			}
		}
	}
	if failed != (e.Refusal.Code != "") {
		t.Fatalf("the checks are %+v, but the refusal is %q", e.Checks, e.Refusal.Code)
	}
}

// Explain continues after the first failed check, so an admin can fix all problems in one go.
func TestExplainEverything(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	e := newTestGate(t, nil).Explain(tokens, Question{
		Method: "POST", Target: "/api/image", Now: testNow, ClientIP: netip.MustParseAddr("192.0.2.1"),
		Token: &token.Token{
			ID: token.ID([]byte("expired00000")),
			Terms: token.Terms{Kind: token.KindAPI, Scopes: token.Grants{"report:*"},
				AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, ExpiresAt: testNow,
		},
	})
	var failed []string
	for _, c := range e.Checks {
		if !c.Pass {
			failed = append(failed, c.Name)
		}
	}
	if got := strings.Join(failed, " "); got != "state client_ip scope" || e.Refusal.Code != ExpiredToken {
		t.Errorf("got failed checks %q and refusal %q", got, e.Refusal.Code)
	}
}

func TestExplainDetails(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	e := newTestGate(t, nil).Explain(tokens, Question{
		Method: "GET", Target: "/api/report", Text: tokens.local, Now: testNow,
		ClientIP: netip.MustParseAddr("::ffff:10.0.0.9"),
	})
	details := make(map[string]string)
	for _, c := range e.Checks {
		details[c.Name] = c.Detail
	}
	for name, want := range map[string]string{
		"method":    "The method isn't CONNECT or TRACE.",
		"token":     "This is the current secret of key local0000000.",
		"state":     "The key is active until 2026-08-21T13:00:00Z.",
		"client_ip": "10.0.0.9 is in 10.0.0.0/8.",
		"route":     "The route is GET /api/report, which requires the scope report:read.",
		"scope":     "The key has *.",
	} {
		if details[name] != want {
			t.Errorf("%s: got detail %q, want %q", name, details[name], want)
		}
	}
}

// TestExplainMethods checks what is said about methods that a path doesn't support.
func TestExplainMethods(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	g := newTestGate(t, func(c *Config) {
		c.Routes = []Route{{Method: "GET", Path: "/a", Scope: token.Scope{Name: "a:b"}},
			{Method: "PUT", Path: "/a", Scope: token.Scope{Name: "a:b"}}}
	})
	for method, want := range map[string]string{
		"get":     "Methods are case-sensitive: write GET instead of get.",
		"DESTROY": "This path doesn't support DESTROY. It supports GET, PUT.",
		"post":    "This path doesn't support post. It supports GET, PUT.",
		"TRACE":   "CONNECT and TRACE are not allowed anywhere.",
	} {
		e := g.Explain(tokens, Question{Method: method, Target: "/a", Text: tokens.local, Now: testNow})
		if got := e.Refusal.Problem().Detail; got != want || e.Refusal.Code != MethodNotAllowed {
			t.Errorf("%s: got %s %q, want %q", method, e.Refusal.Code, got, want)
		}
	}
}

func TestKnowing(t *testing.T) {
	t.Parallel()
	route := func(method, path string) Route {
		return Route{Method: method, Path: path, Scope: token.Scope{Name: "a:b"}}
	}
	with := func(name string, routes ...Route) NamedGate {
		return NamedGate{Name: name, Gate: newTestGate(t, func(c *Config) { c.Routes = routes })}
	}
	gates := []NamedGate{with("0", route("GET", "/a")), with("1", route("GET", "/b"), route("GET", "/both")),
		with("2", route("POST", "/a"), route("GET", "/both"))}
	for question, want := range map[string]string{
		"GET /a": "0", "GET /b": "1", "POST /a": "2", "PUT /a": "02", "PUT /b": "1", "GET /c": "012", "GET /%zz": "012",
		"GET /a?x": "0", "POST /a?/b": "2",
		"GET /both": "12", "PUT /both": "12",
	} {
		method, target, _ := strings.Cut(question, " ")
		got := ""
		for _, g := range BestMatches(gates, method, target) {
			got += g.Name
		}
		if got != want {
			t.Errorf("%s: got gates %s, want %s", question, got, want)
		}
	}
	if len(BestMatches(nil, "GET", "/a")) != 0 {
		t.Error("got a gate without any gates to choose from")
	}
}
