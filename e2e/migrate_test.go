package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// fenced returns the blocks of a page in a language.
func fenced(t *testing.T, page, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// TestMigrate does what docs/migrate.md says, command by command, before a stand-in
// with tokens in use.
func TestMigrate(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	old := backend.AddToken("alice", "old pipeline", 90*24*time.Hour)
	other := backend.AddToken("alice", "other pipeline", 90*24*time.Hour)

	c := newCaddy(t, map[string]string{"MOLLYMAWK": backend.URL()})
	secrets := c.path("secrets")
	c.env["SECRETS"], c.env["CADDY_ADMIN"], c.env["GATE"] = secrets, "unix/"+c.path("admin.sock"), c.url("")
	programs := c.path("programs")
	for _, dir := range []string{secrets, programs} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, filepath.Join(programs, "caddy")); err != nil {
		t.Fatal(err)
	}
	c.write("secrets/login.json", `{"email":"alice@example.com","password":"`+mollymawktest.Password+`"}`)
	c.write("old.token", old+"\n")
	configs := fenced(t, "migrate.md", "caddyfile")
	if len(configs) != 1 {
		t.Fatalf("%d Caddyfiles", len(configs))
	}
	c.write("Caddyfile", strings.NewReplacer("/etc/caddy/secrets", secrets, "molly.example.com", c.url(""), "mollymawk.internal:8080", backend.Addr()).Replace(configs[0]))

	commands := fenced(t, "migrate.md", "sh")
	if len(commands) < 9 {
		t.Fatalf("%d blocks of commands", len(commands))
	}
	// Each block says its number, so that it is known which failed.
	var script strings.Builder
	script.WriteString("set -euo pipefail\nPATH=" + programs + ":$PATH\n")
	for i, block := range commands {
		fmt.Fprintf(&script, "echo '# block %d'\n%s", i+1, block)
	}
	run := func(script string) (string, error) {
		// A file and not a pipe, which `caddy start` would hold open.
		out, err := os.Create(c.path("output"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		command := exec.Command("bash", "-c", script)
		command.Dir, command.Env = c.dir, c.command().Env
		command.Stdout, command.Stderr = out, out
		err = command.Run()
		written, readErr := os.ReadFile(out.Name())
		return string(written), errors.Join(err, readErr)
	}
	t.Cleanup(func() {
		if out, err := run(programs + "/caddy stop"); err != nil && !t.Failed() { // it may not have been started
			t.Errorf("stopping Caddy: %v\n%s", err, out)
		}
	})
	out, err := run(script.String())
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}

	upstream, err := os.ReadFile(c.path("secrets/mollymawk.token"))
	if err != nil {
		t.Fatal(err)
	}
	created, err := os.ReadFile(c.path("new.token"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(created))
	for _, secret := range []string{old, other, strings.TrimSpace(string(upstream)), key} {
		checkNoSecret(t, "what the commands wrote", out, secret)
	}
	if left, _ := filepath.Glob(c.path("secrets/*")); len(left) != 1 {
		t.Errorf("left are %q", left)
	}
	for token, want := range map[string]int{old: 401, other: 200, key: 200} {
		if status, _, body := curl(t, append(bearer(token), c.url("/api/unikernels"))...); status != want {
			t.Errorf("status %d, want %d: %s", status, want, body)
		}
	}
	// The web UI goes on, and the backend has seen but the gate's token.
	if status, _, _ := curl(t, c.url("/sign-in")); status != 200 {
		t.Errorf("the web UI: status %d", status)
	}
	if !strings.Contains(out, "Imported 2 of 2 tokens.") {
		t.Errorf("the import says\n%s", out)
	}
}
