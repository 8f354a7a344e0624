package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestRequestHeaders sends headers through a gate that has a header allowlist.
func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	s := startSite(t, strings.Replace(plainSite, "routes {$ROUTES:mollymawk}", `routes {$ROUTES:mollymawk}
			browser_sessions molly_session
			request_headers Accept x-request-id If-Match`, 1), mollymawktest.Options{})
	token := s.token("--scope", "*")
	sent := []string{
		"Accept: text/plain", "X-Request-Id: 7", "If-Match: x", "X-Custom: no", "Referer: no", "X-Request-Ids: no",
		"Accept-Language: no", "X-Tenant: no", "Sudo: root", "Content-Type: application/json",
	}
	args := []string{"-H", "User-Agent: no"}
	for _, line := range sent {
		args = append(args, "-H", line)
	}
	body := `{"block_name":"x","albatross_instance":"default"}`
	curl(t, append(append(bearer(token), args...), "-d", body, s.url("/api/block/delete"))...)
	curl(t, append(args, s.url("/style.css"))...)
	requests := s.backend.Requests()
	if len(requests) != 2 {
		t.Fatalf("the backend saw %d requests", len(requests))
	}
	var got []string
	for _, line := range requests[0].Lines {
		name, _, _ := strings.Cut(line, ":")
		if !strings.HasPrefix(name, "X-Token-") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	// Caddy's proxy adds some headers.
	want := []string{"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type",
		"Host", "If-Match", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}
	if !slices.Equal(got, want) || string(requests[0].Body) != body {
		t.Errorf("with a token, the backend saw headers %q, want %q, and the body %q", got, want, requests[0].Body)
	}
	for _, name := range []string{"X-Custom", "Referer", "X-Tenant", "Sudo"} {
		if len(requests[1].Values(name)) != 1 {
			t.Errorf("without a token, the backend didn't see %s", name)
		}
	}
}
