package gate

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"
)

func TestCameEarly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		tls    *tls.ConnectionState
		header http.Header
		want   bool
	}{
		"no TLS":               {},
		"handshake complete":   {tls: &tls.ConnectionState{HandshakeComplete: true}},
		"handshake incomplete": {tls: &tls.ConnectionState{}, want: true},
		"proxy's header":       {header: http.Header{"Early-Data": {"1"}}, want: true},
		"proxy's header, over TLS": {tls: &tls.ConnectionState{HandshakeComplete: true},
			header: http.Header{"Early-Data": {"1"}}, want: true},
		"invalid header, twice": {header: http.Header{"Early-Data": {"0", "no"}}, want: true},
		"other header":          {header: http.Header{"X-Early-Data": {"1"}}},
	} {
		if got := IsEarlyData(&http.Request{TLS: tt.tls, Header: tt.header}); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// Early data may be replayed, so the request must be harmless, and its source address proves
// nothing.
func TestDecideEarlyData(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	browsers := newTestGate(t, func(c *Config) { c.BrowserSessions = true })
	for name, tt := range map[string]struct {
		request *Request
		want    string
		matched bool
	}{
		"GET":              {request: request(tokens.good, nil), matched: true},
		"GET, bad token":   {request: request(tokens.unknown, nil), want: "401 unknown_token"},
		"GET, bound token": {request: request(tokens.local, nil), want: "425 too_early", matched: true},
		"HEAD": {request: request(tokens.good, func(r *Request) { r.Method = "HEAD" }),
			want: "405 method_not_allowed", matched: true},
		"OPTIONS": {request: request(tokens.good, func(r *Request) { r.Method = "OPTIONS" }),
			want: "405 method_not_allowed", matched: true},
		"POST": {request: request(tokens.good, func(r *Request) { r.Method = "POST" }),
			want: "425 too_early"},
		"POST, bound token": {request: request(tokens.local, func(r *Request) { r.Method = "POST" }),
			want: "425 too_early"},
		"POST, bad token": {request: request(tokens.unknown, func(r *Request) { r.Method = "POST" }),
			want: "425 too_early"},
		"POST, garbage": {request: request("x", func(r *Request) { r.Method = "POST" }), want: "425 too_early"},
		"unlisted method": {request: request(tokens.good, func(r *Request) { r.Method = "get" }),
			want: "425 too_early"},
		"POST, wrong path": {request: request(tokens.good, func(r *Request) { r.Method, r.Path = "POST", "//" }),
			want: "400 invalid_path"},
		"POST, no token": {request: request("", func(r *Request) { r.Method, r.Authorization = "POST", nil }),
			want: "401 missing_token"},
		"POST, session": {
			request: request("", func(r *Request) { r.Method, r.Authorization, r.Session = "POST", nil, true })},
		"POST, unlisted path": {
			request: request("", func(r *Request) { r.Method, r.Path, r.Authorization = "POST", "/login", nil })},
	} {
		t.Run(name, func(t *testing.T) {
			tt.request.EarlyData = true
			d := decide(browsers, tokens, tt.request)
			if got := refusalText(d.Refusal); got != tt.want || d.Matched() != tt.matched {
				t.Errorf("got refusal %q, matched %v; want %q, %v", got, d.Matched(), tt.want, tt.matched)
			}
		})
	}
}

// Early data doesn't count as a token guess.
func TestEarlyDataDoesNotCountAsFailure(t *testing.T) {
	t.Parallel()
	tokens := newTestTokens(t)
	g := newTestGate(t, func(c *Config) { c.Failures = NewFailureLimit(1, time.Minute) })
	early := request(tokens.unknown, func(r *Request) { r.Method, r.EarlyData = "POST", true })
	for range 3 {
		if got := refusalText(decide(g, tokens, early).Refusal); got != "425 too_early" {
			t.Errorf("got refusal %q, want 425 too_early", got)
		}
	}
	early.EarlyData = false
	if got := refusalText(decide(g, tokens, early).Refusal); got != "401 unknown_token" {
		t.Errorf("after the handshake: got refusal %q, want 401 unknown_token", got)
	}
}
