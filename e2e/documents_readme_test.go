package e2e

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestReadme runs the README's first command, follows its printed instructions, and runs the
// README's commands for clients.
func TestReadme(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.shell()
	// Build and run the program instead of using "go run", which leaves a child process behind
	// when killed.
	firstRun := c.path("firstrun")
	if out, err := exec.Command("go", "build", "-C", "..", raceFlag, "-o", firstRun,
		"./cmd/firstrun").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	example, err := filepath.Abs("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(example, c.path("Caddyfile.example")); err != nil {
		t.Fatal(err)
	}
	c.env["MOLLYGATE_PORT"], c.env["CADDY_ADMIN"] = c.env["HTTP"], "localhost:"+freePort(t)
	command := c.command()
	command.Path, command.Args = firstRun, []string{firstRun}
	printed := new(output)
	command.Stdout, command.Stderr = printed, printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGINT)
		if err := command.Wait(); err != nil {
			t.Errorf("firstrun exited with error %v", err)
		}
	})
	eventually(t, "firstrun prints how to stop it",
		func() bool { return strings.Contains(printed.String(), "Press Ctrl-C to stop.") }, c.output)

	admin := regexp.MustCompile(`mma_\w{51}`).FindString(printed.String())
	token := regexp.MustCompile(`mmk_\w{51}`).FindString(printed.String())
	// As the output says, curl and browsers resolve keys.localhost to this machine.
	// CADDY_ADMIN might not be set in another terminal.
	for _, line := range regexp.MustCompile(`(?m)^  (curl .*|go run .*)$`).FindAllStringSubmatch(printed.String(), -1) {
		shown := strings.Replace(line[1], "go run ./cmd/mollygate", "caddy", 1)
		if out, err := c.bash("unset CADDY_ADMIN; " + strings.Replace(shown, "curl ", "curl -sS --fail-with-body ",
			1)); err != nil {
			t.Errorf("%s: %v: %s", redacted(shown), err, redacted(out))
		}
	}

	c.write("web.hvt", unikernelImage)
	c.env["MOLLYGATE_KEY"] = token
	out, err := c.bash(commands(t, "README.md", nil,
		change{"go run ./cmd/firstrun", ": go run ./cmd/firstrun", "firstrun is already running"},
		change{"scripts/test", ": scripts/test", "scripts/test runs this test"},
		change{"https://molly.example.com", c.url(""), "the site has another address"},
		change{"http://localhost:8080", c.url(""), "the gate uses another port"},
		change{"curl -H", "curl -sS --fail-with-body -H", "to see a refusal"},
	))
	if err != nil || strings.Contains(out, `"success":false`) {
		t.Errorf("%v:\n%s", err, redacted(out))
	}
	checkNoSecret(t, "the output", out, token)
	log, err := os.ReadFile(c.path(".mollygate/caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{admin, token} {
		checkNoSecret(t, "firstrun's log", string(log), secret)
	}
}

// TestReadmePictures checks that the README's pictures exist and are small enough to load
// quickly.
func TestReadmePictures(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	pictures := regexp.MustCompile(`docs/[a-z-]+\.png`).FindAllString(string(page), -1)
	if len(pictures) != 2 {
		t.Errorf("the README has pictures %q, want one light and one dark", pictures)
	}
	for _, path := range pictures {
		content, err := os.ReadFile("../" + path)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 150_000 {
			t.Errorf("%s has %d bytes, want at most 150,000", path, len(content))
		}
		if config, err := png.DecodeConfig(bytes.NewReader(content)); err != nil || config.Width != 1280 {
			t.Errorf("%s: width %d, %v; want a PNG with a width of 1280", path, config.Width, err)
		}
	}
}
