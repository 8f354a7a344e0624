package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

func TestSiteURL(t *testing.T) {
	t.Parallel()
	policies := caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	for name, c := range map[string]struct {
		app         caddyhttp.App
		listen      string
		tls         bool
		hosts, path []string
		want        string
	}{
		"https": {listen: ":443", tls: true, hosts: []string{"molly.example.com"},
			want: "https://molly.example.com"},
		"http": {listen: ":80", hosts: []string{"molly.example.com"},
			want: "http://molly.example.com"},
		"https on another port": {listen: ":8443", tls: true, hosts: []string{"a.example"},
			want: "https://a.example:8443"},
		"http on another port": {listen: ":8080", hosts: []string{"127.0.0.1", "localhost"},
			want: "http://127.0.0.1:8080"},
		"http port with policies": {listen: ":80", tls: true, hosts: []string{"a.example"},
			want: "http://a.example"},
		"https_port": {app: caddyhttp.App{HTTPSPort: 8443}, listen: ":8443", tls: true, hosts: []string{"a.example"},
			want: "https://a.example:8443"},
		"http_port": {app: caddyhttp.App{HTTPPort: 8080}, listen: ":8080", tls: true, hosts: []string{"a.example"},
			want: "http://a.example:8080"},
		"listening on an address": {listen: "127.0.0.1:8080", want: "http://127.0.0.1:8080"},
		"IPv6":                    {listen: "[::1]:80", want: "http://[::1]"},
		"IPv6 and a port":         {listen: "[::1]:8080", want: "http://[::1]:8080"},
		"API paths": {listen: ":80", hosts: []string{"a.example"}, path: []string{"/api/*"},
			want: "http://a.example"},
		"second host": {listen: ":80", hosts: []string{"*.example", "{env.HOST}", "a.example"},
			want: "http://a.example"},
		"any host":            {listen: ":8080"},
		"unspecified address": {listen: "0.0.0.0:8080"},
		"unspecified IPv6":    {listen: "[::]:8080"},
		"wildcard":            {listen: ":80", hosts: []string{"*.example"}},
		"another path":        {listen: ":80", hosts: []string{"a.example"}, path: []string{"/molly/*"}},
		"unix socket":         {listen: "unix//run/caddy.sock", hosts: []string{"a.example"}},
		"placeholder":         {listen: "{env.LISTEN}", hosts: []string{"a.example"}},
		"no listener":         {hosts: []string{"a.example"}},
	} {
		server := new(caddyhttp.Server)
		if c.listen != "" {
			server.Listen = []string{c.listen}
		}
		if c.tls {
			server.TLSConnPolicies = policies
		}
		if got := siteOf(&c.app, server).within(c.hosts, c.path).url(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
