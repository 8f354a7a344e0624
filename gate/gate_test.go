package gate

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func TestDecideWithToken(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	for name, tt := range map[string]struct {
		request *Request
		want    string // status and code; empty if the request is allowed
		matched bool
		route   string
		path    string
	}{
		"allowed": {request: request(tokens.good, nil), matched: true, route: "GET /api/report",
			path: "/api/report"},
		"exact scope": {request: request(tokens.reader, nil), matched: true, route: "GET /api/report",
			path: "/api/report"},
		"second prefix": {request: request(tokens.add(t, "xyk", "second000000", nil), nil), matched: true,
			route: "GET /api/report", path: "/api/report"},
		"alias": {
			request: request(tokens.good, func(r *Request) { r.Method, r.Path = "POST", "/old/report" }),
			matched: true, route: "POST /api/report", path: "/api/report",
		},
		"wildcard": {
			request: request(tokens.good, func(r *Request) { r.Path = "/api/logs/h%C3%A9/live" }),
			matched: true, route: "GET /api/logs/*/live", path: "/api/logs/h%C3%A9/live",
		},
		"literal star": {
			request: request(tokens.good, func(r *Request) { r.Path = "/api/logs/*/live" }),
			matched: true, route: "GET /api/logs/*/live", path: "/api/logs/*/live",
		},

		"no credential": {request: request("", func(r *Request) { r.Authorization = nil }),
			want: "401 missing_token"},
		"two credentials": {
			request: request("",
				func(r *Request) { r.Authorization = []string{"Bearer " + tokens.good, "Bearer " + tokens.good} }),
			want: "400 invalid_request"},
		"token in URL": {request: request(tokens.good, func(r *Request) { r.TokenInURL = true }),
			want: "400 token_in_url"},
		"malformed":     {request: request(tokens.malformed, nil), want: "401 malformed_token"},
		"unknown":       {request: request(tokens.unknown, nil), want: "401 unknown_token"},
		"admin token":   {request: request(tokens.admin, nil), want: "403 wrong_kind", matched: true},
		"expired":       {request: request(tokens.expired, nil), want: "401 expired_token", matched: true},
		"not yet valid": {request: request(tokens.early, nil), want: "401 not_yet_valid", matched: true},
		"revoked":       {request: request(tokens.revoked, nil), want: "401 revoked_token", matched: true},
		"disabled":      {request: request(tokens.disabled, nil), want: "401 disabled_token", matched: true},
		"path": {request: request(tokens.good, func(r *Request) { r.Path = "//api/report" }),
			want: "400 invalid_path"},
		"client IP": {request: request(tokens.local, nil), want: "403 ip_denied", matched: true},
		"no client IP": {request: request(tokens.local, func(r *Request) { r.ClientIP = "" }),
			want: "403 ip_denied", matched: true},
		"unlisted": {request: request(tokens.good, func(r *Request) { r.Path = "/api/reports" }),
			want: "403 route_not_allowed", matched: true},
		"other case": {request: request(tokens.good, func(r *Request) { r.Path = "/api/Report" }),
			want: "403 route_not_allowed", matched: true},
		"cache deception": {request: request(tokens.good, func(r *Request) { r.Path = "/api/report/x.css" }),
			want: "403 route_not_allowed", matched: true},
		"explicit scope": {
			request: request(tokens.good, func(r *Request) { r.Path = "/api/other-users" }),
			want:    "403 insufficient_scope", matched: true, route: "GET /api/other-users", path: "/api/other-users",
		},
		"scope": {
			request: request(tokens.reader, func(r *Request) { r.Method = "POST" }),
			want:    "403 insufficient_scope", matched: true, route: "POST /api/report", path: "/api/report",
		},
		"body": {
			request: request(tokens.good, func(r *Request) { r.Method, r.ContentLength = "POST", 1001 }),
			want:    "413 body_too_large", matched: true, route: "POST /api/report", path: "/api/report",
		},
		"body just fits": {
			request: request(tokens.good, func(r *Request) { r.Method, r.ContentLength = "POST", 1000 }),
			matched: true, route: "POST /api/report", path: "/api/report",
		},
		"undeclared body": {
			request: request(tokens.good, func(r *Request) { r.Method, r.ContentLength = "POST", -1 }),
			matched: true, route: "POST /api/report", path: "/api/report",
		},
		"upload": {
			request: request(tokens.good, func(r *Request) {
				r.Method, r.Path, r.ContentLength = "POST", "/api/image",
					1_000_000
			}),
			matched: true, route: "POST /api/image", path: "/api/image",
		},
		"upload too large": {
			request: request(tokens.good, func(r *Request) {
				r.Method, r.Path, r.ContentLength = "POST", "/api/image",
					1_000_001
			}),
			want: "413 body_too_large", matched: true, route: "POST /api/image", path: "/api/image",
		},
		"local address": {
			request: request(tokens.local, func(r *Request) { r.ClientIP = "::ffff:10.1.2.3" }),
			matched: true, route: "GET /api/report", path: "/api/report",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(g, tokens, tt.request)
			if got := refusalText(d.Refusal); got != tt.want || d.Refused() != (tt.want != "") {
				t.Fatalf("got refusal %q, want %q", got, tt.want)
			}
			if d.PassThrough {
				t.Error("a request with a token was passed through")
			}
			if d.Matched() != tt.matched {
				t.Errorf("got matched %v, want %v", d.Matched(), tt.matched)
			}
			if want := d.Match.Token; tt.want != "" && d.Refusal.Token != want {
				t.Errorf("the refusal's token is %v, want %v", d.Refusal.Token, want)
			}
			if got := routeName(d.Route); got != tt.route {
				t.Errorf("got route %q, want %q", got, tt.route)
			}
			if d.Path != tt.path {
				t.Errorf("got path %q, want %q", d.Path, tt.path)
			}
		})
	}
}

func routeName(r *Route) string {
	if r == nil {
		return ""
	}
	return r.Name()
}

// Each request fails one check and all later checks; the first failure determines the refusal.
func TestDecideOrder(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	// The entries run from the last check to the first, and each adds a fault to the request.
	faults := []struct {
		want string
		add  func(*Request)
	}{
		{"413 body_too_large", func(r *Request) { r.Method, r.ContentLength = "POST", 1001 }},
		{"403 insufficient_scope", func(r *Request) { use(r, tokens.reader) }},
		{"405 method_not_allowed", func(r *Request) { r.Method = "DELETE" }},
		{"403 route_not_allowed", func(r *Request) { r.Path = "/api/nothing" }},
		{"403 ip_denied", func(r *Request) { use(r, tokens.local) }},
		{"401 expired_token", func(r *Request) { use(r, tokens.expired) }},
		{"401 not_yet_valid", func(r *Request) { use(r, tokens.early) }},
		{"401 disabled_token", func(r *Request) { use(r, tokens.disabled) }},
		{"401 revoked_token", func(r *Request) { use(r, tokens.revoked) }},
		{"403 wrong_kind", func(r *Request) {
			use(r, tokens.add(t, "mma", "retired00000", func(token *token.Token) { token.RevokedAt = testNow }))
		}},
		{"401 unknown_token", func(r *Request) { use(r, tokens.unknown) }},
		{"401 malformed_token", func(r *Request) { use(r, tokens.malformed) }},
		{"425 too_early", func(r *Request) { r.EarlyData = true }},
		{"400 invalid_path", func(r *Request) { r.Path = "//" }},
		{"400 invalid_request", func(r *Request) { r.Authorization = []string{"Bearer"} }},
		{"401 missing_token", func(r *Request) { r.Authorization = nil }},
		{"400 token_in_url", func(r *Request) { r.TokenInURL = true }},
		{"405 method_not_allowed", func(r *Request) { r.Method = "TRACE" }},
	}
	r := request(tokens.good, nil)
	for _, fault := range faults {
		fault.add(r)
		d := decide(g, tokens, r)
		if got := refusalText(d.Refusal); got != fault.want {
			t.Errorf("got refusal %q, want %q", got, fault.want)
		}
	}
}

func use(r *Request, token string) { r.Authorization = []string{"Bearer " + token} }

// If the gate refuses a request before the lookup, it calls neither the store nor a hash
// function.
func TestDecideCallsStoreOnce(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	for name, tt := range map[string]struct {
		request *Request
		want    int
	}{
		"allowed":   {request(tokens.good, nil), 1},
		"unknown":   {request(tokens.unknown, nil), 1},
		"malformed": {request(tokens.malformed, nil), 0},
		"missing":   {request("", func(r *Request) { r.Authorization = nil }), 0},
		"path":      {request(tokens.good, func(r *Request) { r.Path = "/api/./report" }), 0},
		"in URL":    {request(tokens.good, func(r *Request) { r.TokenInURL = true }), 0},
		"CONNECT":   {request(tokens.good, func(r *Request) { r.Method = "CONNECT" }), 0},
		"early":     {request(tokens.good, func(r *Request) { r.Method, r.EarlyData = "POST", true }), 0},
	} {
		tokens.asked = 0
		decide(g, tokens, tt.request)
		if tokens.asked != tt.want {
			t.Errorf("%s: the store was called %d times, want %d", name, tokens.asked, tt.want)
		}
	}
}

// The gate refuses CONNECT and TRACE for everyone. When it refuses an unsupported method, it
// lists the supported methods.
func TestDecideMethods(t *testing.T) {
	tokens := newTestTokens(t)
	withSessions := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	for _, g := range []*Gate{newTestGate(t, nil), withSessions} {
		for _, authorization := range [][]string{nil, {"Basic eDp5"}, {"Bearer " + tokens.good},
			{"Bearer " + tokens.admin}, {"Bearer " + tokens.unknown}} {
			for _, method := range []string{"CONNECT", "TRACE"} {
				for path, allow := range map[string]string{
					"/api/report": "GET, POST", "/api/logs/a/live": "GET", "/api/nothing": "", "": "", "*": "",
					"//": "",
				} {
					d := decide(g, tokens, &Request{Method: method, Path: path, Authorization: authorization,
						Session: true, Now: testNow})
					if got := refusalText(d.Refusal); got != "405 method_not_allowed" || d.Refusal.Allow != allow {
						t.Errorf("%s %q with %d credentials: got refusal %q, Allow %q; want Allow %q", method, path,
							len(authorization), got, d.Refusal.Allow, allow)
					}
				}
			}
		}
	}
	for _, method := range []string{"HEAD", "OPTIONS", "PUT", "get", "GeT", "Post", "PROPFIND", "QUERY", "FOO", ""} {
		d := decide(withSessions, tokens, request(tokens.good, func(r *Request) { r.Method = method }))
		if got := refusalText(d.Refusal); got != "405 method_not_allowed" || d.Refusal.Allow != "GET, POST" {
			t.Errorf("method %q: got refusal %q, Allow %q", method, got, d.Refusal.Allow)
		}
	}
}

func TestDecideWithoutToken(t *testing.T) {
	g := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	for name, tt := range map[string]struct {
		method, path  string
		authorization []string
		session       bool
		want          string
		route         string
	}{
		"unlisted":                 {method: "GET", path: "/dashboard"},
		"unlisted, Basic":          {method: "GET", path: "/dashboard", authorization: []string{"Basic eDp5"}},
		"unlisted, empty":          {method: "GET", path: "/dashboard", authorization: []string{" "}},
		"unlisted, any method":     {method: "PROPFIND", path: "/dashboard"},
		"unlisted, not canonical":  {method: "GET", path: "//a/%2e%2e/;x"},
		"unlisted, no path":        {method: "OPTIONS", path: "*"},
		"listed":                   {method: "GET", path: "/api/report", want: "401 missing_token"},
		"listed, wrong method":     {method: "PUT", path: "/api/report", want: "401 missing_token"},
		"listed, by alias":         {method: "POST", path: "/old/report", want: "401 missing_token"},
		"listed, by wildcard":      {method: "GET", path: "/api/logs/a/live", want: "401 missing_token"},
		"wildcard needs a segment": {method: "GET", path: "/api/logs//live"},
		"session":                  {method: "GET", path: "/api/report", session: true, route: "GET /api/report"},
		"session, wrong method":    {method: "PUT", path: "/api/report", session: true, want: "405 method_not_allowed"},
		"bad bearer": {method: "GET", path: "/dashboard", session: true,
			authorization: []string{"Bearer x"}, want: "401 malformed_token"},
		"broken bearer": {method: "GET", path: "/dashboard", session: true, authorization: []string{"Bearer"},
			want: "400 invalid_request"},
		"two headers": {method: "GET", path: "/dashboard", session: true, authorization: []string{"Basic x", "Basic x"},
			want: "400 invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(g, &fakeStore{}, &Request{Method: tt.method, Path: tt.path, Authorization: tt.authorization,
				Session: tt.session, Now: testNow})
			if got := refusalText(d.Refusal); got != tt.want {
				t.Fatalf("got refusal %q, want %q", got, tt.want)
			}
			if d.PassThrough == d.Refused() {
				t.Errorf("got PassThrough %v, Refused %v; want exactly one", d.PassThrough, d.Refused())
			}
			if got := routeName(d.Route); got != tt.route {
				t.Errorf("got route %q, want %q", got, tt.route)
			}
			if d.Refusal.Code == MethodNotAllowed && d.Refusal.Allow != "GET, POST" {
				t.Errorf("got Allow %q, want the supported methods", d.Refusal.Allow)
			}
		})
	}
}

// The gate refuses a token in the URL even on paths that require no token.
func TestDecideTokenInURLWithoutCredential(t *testing.T) {
	g := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	d := decide(g, &fakeStore{}, &Request{Method: "GET", Path: "/dashboard", TokenInURL: true, Now: testNow})
	if got := refusalText(d.Refusal); got != "400 token_in_url" || d.PassThrough {
		t.Errorf("got refusal %q, PassThrough %v", got, d.PassThrough)
	}
}

func TestDecideUpgrade(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	for name, tt := range map[string]struct {
		path      string
		withToken bool
		want      bool
	}{
		"websocket route":              {"/api/logs/a/live", true, true},
		"other route":                  {"/api/report", true, false},
		"websocket route by a session": {"/api/logs/a/live", false, true},
		"other route by a session":     {"/api/report", false, false},
		"unlisted":                     {"/dashboard", false, false},
	} {
		r := request(tokens.good, func(r *Request) { r.Path, r.WebSocket, r.Session = tt.path, true, true })
		if !tt.withToken {
			r.Authorization = nil
		}
		if d := decide(g, tokens, r); d.Refused() || d.Upgrade != tt.want {
			t.Errorf("%s: got refusal %q, upgrade %v; want %v", name, refusalText(d.Refusal), d.Upgrade,
				tt.want)
		}
		r.WebSocket = false
		if d := decide(g, tokens, r); d.Upgrade {
			t.Errorf("%s: got upgrade %v, which the client didn't request", name, d.Upgrade)
		}
	}
}

// The gate never blames the client for a failing store.
func TestDecideStoreErrors(t *testing.T) {
	g := newTestGate(t, nil)
	tok := tokenText("mmk", "good00000000")
	for _, err := range []error{
		token.ErrDamaged, tokenstore.ErrUnavailable, tokenstore.ErrClosed,
		fmt.Errorf("reading: %w", token.ErrDamaged), errors.New("anything else"),
	} {
		d := decide(g, &fakeStore{err: err}, request(tok, nil))
		if got := refusalText(d.Refusal); got != "503 store_unavailable" || d.Matched() || d.Refusal.RetryAfter <= 0 ||
			!errors.Is(d.Refusal.Err, err) {
			t.Errorf("%v: got refusal %q, matched %v, retry after %d, error %v", err, got, d.Matched(),
				d.Refusal.RetryAfter, d.Refusal.Err)
		}
	}
	d := decide(g, &fakeStore{err: fmt.Errorf("looking: %w", tokenstore.ErrNotFound)}, request(tok, nil))
	if got := refusalText(d.Refusal); got != "401 unknown_token" {
		t.Errorf("token not found: got refusal %q, want 401 unknown_token", got)
	}
}
