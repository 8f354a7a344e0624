package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// machinePrograms are stand-ins for the system programs that the page uses on a machine with
// systemd. They work within the test's directory.
var machinePrograms = map[string]string{
	"systemctl": `#!/bin/sh
set -e
start() { caddy start --config etc/caddy/Caddyfile --pidfile pid; }
stop() { # waits for the exit, as systemd does
	pid=$(cat pid)
	caddy stop
	for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
}
case $1 in
start | stop) $1 ;;
restart) stop && start ;;
reload) caddy reload --force --config etc/caddy/Caddyfile ;;
daemon-reload | enable) ;; # TestBackupUnits runs the units
*) exit 2 ;;
esac
`,
	"sudo": "#!/bin/sh\n[ \"$1 $2\" = '-u caddy' ] && shift 2 && exec \"$@\"\n",
}

// TestOperatorPage installs, configures, backs up, restores and upgrades Caddy as described in
// docs/operator.md, with a temporary directory in place of the root directory.
func TestOperatorPage(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	c := newCaddy(t, nil)
	c.shell()
	home := c.path("var/lib/caddy")
	c.env["HOME"], c.env["XDG_DATA_HOME"], c.env["XDG_CONFIG_HOME"] = home, home+"/.local/share", home+"/.config"
	for _, dir := range []string{home, c.path("etc/caddy"), c.path("bin")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(binary, c.path("bin/caddy")); err != nil {
		t.Fatal(err)
	}
	for name, text := range machinePrograms {
		if err := os.Chmod(c.write("usr/bin/"+name, text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.write("pasted", backend.AddToken("alice", "gate", 24*time.Hour)+"\n")
	c.write("etc/caddy/Caddyfile", "http://127.0.0.1:"+c.env["HTTP"]+"\n") // the Caddy package installs a Caddyfile
	inPlaceOf := func(b block) string {
		if b.language != "caddyfile" || b.number != 1 {
			return ""
		}
		return "cat >/etc/caddy/Caddyfile <<'EOF'\n" +
			strings.NewReplacer("molly.example.com", c.url(""), "mollymawk.internal:8080",
				backend.Addr()).Replace(b.text) + "EOF\n"
	}
	c.stopAtEnd()
	var changes []change
	for _, b := range fenced(t, "docs/operator.md", "sh") {
		if strings.Contains(b.text, "mollygate_1.0.0_") || strings.Contains(b.text, "docker compose") {
			changes = append(changes, change{b.text, ":\n", "scripts/package-test has commands of its own"})
		}
	}
	if len(changes) != 3 {
		t.Errorf("the page has %d blocks about packages, want 3", len(changes))
	}
	out, err := c.bash("systemctl start\n" + commands(t, "docs/operator.md", inPlaceOf, append(changes,
		change{"dpkg-divert", ": dpkg-divert", "it changes the machine"},
		change{"update-alternatives", ": update-alternatives", "it changes the machine"},
		change{"groupadd", ": groupadd", "it changes the machine"},
		change{"useradd", ": useradd", "it changes the machine"},
		change{" -o root -g caddy", "", "only root can"},
		change{" -o caddy -g caddy", "", "only root can"},
		change{"/dev/stdin", "pasted", "there is no terminal"},
		change{"/usr/bin/caddy.", c.path("usr/bin/caddy."), "the root directory differs"},
		change{"/etc/caddy/", c.path("etc/caddy") + "/", "the root directory differs"},
		change{"/var/lib/caddy/", home + "/", "the root directory differs"},
		change{"http://localhost:2019/", "--unix-socket " + c.path("admin.sock") + " http://caddy/",
			"the admin endpoint differs"},
	)...))
	if err != nil {
		t.Fatalf("%v:\n%s", err, redacted(out))
	}
	for _, want := range []string{"http.handlers.bearer_auth", "0 problems", "Restored ", "is kept as ",
		"is not damaged; nothing was changed", "Compacted the key store from", `"status":"ok"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, redacted(out))
		}
	}
	for path, want := range map[string]os.FileMode{
		c.path("etc/caddy/mollymawk.token"):              0o640,
		home + "/.local/share/caddy/mollygate":           0o700 | os.ModeDir,
		home + "/.local/share/caddy/mollygate/tokens.db": 0o600,
		c.path("before-upgrade.db"):                      0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want mode %v", path, err, want)
		}
	}
	for _, pattern := range []string{"*Z", "*Z.journal"} {
		kept, _ := filepath.Glob(home + "/.local/share/caddy/mollygate/tokens.db.replaced-" + pattern)
		if len(kept) != 1 {
			t.Errorf("got kept files %q", kept)
		}
	}
	// The token that was created first must still be valid.
	token := tokenIn(out)
	if status, _, body := curl(t, append(bearer(token), c.url("/api/unikernels"))...); status != 200 {
		t.Errorf("got status %d: %s", status, body)
	}
	if status, _, _ := curl(t, c.url("/sign-in")); status != 200 {
		t.Errorf("getting the web UI: got status %d", status)
	}
}

// tokenIn returns the API token in a command's output.
func tokenIn(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "mmk_") && len(line) == 55 {
			return line
		}
	}
	return ""
}

// TestUnits checks that systemd accepts the drop-ins from docs/operator.md. It then starts
// Caddy the way they specify.
func TestUnits(t *testing.T) {
	t.Parallel()
	units := fenced(t, "docs/operator.md", "ini")
	if len(units) != 5 {
		t.Fatalf("the page has %d units and drop-ins, want 5: update this test", len(units))
	}
	credential, environment, tighter := units[2].text, units[3].text, units[4].text
	for _, dropIn := range []string{credential, environment, tighter} {
		verifyUnits(t, "/usr/bin/caddy", map[string]string{"caddy.service": "[Service]\nType=notify\n" +
			"ExecStart=/usr/bin/caddy run --environ --config /etc/caddy/Caddyfile\n" + dropIn})
	}

	page, err := os.ReadFile("../docs/operator.md")
	if err != nil {
		t.Fatal(err)
	}
	backend := mollymawktest.New(t, mollymawktest.Options{})
	upstream := backend.AddToken("alice", "gate", 24*time.Hour)
	for name, test := range map[string]struct{ placeholder, unit, needs string }{
		"credential": {"{file./run/credentials/caddy.service/mollymawk}", credential, "LoadCredential=mollymawk:"},
		"environment": {"{env.MOLLYMAWK_TOKEN}", environment,
			"ExecStart=/usr/bin/caddy run --config /etc/caddy/Caddyfile\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(test.unit, test.needs) || !strings.Contains(string(page), test.placeholder) {
				t.Fatalf("the page lacks %q or %q", test.needs, test.placeholder)
			}
			// systemd would provide either a file that only the service can read or an
			// environment variable.
			c := newCaddy(t, map[string]string{"BACKEND": backend.Addr(), "ROUTES": "mollymawk",
				"MOLLYMAWK_TOKEN": upstream})
			if name == "credential" {
				c.env["MOLLYMAWK_TOKEN"] = ""
				c.write("mollymawk", upstream+"\n")
			}
			placeholder := strings.Replace(test.placeholder, "/run/credentials/caddy.service", c.dir, 1)
			c.start(strings.Replace(plainSite, "{env.UPSTREAM}", placeholder, 1))
			if status, _, body := curl(t,
				append(bearer(c.token("--preset", "read")), c.url("/api/unikernels"))...); status != 200 {
				t.Errorf("got status %d: %s", status, body)
			}
			checkNoSecret(t, "the journal", c.output.String(), upstream)
			// The page warns that --environ shows environment variables.
			out, _ := c.command("run", "--environ", "--config", c.path("missing")).CombinedOutput()
			if shown := strings.Contains(string(out), upstream); shown != (name == "environment") {
				t.Errorf("--environ shows the upstream token: %v", shown)
			}
		})
	}
}

// TestBackupUnits runs the backup service that a timer starts in docs/operator.md. It sends
// the backup to a directory instead of another machine.
func TestBackupUnits(t *testing.T) {
	t.Parallel()
	units := fenced(t, "docs/operator.md", "ini")
	service, timer := units[0].text, units[1].text
	verifyUnits(t, "/usr/bin/caddy", map[string]string{"mollygate-backup.service": service,
		"mollygate-backup.timer": timer})

	c := newCaddy(t, nil)
	c.shell()
	c.start(countingSite)
	c.token("--scope", "test:allowed")
	sent := c.path("sent")
	if err := os.Mkdir(sent, 0o700); err != nil {
		t.Fatal(err)
	}
	scp := "#!/bin/sh\n[ $# = 3 ] && [ \"$1\" = -q ] || exit 2\nexec cp \"$2\" \"" + sent + "/${3#*:}\"\n"
	if err := os.Chmod(c.write("usr/bin/scp", scp), 0o700); err != nil {
		t.Fatal(err)
	}
	script := "set -e\n"
	for line := range strings.Lines(service) {
		if command, ok := strings.CutPrefix(line, "ExecStart="); ok {
			// In systemd units, %% is an escaped percent sign and $$ an escaped dollar sign.
			script += strings.NewReplacer("%%", "%", "$$", "$", "/usr/bin/caddy", "caddy").Replace(command)
		}
	}
	for range 2 { // on the second day, the backup file already exists
		if out, err := c.bash(script); err != nil || !strings.Contains(out, "0 problems") {
			t.Fatalf("%v:\n%s\nof\n%s", err, out, script)
		}
	}
	backups, _ := filepath.Glob(filepath.Join(sent, "tokens-????-??-??.db"))
	if len(backups) == 0 {
		t.Fatal("no backup was sent")
	}
	if out, err := c.command("api-token", "check", backups[0]).CombinedOutput(); err != nil {
		t.Errorf("checking the backup that was sent: %v: %s", err, out)
	}
}

// verifyUnits checks units with systemd-analyze. program is the path of Caddy in the units.
func verifyUnits(t *testing.T, program string, units map[string]string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for name, text := range units {
		unit := filepath.Join(dir, name)
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, program, binary)), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, unit)
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s\nof\n%v", err, out, units)
	}
}

// TestPackagedUnit checks that systemd accepts the Debian package's unit, and that it is as
// tight as the page's drop-in.
func TestPackagedUnit(t *testing.T) {
	t.Parallel()
	packaged, err := os.ReadFile("../packaging/mollygate.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(fenced(t, "docs/operator.md", "ini")[4].text) {
		// StateDirectory= and LogsDirectory= replace ReadWritePaths=.
		if !strings.HasPrefix(line, "ReadWritePaths=") && !strings.Contains(string(packaged), "\n"+line) {
			t.Errorf("the packaged unit lacks %s", line)
		}
	}
	verifyUnits(t, "/usr/bin/mollygate", map[string]string{"mollygate.service": string(packaged)})
}

// TestComposeFile checks the compose file in docs/operator.md, and runs its health check.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	type service struct {
		Image       string
		Restart     string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		Sysctls     map[string]int
		Ports       []string
		Tmpfs       []string
		Volumes     []string
		Healthcheck struct {
			Test     []string
			Interval time.Duration
		}
	}
	var file struct {
		Services map[string]service
		Volumes  map[string]struct{}
	}
	if err := decodeStrictly(fenced(t, "docs/operator.md", "yaml")[0].text, &file); err != nil {
		t.Fatal(err)
	}
	s := file.Services["mollygate"]
	if want := []string{"./mollygate:/etc/mollygate:ro", "data:/data"}; !s.ReadOnly || !slices.Equal(s.Volumes, want) {
		t.Errorf("read_only is %v, and the volumes are %q", s.ReadOnly, s.Volumes)
	}

	c := newCaddy(t, nil)
	c.start(countingSite)
	check := s.Healthcheck.Test
	if len(check) < 4 || check[0] != "CMD" || check[1] != "mollygate" ||
		check[len(check)-1] != "/etc/mollygate/Caddyfile" {
		t.Fatalf("got health check %q", check)
	}
	check = append(check[2:len(check)-1:len(check)-1], c.path("Caddyfile"))
	if out, err := c.command(check...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v: %s", check, err, out)
	}
	c.stop()
	if out, err := c.command(check...).CombinedOutput(); err == nil {
		t.Errorf("%q succeeds without Caddy: %s", check, out)
	}
}
