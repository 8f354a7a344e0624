package gate

import (
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestDecideOwnKey checks that a gate responds to requests about the presented key by itself,
// whatever the key's scopes, and otherwise refuses what it refuses everywhere.
func TestDecideOwnKey(t *testing.T) {
	tokens := newTestTokens(t)
	none := tokens.add(t, "mmk", "none00000000", func(tok *token.Token) { tok.Scopes = nil })
	foreign := tokens.add(t, "mmk", "foreign00000", func(tok *token.Token) { tok.Account = "bob" })
	for _, sessions := range []bool{false, true} {
		g := newTestGate(t, func(c *Config) {
			c.BrowserSessions = sessions
			c.HasAccount = func(name string) bool { return name == "alice" }
		})
		for name, tt := range map[string]struct {
			token  string
			change func(*Request)
			want   string // status and code; empty if the gate responds
		}{
			"all scopes": {token: tokens.good},
			"no scope":   {token: none},
			"allowed address": {token: tokens.local,
				change: func(r *Request) { r.ClientIP = "10.1.2.3" }},
			"query":         {token: tokens.good, change: func(r *Request) { r.Query = "x=1" }},
			"other address": {token: tokens.local, want: "403 ip_denied"},
			"no token": {change: func(r *Request) { r.Authorization = nil },
				want: "401 missing_token"},
			"session instead of a token": {
				change: func(r *Request) { r.Authorization, r.Session = nil, true },
				want:   "401 missing_token"},
			"browser": {change: func(r *Request) { r.Authorization, r.Navigation = nil, true },
				want: "401 missing_token"},
			"unknown":   {token: tokens.unknown, want: "401 unknown_token"},
			"malformed": {token: tokens.malformed, want: "401 malformed_token"},
			"admin key": {token: tokens.admin, want: "403 wrong_kind"},
			"expired":   {token: tokens.expired, want: "401 expired_token"},
			"revoked":   {token: tokens.revoked, want: "401 revoked_token"},
			"disabled":  {token: tokens.disabled, want: "401 disabled_token"},
			"account":   {token: foreign, want: "502 account_not_configured"},
			"token in URL": {token: tokens.good, change: func(r *Request) { r.TokenInURL = true },
				want: "400 token_in_url"},
			"POST": {token: tokens.good, change: func(r *Request) { r.Method = "POST" },
				want: "405 method_not_allowed"},
			"HEAD": {token: tokens.good, change: func(r *Request) { r.Method = "HEAD" },
				want: "405 method_not_allowed"},
			"slash": {token: tokens.good, change: func(r *Request) { r.Path += "/" },
				want: "400 invalid_path"},
			"other case": {token: tokens.good, change: func(r *Request) { r.Path = strings.ToUpper(r.Path) },
				want: "403 route_not_allowed"},
			"non-canonical": {token: tokens.good, change: func(r *Request) { r.Path = "/" + r.Path },
				want: "400 invalid_path"},
		} {
			t.Run(name, func(t *testing.T) {
				r := request(tt.token, nil)
				r.Path = OwnKeyPath
				if tt.change != nil {
					tt.change(r)
				}
				d := decide(g, tokens, r)
				if got := refusalText(d.Refusal); got != tt.want || tt.want == "" && !d.OwnKey || d.PassThrough ||
					d.Redirect != "" || d.Route != nil {
					t.Errorf("got refusal %q, decision %+v, want %q", got, d, tt.want)
				}
			})
		}
	}
}

// TestOwnKeyLimits checks that requests about the presented key count against both limits, and
// that an explanation doesn't count.
func TestOwnKeyLimits(t *testing.T) {
	tokens := newTestTokens(t)
	text := tokens.add(t, "mmk", "limited00000", func(tok *token.Token) {
		tok.Scopes = nil
		tok.RateLimit = token.RateLimit{Requests: 3, Window: 60e9}
		tok.Quota = token.Quota{Requests: 2, Period: token.PeriodMonth}
	})
	g := newTestGate(t, nil)
	r := request(text, func(r *Request) { r.Path = OwnKeyPath })
	for i, want := range []string{"", "", "429 quota_exceeded", "429 rate_limited"} {
		e := g.Explain(tokens, Question{Method: "GET", Target: OwnKeyPath, Text: text, Now: testNow})
		if got := refusalText(e.Refusal); got != want {
			t.Errorf("request %d: explained as %q, want %q", i, got, want)
		}
		d := decide(g, tokens, r)
		if got := refusalText(d.Refusal); got != want {
			t.Errorf("request %d: got refusal %q, want %q", i, got, want)
		}
		if want == "" && (d.Limits.Rate.Remaining != int64(2-i) || d.Limits.Quota.Remaining != int64(1-i)) {
			t.Errorf("request %d: got limits %+v", i, d.Limits)
		}
	}
}

func TestOwnKeyPathIsNoRoute(t *testing.T) {
	for _, route := range []Route{
		{Method: "GET", Path: OwnKeyPath, Scope: token.Scope{Name: "a:b"}},
		{Method: "GET", Path: "/a", Aliases: []string{OwnKeyPath}, Scope: token.Scope{Name: "a:b"}},
	} {
		if err := route.Check(); err == nil || !strings.Contains(err.Error(), "the gate itself") {
			t.Errorf("%v: got error %v", route, err)
		}
	}
}
