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

// TestAdminEndpointWhileStarting calls the admin API of a Caddy whose store another one
// has open. The call is answered when that one has ended; it is not told to configure a
// store.
func TestAdminEndpointWhileStarting(t *testing.T) {
	t.Parallel()
	first := startSite(t, plainSite, mollymawktest.Options{})
	key := first.token("--preset", "read")
	second := newCaddy(t, map[string]string{"BACKEND": first.backend.Addr(), "UPSTREAM": first.upstream,
		"ROUTES": "mollymawk"})
	second.launch(strings.ReplaceAll(plainSite, "{$DIR}/tokens.db", first.path("tokens.db")))
	asked := make(chan struct{})
	type answer struct {
		status int
		body   string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		tell := sync.OnceFunc(func() { close(asked) })
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { tell() }}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet,
			"http://caddy/api_tokens/v1/tokens", nil)
		if err != nil {
			answers <- answer{err: err}
			return
		}
		response, err := second.admin().Do(request)
		for err != nil && t.Context().Err() == nil { // it doesn't listen yet
			response, err = second.admin().Do(request)
		}
		if err != nil {
			answers <- answer{err: err}
			return
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		answers <- answer{response.StatusCode, string(body), err}
	}()
	<-asked
	first.stop()
	if got := <-answers; got.err != nil || got.status != http.StatusOK || !strings.Contains(got.body, tokenID(key)) {
		t.Errorf("%d %s %v", got.status, got.body, got.err)
	}
}
