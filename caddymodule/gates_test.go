package caddymodule

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestGatesOf checks that gatesOf finds gates everywhere that a Caddyfile can contain them.
func TestGatesOf(t *testing.T) {
	t.Parallel()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte(`{
	api_tokens
}
&(shared) {
	bearer_auth {
		route GET /shared a:shared
	}
}
a.example.com, b.example.com {
	bearer_auth {
		route GET /a a:a
	}
}
:8080 {
	bearer_auth /one/* {
		route GET /one a:one
	}
	handle /two/* {
		route {
			bearer_auth {
				route GET /two a:two
			}
		}
	}
	invoke shared
	handle_errors {
		bearer_auth {
			route GET /error a:error
		}
	}
	reverse_proxy localhost:1 {
		@bad status 500
		handle_response @bad {
			bearer_auth {
				route GET /answer a:answer
			}
		}
	}
}
`), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Apps struct {
			HTTP caddyhttp.App `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	gates, err := gatesOf(&parsed.Apps.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range gates {
		got = append(got, g.name+": "+g.table.Routes[0].Scope.Name)
	}
	slices.Sort(got)
	if want := []string{
		":8080 #2: a:error",
		":8080 #3: a:shared",
		":8080 /one/*: a:one",
		":8080 /two/*: a:two",
		":8080: a:answer",
		"a.example.com, b.example.com: a:a",
	}; !slices.Equal(got, want) {
		t.Errorf("gatesOf found %q, want %q", got, want)
	}
}

// TestGateOutsideRoutes checks that a gate outside the http app's configuration is an error,
// because it would affect gates that are already set up.
func TestGateOutsideRoutes(t *testing.T) {
	t.Parallel()
	configured := func(path string) configuredGate {
		c, err := newConfiguredGate(&BearerAuth{CustomRoutes: []CustomRoute{{Method: "GET", Path: path, Scope: "a:b"}}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	app := new(App)
	if catalog := app.gates.catalog(); catalog.Presets == nil || len(catalog.Scopes) != 0 {
		t.Errorf("got catalog %+v without gates, want an empty one", catalog)
	}
	for _, step := range []struct {
		path string
		want error
	}{{"/a", nil}, {"/a", nil}, {"/b", errOutsideRoutes}} {
		if _, err := app.readGates(caddy.Context{}, configured(step.path)); !errors.Is(err, step.want) {
			t.Errorf("%s: got error %v, want %v", step.path, err, step.want)
		}
	}
}

// TestGateError checks that provisioning reports an invalid gate, no matter which gate is
// provisioned first.
func TestGateError(t *testing.T) {
	t.Parallel()
	raw := func(text string) caddyhttp.RouteList {
		return caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{json.RawMessage(text)}}}
	}
	_, err := gatesOf(&caddyhttp.App{Servers: map[string]*caddyhttp.Server{
		"srv0": {Routes: raw(`{"handler":"bearer_auth","routes":"mollymawk"}`)},
		"srv1": {
			Routes: raw(`{"handler":"subroute","routes":[{"handle":[{"handler":"bearer_auth","routes":"molly"}]}]}`)},
	}})
	if err == nil || !strings.Contains(err.Error(), `"molly"`) {
		t.Errorf("%v", err)
	}
}
