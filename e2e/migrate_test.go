package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestMigrate runs the commands from docs/migrate.md one by one, with a stand-in whose tokens
// are in use.
func TestMigrate(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	old := backend.AddToken("alice", "old pipeline", 90*24*time.Hour)
	other := backend.AddToken("alice", "other pipeline", 90*24*time.Hour)

	c := newCaddy(t, map[string]string{"MOLLYMAWK": backend.URL()})
	secrets := c.path("secrets")
	c.env["SECRETS"], c.env["GATE"] = secrets, c.url("")
	c.shell()
	if err := os.Mkdir(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	c.write("secrets/login.json", `{"email":"alice@example.com","password":"`+mollymawktest.Password+`"}`)
	c.write("old.token", old+"\n")
	configs := fenced(t, "docs/migrate.md", "caddyfile")
	if len(configs) != 1 {
		t.Fatalf("the page has %d Caddyfiles, want 1", len(configs))
	}
	c.write("Caddyfile", strings.NewReplacer("/etc/caddy/secrets", secrets, "keys.molly.example.com",
		"keys.molly.example.com", "molly.example.com", c.url(""), "mollymawk.internal:8080",
		backend.Addr()).Replace(configs[0].text))

	c.stopAtEnd()
	out, err := c.bash(commands(t, "docs/migrate.md", nil,
		change{`"$SECRETS/login.json" "$SECRETS/jar"`, `"$SECRETS/jar"`, "the file already exists"},
	))
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
		checkNoSecret(t, "the output", out, secret)
	}
	if left, _ := filepath.Glob(c.path("secrets/*")); len(left) != 1 {
		t.Errorf("got remaining files %q", left)
	}
	for token, want := range map[string]int{old: 401, other: 200, key: 200} {
		if status, _, body := curl(t, append(bearer(token), c.url("/api/unikernels"))...); status != want {
			t.Errorf("got status %d, want %d: %s", status, want, body)
		}
	}
	// The web UI must still work.
	if status, _, _ := curl(t, c.url("/sign-in")); status != 200 {
		t.Errorf("getting the web UI: got status %d", status)
	}
	if !strings.Contains(out, "Imported 2 of 2 keys.") || !strings.Contains(out, "Imported 0 of 3 keys.") {
		t.Errorf("the import printed\n%s", out)
	}
}
