package e2e

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestFileLimit sends more simultaneous requests than Caddy may have files open. Caddy must
// recover, and the store must not be damaged.
func TestFileLimit(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	few := unix.Rlimit{Cur: 128, Max: 128}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		t.Fatal(err)
	}
	const clients = 400
	var ok, refused, none atomic.Uint64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range clients {
		group.Go(func() {
			<-start
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/api/unikernels"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Authorization", "Bearer "+token)
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			response, err := client.Do(request)
			if err != nil {
				none.Add(1)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			switch response.StatusCode {
			case http.StatusOK:
				ok.Add(1)
			case http.StatusBadGateway: // no file descriptor was left for the backend connection
				refused.Add(1)
			default:
				t.Errorf("got status %d", response.StatusCode)
			}
		})
	}
	close(start)
	group.Wait()
	t.Logf("%d requests succeeded, %d failed to reach the backend, %d got no response", ok.Load(), refused.Load(),
		none.Load())
	if ok.Load() == 0 {
		t.Errorf("no request got a response")
	}
	s.expect(token, http.StatusOK)
	s.expect(s.token("--preset", "read"), http.StatusOK)
	if allowed, denied := s.usage(token); allowed != ok.Load()+refused.Load()+1 || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied requests, want %d", allowed, denied,
			ok.Load()+refused.Load()+1)
	}
	s.checkBackend(token)
	s.checkLogs(token)
}
