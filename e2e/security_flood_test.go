package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// guess returns a well-formed token that doesn't exist, a different one for each i.
func guess(prefix string, i int) string {
	return signToken(fmt.Sprintf("%s_%012d_%s", prefix, i, strings.Repeat("aB3dE5gH", 4)))
}

// flood sends requests as fast as the gate answers them, pipelined on a few connections, and
// returns how often each status occurred.
func (c *caddy) flood(t *testing.T, requests int, request func(i int) string) map[int]int {
	t.Helper()
	const connections, atOnce = 4, 50
	var mu sync.Mutex
	statuses := make(map[int]int)
	var group sync.WaitGroup
	for n := range connections {
		group.Go(func() {
			conn, err := dialH1("127.0.0.1:" + c.env["HTTP"])
			if err != nil {
				t.Errorf("connecting: %v", err)
				return
			}
			defer conn.close()
			for i := n; i < requests; i += connections * atOnce {
				_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
				var batch strings.Builder
				sent := 0
				for j := i; j < min(requests, i+connections*atOnce); j += connections {
					batch.WriteString(request(j))
					sent++
				}
				if _, err := io.WriteString(conn, batch.String()); err != nil {
					t.Errorf("sending: %v", err)
					return
				}
				for range sent {
					response, err := http.ReadResponse(conn.r, nil)
					if err != nil {
						t.Errorf("no response: %v", err)
						return
					}
					if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") == "" {
						t.Errorf("the response lacks Retry-After")
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
					mu.Lock()
					statuses[response.StatusCode]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return statuses
}

// quietSite is a gate with default logging, that is, with neither the debug level nor an
// access log.
var quietSite = strings.NewReplacer("\tdebug\n", "", "\tlog\n", "").Replace(plainSite)

// live returns Caddy's memory use in bytes: the heap size after a garbage collection and the
// resident set size.
func (c *caddy) live() (heap, resident int64) {
	c.t.Helper()
	_, after, _ := strings.Cut(c.getAdmin("/debug/pprof/heap?gc=1&debug=1"), "# HeapAlloc = ")
	line, _, _ := strings.Cut(after, "\n")
	heap, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		c.t.Fatalf("reading the size of the heap: %v", err)
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return heap, pages * int64(os.Getpagesize())
}

// TestFloodOfGuesses presents 200,000 tokens that don't exist. The gate must not store or log
// anything about them, and valid tokens must keep working. The store's own tests cover the
// cost of a failed lookup.
func TestFloodOfGuesses(t *testing.T) {
	t.Parallel()
	guesses, warmUp := 200_000, 20_000
	if raceFlag == "-race=true" {
		guesses = 50_000 // the race detector makes the gate ten times slower
	}
	s := startSite(t, quietSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	request := func(i int) string {
		return "GET /api/unikernels HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearerLine(guess("mmk", i)) + "\r\n\r\n"
	}
	s.flood(t, warmUp, request)
	heap, resident := s.live()
	mark := s.logMark()

	ended := make(chan struct{})
	var good sync.WaitGroup
	slowest, calls := time.Duration(0), 0
	good.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			start := time.Now()
			s.expect(token, http.StatusOK)
			slowest, calls = max(slowest, time.Since(start)), calls+1
		}
	})
	start := time.Now()
	statuses := s.flood(t, guesses, func(i int) string { return request(warmUp + i) })
	took := time.Since(start)
	close(ended)
	good.Wait()

	heapNow, residentNow := s.live()
	t.Logf("%d guesses in %v: %v. Heap %d KiB, then %d KiB; resident memory %d KiB, then %d KiB. "+
		"%d valid calls in the meantime; the slowest took %v",
		guesses, took, statuses, heap>>10, heapNow>>10, resident>>10, residentNow>>10, calls, slowest)
	if statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests] != guesses {
		t.Errorf("got statuses %v", statuses)
	}
	if calls == 0 {
		t.Errorf("no client made a valid call")
	}
	// Keeping 10 bytes per guess would add up to 2 MB.
	if heapNow > heap+1<<20 {
		t.Errorf("the heap grew by %d KiB", (heapNow-heap)>>10)
	}
	if residentNow > resident+32<<20 {
		t.Errorf("Caddy's memory grew by %d KiB", (residentNow-resident)>>10)
	}
	if logged := s.logSince(mark); len(logged) > 10<<10 {
		t.Errorf("Caddy logged %d bytes: %s", len(logged), logged[:2000])
	}
	if allowed, denied := s.usage(token); allowed != uint64(calls) || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied, want %d and 0", allowed, denied, calls)
	}
}

// TestFloodOfTokensInURLs checks that the gate warns about tokens in URLs only once per
// minute, no matter how many there are.
func TestFloodOfTokensInURLs(t *testing.T) {
	t.Parallel()
	const requests = 5000
	s := startSite(t, quietSite, mollymawktest.Options{})
	start := time.Now()
	statuses := s.flood(t, requests, func(i int) string {
		return "GET /?t=" + guess("mmk", i) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	})
	if statuses[http.StatusBadRequest] != requests {
		t.Errorf("got statuses %v", statuses)
	}
	s.stop() // flushes the log
	most := 1 + int(time.Since(start)/time.Minute)
	if lines := strings.Count(s.output.String(),
		"request contains a token outside the Authorization header"); lines < 1 || lines > most {
		t.Errorf("Caddy logged %d warnings, want 1 to %d", lines, most)
	}
}

// TestFloodOfAdminGuesses checks that a site throttles guesses of admin tokens, but not an
// admin at the same address.
func TestFloodOfAdminGuesses(t *testing.T) {
	t.Parallel()
	const guesses, limit = 10_000, 100 // per minute
	s := startSite(t, adminSite, mollymawktest.Options{})
	admin := s.token("--kind", "admin")
	tokens := []func(i int) string{
		func(i int) string { return guess("mma", i) },
		func(i int) string { return signToken(fmt.Sprintf("%s%032d", admin[:17], i)) }, // with a valid ID
		func(int) string { return "x" },
		func(i int) string { return guess("mmk", i) },
	}
	start := time.Now()
	statuses := s.flood(t, guesses, func(i int) string {
		return "GET /keys/api/v1/tokens HTTP/1.1\r\nHost: 127.0.0.1\r\n" + bearerLine(tokens[i%len(tokens)](i)) +
			"\r\n\r\n"
	})
	forgiven := int(time.Since(start).Seconds()*limit/60) + 1
	if n := statuses[http.StatusUnauthorized]; n < limit || n > limit+forgiven ||
		n+statuses[http.StatusTooManyRequests] != guesses {
		t.Errorf("got statuses %v", statuses)
	}
	if status, _, body := curl(t, append(bearer(admin), s.url("/keys/api/v1/tokens"))...); status != http.StatusOK {
		t.Errorf("the admin got status %d: %s", status, body)
	}
	if n := strings.Count(s.output.String(), `"code":"too_many_failures"`); n < guesses-limit-forgiven {
		t.Errorf("Caddy logged only %d refusals of %d guesses at the debug level", n, guesses)
	}
	s.checkLogs(admin)
}

// TestFirstStart checks that a new store contains no tokens, and that only callers of Caddy's
// own admin endpoint can create the first one.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	s := startSite(t, adminSite, mollymawktest.Options{})
	if got := s.counts(); len(got) != 0 {
		t.Errorf("a new store contains tokens: %v", got)
	}
	for _, path := range []string{"/keys/api/v1/tokens", "/api/v1/tokens", "/trusting/api/v1/tokens"} {
		for name, credential := range map[string][]string{
			"nobody": nil, "a guess": bearer(guess("mma", 0)), "a word": bearer("admin"),
			"a password": {"-u", "admin:admin"}, "Mollymawk's": bearer(s.upstream),
		} {
			args := append(credential, "-H", "Content-Type: application/json", "-d",
				`{"name":"first","kind":"admin","expires_in":"1d"}`, s.url(path))
			if status, _, body := curl(t, args...); status != http.StatusUnauthorized {
				t.Errorf("%s with %s: got status %d: %s", path, name, status, body)
			}
		}
	}
	if got := s.counts(); len(got) != 0 {
		t.Errorf("a refused call created tokens: %v", got)
	}
	if strings.Contains(s.output.String(), "mma_") {
		t.Errorf("Caddy printed a token")
	}
	admin := s.token("--kind", "admin")
	if status, _, body := curl(t, append(bearer(admin), s.url("/keys/api/v1/tokens"))...); status != http.StatusOK {
		t.Errorf("the first admin got status %d: %s", status, body)
	}
}
