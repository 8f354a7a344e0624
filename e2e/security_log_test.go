package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSecretInAnotherHeader checks that a credential that an operator passes to a backend in
// another header appears in Caddy's debug log, as security.md warns, and that the log filter
// from that page removes it.
func TestSecretInAnotherHeader(t *testing.T) {
	t.Parallel()
	const key = "9f0c1a7e5b7d4e6f"
	for name, test := range map[string]struct {
		format string
		shows  bool
	}{
		"unfiltered": {"", true},
		"filtered": {"\tlog default {\n\t\tformat filter {\n\t\t\trequest>headers>X-Backend-Key delete\n\t\t}\n\t}\n",
			false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			backend := httptest.NewServer(
				http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("X-Backend-Key") }))
			t.Cleanup(backend.Close)
			config := strings.Replace(globals, "{\n", "{\n"+test.format, 1) + "http://127.0.0.1:{$HTTP} {\n\tlog\n" +
				gateBlock("route GET /read plain:read") +
				"reverse_proxy {$KEYED} {\n\theader_up X-Backend-Key {env.KEY}\n}\n}"
			c := startCaddy(t, config, map[string]string{"KEYED": backend.Listener.Addr().String(),
				"UPSTREAM": "backend-token", "KEY": key})
			token := c.mint(map[string]any{"scopes": []string{"plain:read"}})
			if status, _, body := curl(t, append(bearer(token), c.url("/read"))...); status != http.StatusOK {
				t.Fatalf("got status %d: %s", status, body)
			}
			if sent := <-got; sent != key {
				t.Errorf("the backend got %q", sent)
			}
			c.stop() // flushes the log
			if !strings.Contains(c.output.String(), `"upstream roundtrip"`) {
				t.Errorf("the proxy logged nothing at the debug level, so this test checked nothing")
			}
			if shows := strings.Contains(c.output.String(), key); shows != test.shows {
				t.Errorf("the log contains the key: got %t, want %t", shows, test.shows)
			}
			checkNoSecret(t, "the log", c.output.String(), token)
			checkNoSecret(t, "the log", c.output.String(), "backend-token")
		})
	}
}
