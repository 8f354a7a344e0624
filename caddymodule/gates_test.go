package caddymodule

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestGatesOf finds gates wherever a Caddyfile can have them.
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
		t.Errorf("found %q, want %q", got, want)
	}
}
