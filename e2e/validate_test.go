package e2e

import (
	"context"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestValidateRefusesWhatRunRefuses loads configurations whose mistakes Caddy can detect only
// once it knows all gates. Every way of loading a configuration must return the same error.
// Caddy provisions servers in random order, so the test validates each configuration several
// times.
func TestValidateRefusesWhatRunRefuses(t *testing.T) {
	t.Parallel()
	const head = `
{
	admin unix/{$DIR}/admin.sock
	auto_https off
	api_tokens {
		store bbolt {$DIR}/tokens.db
		account default
		account a {
			max_scopes `
	const options = `
		}
	}
}
`
	const first = `
http://127.0.0.1:{$HTTP} {
	bearer_auth {
		routes mollymawk
	}
}
`
	const second = `
http://127.0.0.1:{$HTTPS} {
	handle /x/* {
		route {
			bearer_auth {
				route GET /x/report report:read
			}
		}
	}
}
`
	const inErrors = `
http://127.0.0.1:{$HTTPS} {
	handle_errors {
		bearer_auth {
			route GET /x/report report:read
		}
	}
}
`
	running := startCaddy(t, head+"read"+options+first, nil)
	for name, test := range map[string]struct{ caddyfile, refused string }{
		"known": {head + "unikernel:list read" + options + first, ""},
		"unknown scope": {head + "unikernel:lst" + options + first,
			`account a: max_scopes: "unikernel:lst" is not a known scope`},
		"unknown preset": {head + "unikernel:list reed" + options + first,
			`account a: max_scopes: "reed" is not a known scope`},
		"unknown resource": {head + "unikernels:*" + options + first,
			`account a: max_scopes: "unikernels:*" is not a known scope`},
		"scope from the second gate": {head + "report:read unikernel:list" + options + first + second, ""},
		"scope from the only gate":   {head + "report:read" + options + second, ""},
		"scope that no gate uses": {head + "report:write" + options + first + second,
			`account a: max_scopes: "report:write" is not a known scope`},
		"scope from a gate in an error route": {head + "report:read" + options + first + inErrors, ""},
		"scope that no gate uses, error route": {head + "report:list" + options + first + inErrors,
			`account a: max_scopes: "report:list" is not a known scope`},
		"preset from another route table": {head + "read" + options + second,
			`account a: max_scopes: "read" is not a known scope`},
		"no gate": {head + "unikernel:lst" + options, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, nil)
			file := c.write("Caddyfile", test.caddyfile)
			adapted, err := c.command("adapt", "--config", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			json := c.write("caddy.json", string(adapted))
			say := func(what string, err error, said string) {
				t.Helper()
				said = strings.ReplaceAll(said, `\"`, `"`)
				if (err != nil) != (test.refused != "") || !strings.Contains(said, test.refused) {
					t.Errorf("%s: %v, want %q:\n%s", what, err, test.refused, said)
				}
			}
			for range 4 {
				out, err := c.command("validate", "--config", file).CombinedOutput()
				say("validate", err, string(out))
			}
			out, err := c.command("validate", "--config", json).CombinedOutput()
			say("validate JSON", err, string(out))
			out, err = c.command("adapt", "--validate", "--config", file).CombinedOutput()
			say("adapt --validate", err, string(out))
			if test.refused == "" {
				return // with a valid configuration, Caddy would keep running
			}
			response, err := running.admin().Post("http://caddy/load", "text/caddyfile",
				strings.NewReader(test.caddyfile))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusBadRequest ||
				!strings.Contains(strings.ReplaceAll(string(body), `\"`, `"`), test.refused) {
				t.Errorf("loading the configuration: got status %d: %s", response.StatusCode, body)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			run := c.command("run", "--config", file)
			cmd := exec.CommandContext(ctx, run.Path, run.Args[1:]...)
			cmd.Dir, cmd.Env = run.Dir, run.Env
			out, err = cmd.CombinedOutput()
			if ctx.Err() != nil {
				t.Fatalf("run doesn't exit:\n%s", out)
			}
			say("run", err, string(out))
		})
	}
}
