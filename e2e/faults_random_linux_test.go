package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The fault tests run a real Caddy while something in its environment fails. Each test has a
// small size, for CI, and a full size. The first command below runs all tests at the small
// size and the second at the full size. The third runs them in random order and at random
// sizes for 30 minutes:
//
//	go test -C e2e -run TestFaults .
//	go test -C e2e -run TestFaults -faults.scale 1 -parallel 1 -timeout 2h .
//	go test -C e2e -run TestFaultsAtRandom -faults.for 30m -timeout 2h -v .
//
// To repeat a run, pass the -kill.seed that it logged. With the race detector, all tests run
// at the small size, because the detector aborts a process with more than 8,128 goroutines.
var (
	faultsScale = flag.Float64("faults.scale", 0, "size of the fault tests, from 0 (for CI) to 1 (full size)")
	faultsFor   = flag.Duration("faults.for", 0, "how long TestFaultsAtRandom runs")
)

// faults holds the fault tests by name.
var faults = map[string]func(*fault){
	"clock":        faultClock,
	"copied-over":  faultCopiedOver,
	"descriptors":  faultDescriptors,
	"disk":         faultDisk,
	"flood":        faultFlood,
	"idle":         faultIdle,
	"immutable":    faultImmutable,
	"older-file":   faultOlderFile,
	"owner":        faultOwner,
	"read-only":    faultReadOnly,
	"reload":       faultReload,
	"removed-file": faultRemovedFile,
	"restore":      faultRestore,
	"second":       faultSecond,
	"streams":      faultStreams,
}

// fault is one run of a fault test.
type fault struct {
	*testing.T
	// scale is 0 for the small size and 1 for the full size.
	scale  float64
	random *rand.Rand
}

// size returns a number between small and full, in proportion to the scale.
func (f *fault) size(small, full int) int {
	if raceFlag == "-race=true" {
		return small
	}
	return small + int(f.scale*float64(full-small))
}

// TestFaults runs each fault test once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, run := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(&fault{t, *faultsScale, rand.New(rand.NewPCG(newSeed(t), 0))})
		})
	}
}

// TestFaultsAtRandom runs randomly chosen fault tests at random sizes, one after the other.
func TestFaultsAtRandom(t *testing.T) {
	if *faultsFor == 0 {
		t.Skip("-faults.for is not set")
	}
	random := rand.New(rand.NewPCG(newSeed(t), 0))
	names := slices.Sorted(maps.Keys(faults))
	for begun := time.Now(); ; {
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			if time.Since(begun) > *faultsFor {
				return
			}
			scale, seed := random.Float64()*random.Float64(), random.Uint64()
			t.Run(name, func(t *testing.T) {
				t.Logf("go test -C e2e -run TestFaults/%s -faults.scale %g -kill.seed %d .", name, scale, seed)
				faults[name](&fault{t, scale, rand.New(rand.NewPCG(seed, 0))})
			})
		}
	}
}

// useMeanwhile runs clients that use the tokens until stop is called. The test fails if a
// request gets no response or is wrongly refused.
func useMeanwhile(c *caddy, tokens []*counted, seed uint64) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	var clients sync.WaitGroup
	clients.Go(func() {
		useTokensBy(ctx, c, tokens, seed, func(err error) {
			if ctx.Err() == nil {
				c.t.Error(err)
				cancel() // the other clients would also fail
			}
		})
	})
	stop = func() {
		cancel()
		clients.Wait()
	}
	c.t.Cleanup(stop)
	return stop
}

// answeredMore waits until the given number of further requests have been answered.
func answeredMore(c *caddy, tokens []*counted, more uint64) {
	c.t.Helper()
	answered := func() (sum uint64) {
		for _, n := range tokens {
			n.mu.Lock()
			sum += n.now.answered
			n.mu.Unlock()
		}
		return sum
	}
	before := answered()
	c.eventually("requests are answered", func() bool { return answered() >= before+more || c.t.Failed() })
}

// leavesNothing waits until Caddy has no more goroutines or open files than before, apart from
// a few that it creates only once.
func (c *caddy) leavesNothing(goroutines, files int) {
	c.t.Helper()
	const once = 5
	c.eventually("goroutines have ended", func() bool { return c.goroutines() <= goroutines+once })
	c.eventually("files and connections are closed", func() bool { return c.openFiles() <= files+once })
}

// restart kills Caddy and starts it again.
func (c *caddy) restart(caddyfile string) {
	c.t.Helper()
	c.kill()
	c.start(caddyfile)
}

// statusOf makes a request with a token on a new connection and returns the response status.
func (c *caddy) statusOf(token, path string) int {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url(path), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response := doRequest(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, request)
	if response.err != nil {
		c.t.Errorf("%s: %v", path, response.err)
	}
	return response.status
}

// wantStatus makes a request with a token and checks the response status.
func (c *caddy) wantStatus(what, token string, want int) {
	c.t.Helper()
	if got := c.statusOf(token, "/allowed"); got != want {
		c.t.Errorf("%s: got status %d, want %d", what, got, want)
	}
}

// tryAdmin calls the admin API and returns the response status and body.
func (c *caddy) tryAdmin(client *http.Client, method, path string, body any) (status int, text string) {
	c.t.Helper()
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		reader = strings.NewReader(string(encoded))
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, "http://caddy/api_tokens/v1/"+path, reader)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", method, path, err, c.output)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, string(content)
}

// newTokenBody returns the JSON body that creates a token for countingSite.
func newTokenBody(name string) map[string]any {
	return map[string]any{"name": name, "scopes": []string{"test:allowed"}, "expires_in": "1d"}
}

// refusesChanges checks that changes fail with status 503, and that each response or Caddy's
// log names the causes. Until the store is writable again, Caddy may refuse the token, because
// Caddy can't know which changes reached the store.
func (c *caddy) refusesChanges(token string, causes ...string) {
	c.t.Helper()
	id := tokenID(token)
	for _, change := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "tokens", newTokenBody("refused")},
		{http.MethodPost, "tokens/" + id + "/revoke", nil},
		{http.MethodDelete, "tokens/" + id, nil},
		{http.MethodPatch, "tokens/" + id, map[string]any{"name": "refused"}},
	} {
		mark := c.logMark()
		status, response := c.tryAdmin(c.admin(), change.method, change.path, change.body)
		if status != http.StatusServiceUnavailable {
			c.t.Errorf("%s %s: got status %d, want 503: %s", change.method, change.path, status, response)
			continue
		}
		said := response + c.refusalSince(mark)
		for _, cause := range causes {
			if !strings.Contains(said, cause) {
				c.t.Errorf("%s %s: neither the response nor the log contains %q:\n%s", change.method, change.path,
					cause, said)
			}
		}
	}
}

// refusalSince waits until Caddy logs a refused admin API call, and returns the log since the
// given mark.
func (c *caddy) refusalSince(mark int) (said string) {
	c.t.Helper()
	c.eventually("the log says that a call was refused", func() bool {
		said = c.logSince(mark)
		return strings.Contains(said, "admin API call refused")
	})
	return said
}

// refusesToStart starts Caddy and checks that it exits with an error that contains all given
// words.
func (c *caddy) refusesToStart(caddyfile string, words ...string) {
	c.t.Helper()
	mark := c.logMark()
	c.launch(caddyfile)
	c.eventually("Caddy exits or serves", func() bool { return c.ended() || c.serves() })
	if !c.ended() {
		c.t.Errorf("Caddy started, want an error that contains %q:\n%s", words, c.logSince(mark))
		c.kill()
		return
	}
	code := c.cmd.ProcessState.ExitCode()
	c.cmd = nil
	said := c.logSince(mark)
	if code == 0 {
		c.t.Errorf("Caddy exited with code 0:\n%s", said)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			c.t.Errorf("the error lacks %q:\n%s", word, said)
		}
	}
}

// revokes revokes a token and checks that Caddy then refuses it.
func (c *caddy) revokes(token string) {
	c.t.Helper()
	c.call(http.MethodPost, "tokens/"+tokenID(token)+"/revoke", nil, http.StatusOK)
	c.wantStatus("a revoked token", token, http.StatusUnauthorized)
}

// recovers checks that after a fault, all counts are exact, healthz shows no warning, and
// Caddy can be restarted.
func recovers(c *caddy, tokens []*counted) {
	c.t.Helper()
	checkUsage(c, tokens)
	c.eventually("healthz shows no warning", func() bool { return c.healthWarning() == "" })
	c.restart(countingSite)
}
