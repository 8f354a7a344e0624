package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// preparedRequest returns a request as Caddy passes it to handlers.
func preparedRequest(ctx context.Context, target string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
}

// TestOverTLS checks that overTLS uses the protocol reported by the first proxy in a chain of
// trusted proxies.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		protocols []string
		untrusted bool
		tls       bool
		want      bool
	}{
		"none":                   {},
		"https":                  {protocols: []string{"https"}, want: true},
		"upper case":             {protocols: []string{"HTTPS"}, want: true},
		"http":                   {protocols: []string{"http"}},
		"https, http":            {protocols: []string{"https,http"}, want: true},
		"https, https":           {protocols: []string{"https, https"}, want: true},
		"with spaces":            {protocols: []string{" \thttps , http"}, want: true},
		"http, https":            {protocols: []string{"http, https"}},
		"two lines":              {protocols: []string{"https", "http"}, want: true},
		"two lines, http first":  {protocols: []string{"http", "https"}},
		"two lines, two lists":   {protocols: []string{"https, http", "http"}, want: true},
		"an empty element first": {protocols: []string{",https"}},
		"similar scheme":         {protocols: []string{"httpsx"}},
		"a websocket":            {protocols: []string{"wss"}},
		"untrusted":              {protocols: []string{"https"}, untrusted: true},
		"TLS":                    {tls: true, untrusted: true, want: true},
		"TLS with http":          {tls: true, protocols: []string{"http"}, want: true},
	} {
		r := preparedRequest(t.Context(), "/")
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, !test.untrusted)
		r.Header = http.Header{"X-Forwarded-Proto": test.protocols}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if got := overTLS(r); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// TestUserActor checks that a trusted user's actor name can't be confused with a token,
// Caddy's admin endpoint or another user.
func TestUserActor(t *testing.T) {
	t.Parallel()
	actors := make(map[string]string)
	for user, want := range map[string]string{
		"alice":             "alice",
		"alice@example.com": "alice@example.com",
		"4fQ9Zt2LkVb7":      "user:4fQ9Zt2LkVb7",
		"4fQ9Zt2LkVb":       "4fQ9Zt2LkVb",
		"caddy-admin":       "user:caddy-admin",
		"user:caddy-admin":  "user:user:caddy-admin",
		"user:alice":        "user:user:alice",
		"user:":             "user:user:",
	} {
		got := userActor(user)
		if got != want {
			t.Errorf("user %q: got actor name %q, want %q", user, got, want)
		}
		if other, ok := actors[got]; ok {
			t.Errorf("users %q and %q both have the actor name %q", user, other, got)
		}
		actors[got] = user
	}
}
