package caddymodule

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestDashboards checks that the addresses of dashboards are found in a configuration.
func TestDashboards(t *testing.T) {
	for name, test := range map[string]struct {
		sites string
		want  []string
	}{
		"none": {"http://localhost:8080 {\n\trespond hello\n}", nil},
		"a port": {"http://localhost:8082, http://127.0.0.1:8082 {\n\tapi_tokens_admin\n}",
			[]string{"http://localhost:8082/"}},
		"no host": {":8082 {\n\tapi_tokens_admin\n}", []string{"http://localhost:8082/"}},
		"bind":    {":8082 {\n\tbind 127.0.0.2\n\tapi_tokens_admin\n}", []string{"http://127.0.0.2:8082/"}},
		"HTTP":    {"http://keys.example.com {\n\tapi_tokens_admin\n}", []string{"http://keys.example.com/"}},
		"HTTPS": {"keys.example.com {\n\ttls internal\n\tapi_tokens_admin\n}\nkeys.example.net:8443 {\n" +
			"\ttls internal\n\thandle {\n\t\tapi_tokens_admin\n\t}\n}",
			[]string{"https://keys.example.com/", "https://keys.example.net:8443/"}},
		"a path": {"http://localhost:8080 {\n\thandle_path /keys/* {\n\t\tapi_tokens_admin\n\t}\n}",
			[]string{"http://localhost:8080/keys/"}},
		"a wildcard": {"http://*.example.com {\n\tapi_tokens_admin\n}", nil},
		"a matcher": {"http://*.example.com {\n\t@keys host keys.example.com\n" +
			"\thandle @keys {\n\t\tapi_tokens_admin\n\t}\n}",
			[]string{"http://keys.example.com/"}},
		"a socket": {"http://keys.example.com {\n\tbind unix//run/x.sock\n\tapi_tokens_admin\n}", nil},
	} {
		adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
		text, _, err := adapter.Adapt([]byte("{\n\tapi_tokens {\n\t\tstore bbolt "+t.TempDir()+"/tokens.db\n\t}\n}\n"+
			test.sites+"\n"), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var config caddy.Config
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		ctx, err := caddy.ProvisionContext(&config)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		app, err := ctx.App("http")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := dashboards(app.(*caddyhttp.App)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
