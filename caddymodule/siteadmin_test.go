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

// preparedRequest returns a request as Caddy gives it to handlers.
func preparedRequest(ctx context.Context, target string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), new(caddyhttp.Server))
}

// TestOverTLS: of a chain of trusted proxies, the first names what the client used.
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
		"something like it":      {protocols: []string{"httpsx"}},
		"a websocket":            {protocols: []string{"wss"}},
		"nobody trusted":         {protocols: []string{"https"}, untrusted: true},
		"TLS":                    {tls: true, untrusted: true, want: true},
		"TLS, and http":          {tls: true, protocols: []string{"http"}, want: true},
	} {
		r := preparedRequest(t.Context(), "/")
		caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, !test.untrusted)
		r.Header = http.Header{"X-Forwarded-Proto": test.protocols}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if got := overTLS(r); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
