package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// callers are clients that call the gate with the current secret until stopped, and count the
// responses.
type callers struct {
	s      *site
	stop   context.CancelFunc
	wait   sync.WaitGroup
	secret atomic.Pointer[string]
	passed atomic.Int64
	// refused holds the first few responses with a status other than 200.
	mu      sync.Mutex
	refused []string
}

// startCallers starts n clients that call the gate continuously, each on its own connections.
func startCallers(s *site, n int, secret string) *callers {
	ctx, stop := context.WithCancel(s.t.Context())
	c := &callers{s: s, stop: stop}
	c.secret.Store(&secret)
	for range n {
		c.wait.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				c.call(ctx, client)
			}
		})
	}
	return c
}

func (c *callers) call(ctx context.Context, client *http.Client) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.s.url("/api/unikernels?instance=default"), nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+*c.secret.Load())
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			c.refuse(err.Error())
		}
		return
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	switch {
	case response.StatusCode == http.StatusOK && err == nil:
		c.passed.Add(1)
	case ctx.Err() == nil:
		c.refuse(fmt.Sprint(response.StatusCode, " ", err, " ", string(body)))
	}
}

func (c *callers) refuse(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.refused) < 5 {
		c.refused = append(c.refused, what)
	}
}

// passes waits until the gate has allowed n more requests.
func (c *callers) passes(n int64) {
	c.s.t.Helper()
	target := c.passed.Load() + n
	c.s.eventually(fmt.Sprint(n, " requests pass"),
		func() bool { return c.passed.Load() >= target || len(c.failures()) > 0 })
}

func (c *callers) failures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

func (c *callers) end() {
	c.stop()
	c.wait.Wait()
}

// TestRotation rotates a token while 50 clients call continuously. No request may fail,
// whether or not its client already uses the new secret.
func TestRotation(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	old := s.token("--scope", "unikernel:list")
	id := tokenID(old)
	clients := startCallers(s, 50, old)
	defer clients.end()
	clients.passes(200)

	stdout, stderr, code := s.run("api-token", "rotate", id, "--grace", "6s")
	if code != 0 {
		t.Fatalf("got exit code %d: %s", code, stderr)
	}
	current := strings.TrimSpace(stdout)
	if tokenID(current) != id || current == old {
		t.Fatal("the new secret has another ID or is the same as the old one")
	}
	clients.passes(200) // with the old secret
	url := s.url("/api/unikernels?instance=default")
	status, header, _ := curl(t, append(bearer(old), url)...)
	if warning := header.Get("Api-Key-Warning"); status != 200 || !strings.HasPrefix(warning, "rotated; until=20") {
		t.Errorf("the old secret got status %d and Api-Key-Warning %q", status, warning)
	}
	status, header, _ = curl(t, append(bearer(current), url)...)
	if warning := header.Get("Api-Key-Warning"); status != 200 || warning != "" {
		t.Errorf("the new secret got status %d and Api-Key-Warning %q", status, warning)
	}
	clients.secret.Store(&current)
	clients.passes(500)
	s.eventually("the grace period has ended", func() bool {
		status, _, body := curl(t, append(bearer(old), url)...)
		return status == 401 && problem(t, body)["code"] == "revoked_token"
	})
	clients.passes(200)
	clients.end()
	if failed := clients.failures(); len(failed) > 0 {
		t.Errorf("some requests failed: %q", failed)
	}
	t.Logf("%d requests passed", clients.passed.Load())
	s.checkBackend(old, current)
	s.checkLogs(old, current)
}

// TestChangeTakesEffect checks that once a call that disables, revokes or deletes a token has
// returned, the gate refuses every later request, even while other requests are in progress.
func TestChangeTakesEffect(t *testing.T) {
	t.Parallel()
	// Requests with a deleted token count as token guesses.
	s := startSite(t, strings.Replace(plainSite, "bearer_auth {", "bearer_auth {\n failure_limit off", 1),
		mollymawktest.Options{})
	for verb, want := range map[string]string{"revoke": "revoked_token", "disable": "disabled_token",
		"delete": "unknown_token"} {
		for round := range 5 {
			token := s.token("--scope", "unikernel:list")
			clients := startCallers(s, 20, token)
			clients.passes(50)
			args := []string{"api-token", verb, tokenID(token)}
			if verb != "disable" {
				args = append(args, "--yes")
			}
			if _, stderr, code := s.run(args...); code != 0 {
				t.Fatalf("%s: got exit code %d: %s", verb, code, stderr)
			}
			var wait sync.WaitGroup
			for range 20 {
				wait.Go(func() {
					if status, code := s.get(token); status != 401 || code != want {
						t.Errorf("%s, round %d: a later request got status %d %s", verb, round, status, code)
					}
				})
			}
			wait.Wait()
			clients.end()
		}
	}
}

// get lists unikernels on a new connection.
func (s *site) get(token string) (status int, code string) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.env["HTTP"])
	if err != nil {
		return 0, err.Error()
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn,
		"GET /api/unikernels HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n",
		token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, err.Error()
	}
	_, after, _ := strings.Cut(string(body), `"code":"`)
	code, _, _ = strings.Cut(after, `"`)
	return response.StatusCode, code
}

// TestCommandLine takes a token through its lifecycle with the command line and a real Caddy.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	run := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := s.run(append([]string{"api-token"}, args...)...)
		if code != want {
			t.Errorf("%q: exit code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	token := strings.TrimSpace(run(0, "create", "--name", "ci", "--expires-in", "90d", "--scope", "unikernel:list"))
	id := tokenID(token)
	if status, _ := s.get(token); status != 200 {
		t.Fatal(status)
	}
	run(0, "edit", id, "--name", "renamed", "--scope", "block:delete")
	if _, code := s.get(token); code != "insufficient_scope" {
		t.Errorf("after the edit: got code %s", code)
	}
	run(4, "explain", "GET", "/api/unikernels", "--token-id", id)
	run(0, "explain", "POST", "/api/block/delete", "--token-id", id)
	run(0, "disable", id)
	run(0, "enable", id)
	if out := run(0, "usage", id, "-o", "json"); !strings.Contains(out, `"usage_count":1,"denied_count":1`) {
		t.Errorf("got usage %s", out)
	}
	if out := run(0, "audit", "--token-id", id, "-o", "json"); strings.Count(out, `"action"`) != 4 {
		t.Errorf("got audit log %s", out)
	}
	backup := s.path("backup.db")
	run(0, "backup", backup)
	run(0, "check")
	run(0, "check", backup)
	leak := s.write("leak.txt", "deploy: "+token+"\n")
	if out := run(4, "scan", leak); !strings.Contains(out, id+"  active") || strings.Contains(out, token[17:]) {
		t.Errorf("got scan result %s", out)
	}
	run(2, "restore", backup, "--store", s.path("tokens.db"), "--yes") // Caddy holds the store
	run(0, "revoke", id, "--yes", "--wait")
	run(5, "enable", id)

	// A restore with Caddy stopped undoes all changes made since the backup.
	s.stop()
	cmd := s.command("api-token", "restore", backup, "--store", s.path("tokens.db"), "--yes")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "is kept as") {
		t.Fatalf("%v: %s", err, out)
	}
	s.start(plainSite)
	if out := run(0, "show", id); !strings.Contains(out, "active") || !strings.Contains(out, "renamed") {
		t.Errorf("got restored tokens %s", out)
	}
	cmd = s.command("api-token", "list", "--address", "127.0.0.1:1")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 6 {
		t.Errorf("without a running Caddy: got exit code %d: %s", cmd.ProcessState.ExitCode(), out)
	}
	s.checkLogs(token)
}

// TestAcknowledgedChangesSurviveKill checks that acknowledged changes survive kill -9.
func TestAcknowledgedChangesSurviveKill(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	kept, revoked := s.token("--scope", "unikernel:list"), s.token("--scope", "unikernel:list")
	rotatedOld := s.token("--scope", "unikernel:list")
	s.run("api-token", "revoke", tokenID(revoked), "--yes")
	stdout, _, _ := s.run("api-token", "rotate", tokenID(rotatedOld), "--grace", "0s", "--yes")
	rotated := strings.TrimSpace(stdout)
	s.kill()
	s.start(plainSite)
	for token, want := range map[string]string{kept: "", revoked: "revoked_token", rotatedOld: "unknown_token",
		rotated: ""} {
		if status, code := s.get(token); code != want || (want == "") != (status == 200) {
			t.Errorf("%s: %d %s, want %s", tokenID(token), status, code, want)
		}
	}
}
