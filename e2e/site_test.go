package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// site is a gate in front of a stand-in for Mollymawk.
type site struct {
	*caddy
	backend  *mollymawktest.Server
	upstream string // the upstream token of the account "default"
}

// globals contains the global options of the tests' Caddyfiles. Caddy logs at the debug level,
// so the tests can find secrets in any log message.
const globals = `
{
	debug
	admin unix/{$DIR}/admin.sock
	auto_https disable_redirects
	skip_install_trust
	api_tokens {
		store bbolt {$DIR}/tokens.db
		account default {
			upstream_token {env.UPSTREAM}
		}
	}
}
`

// plainSite is a gate configured as in the README, but without browser sessions.
const plainSite = globals + `
http://127.0.0.1:{$HTTP} {
	log
	handle {
		bearer_auth {
			routes {$ROUTES:mollymawk}
		}
		reverse_proxy {$BACKEND} {
			transport http {
				versions 1.1
				keepalive off
			}
		}
	}
}
`

// startSite starts a gate with the given Caddyfile in front of a stand-in.
func startSite(t *testing.T, caddyfile string, options mollymawktest.Options) *site {
	t.Helper()
	backend := mollymawktest.New(t, options)
	upstream := backend.AddToken("alice", "gate", 24*time.Hour)
	routes := "mollymawk"
	if options.Generation == mollymawktest.Generation2025 {
		routes = "mollymawk-2025"
	}
	return &site{
		caddy: startCaddy(t, caddyfile, map[string]string{"BACKEND": backend.Addr(), "UPSTREAM": upstream,
			"ROUTES": routes}),
		backend:  backend,
		upstream: upstream,
	}
}

// checkBackend checks that the backend saw the upstream token but none of the given tokens.
func (s *site) checkBackend(tokens ...string) {
	s.t.Helper()
	for _, request := range s.backend.Requests() {
		if got := request.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+s.upstream {
			s.t.Errorf("%s %s reached the backend with %d Authorization headers, want only the upstream token",
				request.Method, request.Target, len(got))
		}
	}
	for _, connection := range s.backend.Connections() {
		for _, token := range tokens {
			checkNoSecret(s.t, "the backend's input", string(connection.Raw), token)
		}
	}
}

// checkLogs checks that Caddy has logged none of the given secrets.
func (s *site) checkLogs(tokens ...string) {
	s.t.Helper()
	for _, secret := range append(tokens, s.upstream) {
		checkNoSecret(s.t, "Caddy's log", s.output.String(), secret)
	}
}

// openConsole opens the console of alice's unikernel "hello". The stream ends when the context
// ends or the caller closes the body.
func (s *site) openConsole(ctx context.Context, token string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		s.url("/api/unikernel/console?unikernel=hello&instance=default"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: new(http.Transport)}).Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("got console status %d", response.StatusCode)
	}
	return response
}
