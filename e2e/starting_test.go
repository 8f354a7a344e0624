package e2e

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestAdminEndpointWhileStarting calls a Caddy's admin API while another Caddy holds its
// store. The call must succeed once the other Caddy has exited, and must not be refused with
// advice to configure a store.
func TestAdminEndpointWhileStarting(t *testing.T) {
	t.Parallel()
	first := startSite(t, plainSite, mollymawktest.Options{})
	key := first.token("--preset", "read")
	second := newCaddy(t, map[string]string{"BACKEND": first.backend.Addr(), "UPSTREAM": first.upstream,
		"ROUTES": "mollymawk"})
	second.launch(strings.ReplaceAll(plainSite, "{$DIR}/tokens.db", first.path("tokens.db")))
	asked := make(chan struct{})
	type result struct {
		status int
		body   string
		err    error
	}
	results := make(chan result, 1)
	go func() {
		tell := sync.OnceFunc(func() { close(asked) })
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { tell() }}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet,
			"http://caddy/api_tokens/v1/tokens", nil)
		if err != nil {
			results <- result{err: err}
			return
		}
		response, err := second.admin().Do(request)
		for err != nil && t.Context().Err() == nil { // Caddy isn't listening yet
			response, err = second.admin().Do(request)
		}
		if err != nil {
			results <- result{err: err}
			return
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		results <- result{response.StatusCode, string(body), err}
	}()
	<-asked
	first.stop()
	if got := <-results; got.err != nil || got.status != http.StatusOK || !strings.Contains(got.body, tokenID(key)) {
		t.Errorf("%d %s %v", got.status, got.body, got.err)
	}
}
