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

// firstRun is a running first run.
type firstRun struct {
	*caddy
	process *exec.Cmd
	printed *output
}

// buildFirstRun returns the path of the first run's program. It doesn't use "go run", which
// leaves a child process behind when killed.
func buildFirstRun(t *testing.T, c *caddy) string {
	t.Helper()
	program := c.path("firstrun")
	if out, err := exec.Command("go", "build", "-C", "..", raceFlag, "-o", program,
		"./cmd/firstrun/gate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	example, err := filepath.Abs("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(example, c.path("Caddyfile.example")); err != nil {
		t.Fatal(err)
	}
	c.env["MOLLYGATE_PORT"], c.env["MOLLYGATE_DASHBOARD_PORT"] = c.env["HTTP"], freePort(t)
	c.env["CADDY_ADMIN"] = "localhost:" + freePort(t)
	return program
}

// startFirstRun starts the program and waits for its instructions.
func startFirstRun(t *testing.T, c *caddy, program string, args ...string) *firstRun {
	t.Helper()
	command := c.command()
	command.Path, command.Args = program, append([]string{program}, args...)
	f := &firstRun{caddy: c, process: command, printed: new(output)}
	command.Stdout, command.Stderr = f.printed, f.printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	eventually(t, "firstrun prints how to stop it",
		func() bool { return strings.Contains(f.String(), "Press Ctrl-C to stop.") }, f)
	return f
}

// String implements fmt.Stringer. It returns what the program has printed.
func (f *firstRun) String() string { return f.printed.String() }

// stop interrupts the program, as Ctrl-C does.
func (f *firstRun) stop() {
	if f.process == nil {
		return
	}
	_ = f.process.Process.Signal(syscall.SIGINT)
	if err := f.process.Wait(); err != nil {
		f.t.Errorf("firstrun exited with error %v:\n%s", err, redacted(f.String()))
	}
	f.process = nil
}

// find returns the only match of a pattern in the printed text.
func (f *firstRun) find(pattern string) string {
	f.t.Helper()
	found := regexp.MustCompile(pattern).FindAllString(f.String(), -1)
	if len(found) != 1 {
		f.t.Fatalf("%s matches %d times:\n%s", pattern, len(found), redacted(f.String()))
	}
	return found[0]
}

// examples returns the printed commands as a script.
func (f *firstRun) examples(program string) string {
	var lines []string
	example := regexp.MustCompile(`(?m)^  +((MOLLYGATE_KEY=|curl |go run |  ).*)$`)
	for _, line := range example.FindAllStringSubmatch(f.String(), -1) {
		lines = append(lines, line[1])
	}
	return strings.NewReplacer("go run ./cmd/firstrun", program, "curl ", "curl -sS --fail-with-body ").Replace(
		strings.Join(lines, "\n") + "\n")
}

// TestReadme runs the README's first command, follows its printed instructions, and runs the
// README's commands for clients.
func TestReadme(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.shell()
	program := buildFirstRun(t, c)
	f := startFirstRun(t, c, program)
	token, link := f.find(`mmk_\w{51}`), f.find(`http://localhost:\d+/#signin=\w{26}`)
	for line := range strings.SplitSeq(f.String(), "\n") {
		if len([]rune(line)) > 80 {
			t.Errorf("a line has more than 80 characters: %s", redacted(line))
		}
	}
	// CADDY_ADMIN might not be set in another terminal.
	out, _ := c.bash("unset CADDY_ADMIN\n" + f.examples(program))
	for _, want := range []string{`"name":"hello"`, `"code":"insufficient_scope"`,
		"refused with 403 insufficient_scope", "#signin="} {
		if !strings.Contains(out, want) {
			t.Errorf("the printed commands didn't print %s:\n%s", want, redacted(out))
		}
	}
	// The first run itself sent 28 requests that were allowed and 2 that weren't.
	out, err := c.bash(program + " api-token usage --output json " + tokenID(token))
	if err != nil || !strings.Contains(out, `"usage_count":29,"denied_count":3`) {
		t.Errorf("got usage %s, %v", out, err)
	}

	c.write("web.hvt", unikernelImage)
	c.env["MOLLYGATE_KEY"] = token
	refused := "-d '{}' " + c.url("/api/unikernel/destroy")
	out, err = c.bash(commands(t, "README.md", nil,
		change{"go run ./cmd/firstrun", ": go run ./cmd/firstrun", "firstrun is already running"},
		change{"scripts/test", ": scripts/test", "scripts/test runs this test"},
		change{"https://molly.example.com", c.url(""), "the site has another address"},
		change{"http://localhost:8080", c.url(""), "the gate uses another port"},
		change{"curl -H", "curl -sS --fail-with-body -H", "to see a refusal"},
		change{refused, refused + " || [ $? = 22 ]", "the call is refused"},
	))
	if err != nil || strings.Count(out, `"success":false`) != 1 ||
		!strings.Contains(out, `"code":"insufficient_scope"`) {
		t.Errorf("%v:\n%s", err, redacted(out))
	}
	checkNoSecret(t, "the output", out, token)

	f.stop()
	for _, want := range []string{"Start again: go run ./cmd/firstrun", "rm -r .mollygate"} {
		if !strings.Contains(f.String(), want) {
			t.Errorf("after Ctrl-C, firstrun didn't print %q", want)
		}
	}
	again := startFirstRun(t, c, program)
	if text := again.String(); strings.Contains(text, "mmk_") || !strings.Contains(text, "already contains 1 key") ||
		again.find(`#signin=\w{26}`) == f.find(`#signin=\w{26}`) {
		t.Errorf("the second start printed:\n%s", text)
	}
	if out, err := c.bash("set -e\nunset CADDY_ADMIN\n" + again.examples(program)); err != nil ||
		!strings.Contains(out, `"name":"hello"`) || strings.Count(out, "mma_") < 1 {
		t.Errorf("the second start's commands: %v\n%s", err, redacted(out))
	}
	again.stop()
	log, err := os.ReadFile(c.path(".mollygate/caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, strings.SplitAfter(link, "=")[1]} {
		checkNoSecret(t, "firstrun's log", string(log), secret)
	}
}

// TestFirstRunPorts checks that a first run next to another Caddy of the same user, which would
// share its ports, says so and doesn't start. The same holds if it would share its data.
func TestFirstRunPorts(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.shell()
	program := buildFirstRun(t, c)
	startFirstRun(t, c, program)
	for variable, names := range map[string]string{"MOLLYGATE_PORT": "answers there with status 200",
		"MOLLYGATE_DASHBOARD_PORT": "Caddy answers there with status 200",
		"CADDY_ADMIN":              "an HTTP server answers there"} {
		ports := map[string]string{"MOLLYGATE_PORT": freePort(t), "MOLLYGATE_DASHBOARD_PORT": freePort(t),
			"CADDY_ADMIN": "localhost:" + freePort(t)}
		ports[variable] = c.env[variable]
		script := program + " -dir other"
		for name, value := range ports {
			script = name + "=" + value + " " + script
		}
		out, err := c.bash(script)
		if err == nil || !strings.Contains(out, names) || !strings.Contains(out, variable) {
			t.Errorf("%s is taken: %v, %s", variable, err, out)
		}
	}
	const says = "already runs a gate with the keys in .mollygate"
	if out, err := c.bash(program); err == nil || !strings.Contains(out, says) {
		t.Errorf("a second first run in the same directory: %v, %s", err, out)
	}
	if _, err := os.Stat(c.path("other")); err == nil {
		t.Error("a first run that didn't start created its directory")
	}
}

// TestFirstRunDemo checks that the demo's history is there and that its key works.
func TestFirstRunDemo(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.shell()
	program := buildFirstRun(t, c)
	f := startFirstRun(t, c, program, "-demo")
	out, err := c.bash("unset CADDY_ADMIN\n" + f.examples(program) + program +
		" api-token list --limit 100 --output id --address " + c.env["CADDY_ADMIN"] + " | wc -l")
	if err != nil || !strings.Contains(out, `"name":"hello"`) || !strings.Contains(out, "insufficient_scope") {
		t.Errorf("%v:\n%s", err, redacted(out))
	}
	if keys := strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]); keys != "32" {
		t.Errorf("the demo has %s keys, want 32", keys)
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
