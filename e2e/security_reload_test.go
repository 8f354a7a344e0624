package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// adapted returns the JSON configuration that a Caddyfile adapts to.
func (c *caddy) adapted(caddyfile string) []byte {
	c.t.Helper()
	cmd := c.command("adapt", "--adapter", "caddyfile", "--config", c.write("Adapt", caddyfile))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%v: %s", err, errs.String())
	}
	return out
}

// load loads a configuration through the admin endpoint, without starting a caddy process, and
// returns the response status.
func (c *caddy) load(config []byte) (int, error) {
	request, err := http.NewRequest(http.MethodPost, "http://caddy/load", bytes.NewReader(config))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Cache-Control", "must-revalidate") // forces a reload of the same configuration
	// Caddy replaces its admin endpoint with each configuration, and drops connections to the
	// old endpoint that are just being established. Loading the configuration again is
	// harmless.
	var response *http.Response
	for range 5 {
		request.Body = io.NopCloser(bytes.NewReader(config))
		if response, err = c.admin().Do(request); err == nil {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// timesOpen returns how many open descriptors Caddy has for a file.
func (c *caddy) timesOpen(path string) (n int) {
	c.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && target == path {
			n++
		}
	}
	return n
}

// minter creates tokens one after the other through the admin API, even while Caddy reloads or
// stops.
type minter struct {
	s *site
	// made contains the acknowledged tokens. calls counts the responses by status, and lost
	// counts the calls without a response.
	mu    sync.Mutex
	made  map[string]bool
	calls map[int]int
	lost  int
}

// mint creates tokens until the context ends.
func (m *minter) mint(ctx context.Context) {
	client := m.s.admin()
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://caddy/api_tokens/v1/tokens",
			strings.NewReader(`{"name":"made","expires_in":"1d","preset":"read"}`))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		m.mu.Lock()
		if err != nil {
			m.lost++
			m.mu.Unlock()
			time.Sleep(time.Millisecond) // Caddy may have exited
			continue
		}
		var created struct{ ID string }
		err = json.NewDecoder(response.Body).Decode(&created)
		_ = response.Body.Close()
		m.calls[response.StatusCode]++
		if response.StatusCode == http.StatusCreated && err == nil {
			m.made[created.ID] = true
		}
		m.mu.Unlock()
	}
}

// answered returns the number of responses with the given status.
func (m *minter) answered(status int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[status]
}

func (m *minter) responses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, count := range m.calls {
		n += count
	}
	return n
}

// TestReloadUnderLoad reloads repeatedly, sometimes with a configuration that Caddy rejects,
// while clients make requests and an admin creates tokens. Then it sends SIGTERM while a
// request is still in progress. The store must stay open, no request may fail, the admin API
// must keep working after rejected reloads, all acknowledged tokens must exist, and every
// request must be counted exactly once.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	const reloads = 100
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	s.backend.Emit("alice", "default", "hello", "booted")
	token := s.token("--preset", "read")
	good := s.adapted(plainSite)
	bad := bytes.Replace(good, []byte("{env.UPSTREAM}"), []byte("{env.UNSET}"), 1)
	s.expect(token, http.StatusOK)

	minting, stopMinting := context.WithCancel(t.Context())
	defer stopMinting()
	admin := &minter{s: s, made: make(map[string]bool), calls: make(map[int]int)}
	var admins sync.WaitGroup
	admins.Go(func() { admin.mint(minting) })

	// Even without Mollygate, a reload may reset a connection that is just being established,
	// and with HTTP/1 other connections as well. This test therefore uses HTTP/2 and repeats
	// such requests.
	calling, stopCalling := context.WithCancel(t.Context())
	defer stopCalling()
	var clients sync.WaitGroup
	var passed, reset atomic.Int64
	for range 4 {
		clients.Go(func() {
			protocols := new(http.Protocols)
			protocols.SetUnencryptedHTTP2(true)
			client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
			defer client.CloseIdleConnections()
			for calling.Err() == nil {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/api/unikernels"), nil)
				if err != nil {
					panic(err)
				}
				request.Header.Set("Authorization", "Bearer "+token)
				response, err := client.Do(request)
				if err != nil {
					reset.Add(1)
					continue
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK || err != nil {
					t.Errorf("a request got %d: %v %s", response.StatusCode, err, body)
					return
				}
				passed.Add(1)
			}
		})
	}
	for i := range reloads {
		config, want := good, http.StatusOK
		if i%5 == 4 {
			config, want = bad, http.StatusBadRequest
		}
		before := passed.Load()
		if status, err := s.load(config); err != nil || status != want {
			t.Fatalf("reload %d: status %d, want %d: %v", i, status, want, err)
		}
		s.eventually("requests pass after the reload", func() bool { return passed.Load() > before+5 || t.Failed() })
		if n := s.timesOpen(s.path("tokens.db")); n != 1 {
			t.Fatalf("reload %d: the store is open %d times", i, n)
		}
	}
	stopCalling()
	clients.Wait()
	console := s.openConsole(t.Context(), token).Body
	defer console.Close()

	responses := admin.responses()
	if refused := admin.answered(http.StatusServiceUnavailable); refused > 0 {
		t.Errorf("%d of %d admin API calls got status 503 during reloads", refused, responses)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.eventually("the admin API responds during the last request, or has stopped", func() bool {
		admin.mu.Lock()
		lost := admin.lost
		admin.mu.Unlock()
		return admin.responses() > responses+20 || lost > 20
	})
	console.Close()
	select {
	case <-s.exited:
	case <-time.After(exchangeTimeout):
		t.Fatal("Caddy didn't exit")
	}
	stopMinting()
	admins.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("Caddy exited with code %d:\n%s", code, s.output)
	}
	s.cmd = nil
	if n := reset.Load(); n > reloads {
		t.Errorf("%d requests got no response", n)
	}
	t.Logf("%d requests passed, %d got no response; admin API calls by status: %v, without response: %d",
		passed.Load(), reset.Load(), admin.calls, admin.lost)
	for status := range admin.calls {
		if status != http.StatusCreated && status != http.StatusServiceUnavailable {
			t.Errorf("the admin API responded with status %d", status)
		}
	}

	s.start(plainSite)
	counts := s.allCounts()
	for id := range admin.made {
		if _, ok := counts[id]; !ok {
			t.Errorf("token %s was acknowledged but is missing", id)
		}
	}
	// The expected count includes the console request and one made before the reloads.
	least, most := int(passed.Load())+2, int(passed.Load()+reset.Load())+2
	if got := counts[tokenID(token)]; got.allowed < least || got.allowed > most || got.denied != 0 {
		t.Errorf("counted %+v, want %d to %d", got, least, most)
	}
	s.checkLogs(token)
}

// allCounts reads all tokens' counts, page by page.
func (c *caddy) allCounts() map[string]uses {
	c.t.Helper()
	counts := make(map[string]uses)
	for cursor := ""; ; {
		var list struct {
			Data []struct {
				ID          string
				UsageCount  int `json:"usage_count"`
				DeniedCount int `json:"denied_count"`
			}
			NextCursor string `json:"next_cursor"`
		}
		c.decode(c.getAdmin("/api_tokens/v1/tokens?limit=200"+cursor), &list)
		for _, token := range list.Data {
			counts[token.ID] = uses{token.UsageCount, token.DeniedCount}
		}
		if list.NextCursor == "" {
			return counts
		}
		cursor = "&cursor=" + list.NextCursor
	}
}

// TestRefusedReloads checks that a rejected configuration leaves nothing behind, so the store
// is closed once its last user is gone.
func TestRefusedReloads(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	route := func(line string) string {
		return strings.Replace(plainSite, "routes {$ROUTES:mollymawk}", "routes {$ROUTES:mollymawk}\n"+line, 1)
	}
	if err := os.Link(s.path("tokens.db"), s.path("hard.db")); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"scope":                          route("route GET /x scope"),
		"empty scope":                    route("route GET /x \"\""),
		"path":                           route("route GET /a//b a:b"),
		"method":                         route("route get /x a:b"),
		"credential that is a directory": strings.Replace(plainSite, "{env.UPSTREAM}", "{file."+s.dir+"}", 1),
		"no store":                       strings.Replace(plainSite, "api_tokens {", "servers {\n}\n#", 1),
		"store that is a directory":      strings.Replace(plainSite, "tokens.db", "data", 1),
		"store with a trailing slash":    strings.Replace(plainSite, "tokens.db", "tokens.db/", 1),
		// bbolt can't open a file twice, and Mollygate doesn't recognize the hard link.
		"hard link to the store": strings.Replace(plainSite, "tokens.db", "hard.db", 1),
		"another site's port": plainSite + "\nhttp://127.0.0.1:" + mustPort(s.backend.Addr()) +
			" {\n\tapi_tokens_admin\n}\n",
	} {
		for range 2 {
			if err := s.reload(config); err == nil {
				t.Errorf("%s: Caddy accepted the configuration", name)
			}
		}
		s.expect(token, http.StatusOK)
		s.expect(s.token("--preset", "read"), http.StatusOK) // through the admin API
		if n := s.timesOpen(s.path("tokens.db")); n != 1 {
			t.Errorf("%s: the store is open %d times", name, n)
		}
	}
	if err := s.reload(strings.Replace(plainSite, "tokens.db", "other.db", 1)); err != nil {
		t.Fatal(err)
	}
	s.eventually("the store is closed",
		func() bool { return s.timesOpen(s.path("tokens.db"))+s.timesOpen(s.path("hard.db")) == 0 })
	s.expect(token, http.StatusUnauthorized)
	// The store can now be opened under any name.
	if err := s.reload(strings.Replace(plainSite, "tokens.db", "hard.db", 1)); err != nil {
		t.Fatal(err)
	}
	s.expect(token, http.StatusOK)
	s.checkLogs(token)
}

// TestStartAndStop checks that the first request waits for the store if it arrives before the
// store is open. That can happen because Caddy starts and stops its apps in no particular
// order.
func TestStartAndStop(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	s.stop()
	const rounds = 20
	for i := range rounds {
		s.cmd = s.command("run", "--config", s.path("Caddyfile"))
		s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
		if err := s.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd, exited := s.cmd, make(chan struct{})
		s.exited = exited
		go func() {
			_ = cmd.Wait()
			close(exited)
		}()
		request := wireRequest{host: "127.0.0.1", method: "GET", target: "/api/unikernels", header: by(token)}
		var response wireResponse
		s.eventually("Caddy listens", func() bool {
			response = h1{"127.0.0.1:" + s.env["HTTP"]}.exchange(request, 1)[0]
			return response.err == nil
		})
		if response.status != http.StatusOK {
			t.Errorf("round %d: the first response has status %d: %s", i, response.status, shortened(response.body))
		}
		s.stop()
	}
	s.start(plainSite)
	if allowed, denied := s.usage(token); allowed != rounds || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied, want %d and 0", allowed, denied, rounds)
	}
}

// TestReloadToLockedStore reloads with a store that another process has locked.
func TestReloadToLockedStore(t *testing.T) {
	t.Parallel()
	holder := startSite(t, plainSite, mollymawktest.Options{})
	s := startSite(t, plainSite, mollymawktest.Options{})
	token, foreign := s.token("--preset", "read"), holder.token("--preset", "read")
	start := time.Now()
	err := s.reload(strings.Replace(plainSite, "{$DIR}/tokens.db", holder.path("tokens.db"), 1))
	if err == nil {
		t.Fatal("the store is open in two processes")
	}
	if took := time.Since(start); took > exchangeTimeout {
		t.Errorf("the reload took %v", took)
	}
	for _, want := range []string{holder.path("tokens.db"),
		"in use by process " + strconv.Itoa(holder.cmd.Process.Pid)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	s.expect(token, http.StatusOK)
	s.expect(s.token("--preset", "read"), http.StatusOK)
	holder.expect(foreign, http.StatusOK)
}
