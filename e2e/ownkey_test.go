package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

const ownKeyPath = "/.well-known/mollygate/key"

// TestOwnKey asks a gate about a key, with curl and with "caddy api-token whoami". Nothing may
// reach the backend, whether or not there is a browser session.
func TestOwnKey(t *testing.T) {
	t.Parallel()
	s := startSite(t, browserSite, mollymawktest.Options{})
	key := s.token("--scope", "unikernel:list", "--name", "my ci", "--rate-limit", "60/1h",
		"--quota", "9/day")
	id := tokenID(key)
	s.env["MOLLYGATE_KEY"] = key
	if _, stderr, code := s.run("api-token", "edit", id, "--metadata", "owner=carol"); code != 0 {
		t.Fatal(stderr)
	}
	stdout, stderr, code := s.run("api-token", "whoami", s.url(""))
	if fields := strings.Join(strings.Fields(stdout), " "); code != 0 ||
		!strings.Contains(fields, "id "+id+" name my ci account default scopes unikernel:list expires ") ||
		!strings.Contains(fields, "rate limit 59 of 60 per 1h left") ||
		!strings.Contains(fields, "quota 8 of 9 per day left") {
		t.Errorf("got exit code %d, output %q, %q", code, stdout, stderr)
	}
	status, header, body := curl(t, append(bearer(key), s.url(ownKeyPath))...)
	var object struct {
		ID        string
		Scopes    []string
		ExpiresAt time.Time               `json:"expires_at"`
		RateLimit struct{ Remaining int } `json:"rate_limit"`
	}
	if err := json.Unmarshal([]byte(body), &object); err != nil || status != 200 || object.ID != id ||
		len(object.Scopes) != 1 || object.ExpiresAt.Before(time.Now()) || object.RateLimit.Remaining != 58 ||
		strings.Contains(body, "carol") {
		t.Errorf("got status %d, body %s, error %v", status, body, err)
	}
	if header.Get("Cache-Control") != "no-store" || header.Get("Api-Key-Expires") == "" ||
		!strings.HasPrefix(header.Get("RateLimit"), `"rate_limit";r=58`) ||
		header.Get("Content-Type") != "application/json" {
		t.Errorf("got header %v", header)
	}
	for _, args := range [][]string{{}, {"-H", "Cookie: molly_session=x"}, {"-H", "Accept: text/html"}} {
		if status, _, body := curl(t, append(args, s.url(ownKeyPath))...); status != 401 {
			t.Errorf("%q without a key: got status %d, body %s", args, status, body)
		}
	}
	if status, _, _ := curl(t, append(bearer(key), "-d", "{}", s.url(ownKeyPath))...); status != 405 {
		t.Errorf("POST: got status %d", status)
	}
	if allowed, denied := s.usage(key); allowed != 2 || denied != 1 {
		t.Errorf("%d requests were allowed and %d refused, want 2 and 1", allowed, denied)
	}

	// The old secret of a rotated key learns when it ends.
	if _, stderr, code := s.run("api-token", "rotate", id, "--grace", "1h"); code != 0 {
		t.Fatal(stderr)
	}
	if stdout, stderr, code := s.run("api-token", "whoami", s.url("")); code != 0 ||
		!strings.Contains(stderr, "has been replaced") || !strings.Contains(stdout, "(in 1 h)") {
		t.Errorf("the old secret: got exit code %d, output %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := s.run("api-token", "revoke", id, "--yes"); code != 0 {
		t.Fatal(stderr)
	}
	stdout, stderr, code = s.run("api-token", "whoami", s.url(""))
	if code != 4 || stdout != "" || !strings.Contains(stderr, "401 revoked_token") {
		t.Errorf("a revoked key: got exit code %d, output %q, %q", code, stdout, stderr)
	}
	checkNoSecret(t, "the output", stdout+stderr, key)
	if requests := s.backend.Requests(); len(requests) > 0 {
		t.Errorf("%d requests reached the backend: %+v", len(requests), requests[0])
	}
	s.checkLogs(key)
}

// TestListWatch interrupts "list --watch" with SIGINT, as Ctrl-C does, after it has shown a new
// key and its first use.
func TestListWatch(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	command := s.command("api-token", "list", "--watch")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := new(output)
	command.Stderr = begun
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the list is watched", func() bool {
		return strings.Contains(begun.String(), "Press Ctrl-C to stop.")
	}, begun)
	key := s.token("--scope", "unikernel:list", "--name", "watched")
	read := func(want string) {
		t.Helper()
		line := make([]byte, 4096)
		n, err := out.Read(line)
		if err != nil || !strings.Contains(string(line[:n]), want) {
			t.Errorf("got line %q, error %v, want %q", line[:n], err, want)
		}
	}
	read("new      " + tokenID(key))
	s.expect(key, 200)
	read("used     " + tokenID(key))
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("an interrupted watch ended with %v", err)
	}
}
