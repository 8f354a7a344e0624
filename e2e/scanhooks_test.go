package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestScanHooks runs the Git hook, the configuration for pre-commit and the GitHub workflow in
// docs/admin.md, as these programs would.
func TestScanHooks(t *testing.T) {
	t.Parallel()
	const key = "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D" // from token's documentation
	c := newCaddy(t, nil)
	c.shell()
	git := func(args ...string) (string, error) {
		t.Helper()
		command := exec.Command("git", append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost"},
			args...)...)
		command.Dir, command.Env = c.dir, c.command().Env
		out, err := command.CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) {
		t.Helper()
		if out, err := git(args...); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, redacted(out))
		}
	}
	must("init", "-q")
	for _, b := range fenced(t, "docs/admin.md", "sh") {
		if strings.Contains(b.text, "pre-commit") {
			if out, err := c.bash("set -euo pipefail\n" + b.text); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	must("commit", "-q", "--no-verify", "--allow-empty", "-m", "first")
	c.write("clean", "x\n")
	must("add", "clean")
	must("commit", "-q", "-m", "clean")
	for name, text := range map[string]string{"key": "a\n" + key + "\n", "binary": "\x00\x01" + key + "\xff"} {
		c.write(name, text)
		must("add", name)
		out, err := git("commit", "-q", "-m", name)
		if err == nil || !strings.Contains(out, "4fQ9Zt2LkVb7") || strings.Contains(out, key) {
			t.Errorf("%s: the hook let a key pass: %v: %s", name, err, redacted(out))
		}
		if err := os.Remove(c.path(name)); err != nil { // what is staged counts
			t.Fatal(err)
		}
		if out, err := git("commit", "-q", "-m", name); err == nil {
			t.Errorf("%s: the hook let a key pass that was removed only from the working tree: %s", name, out)
		}
		must("commit", "-q", "--no-verify", "-m", name)
		must("rm", "-q", "--cached", name)
		must("commit", "-q", "-m", "remove "+name) // a removed key must not stop the commit
	}

	var hooks struct {
		Repos []struct {
			Repo  string
			Hooks []struct{ ID, Name, Language, Entry string }
		}
	}
	var workflow struct {
		Name        string
		On          []string
		Permissions map[string]string
		Jobs        map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []struct {
				Name, Uses, Run string
				With            map[string]string
			}
		}
	}
	texts := fenced(t, "docs/admin.md", "yaml")
	if len(texts) != 2 {
		t.Fatalf("got %d blocks", len(texts))
	}
	if err := decodeStrictly(texts[0].text, &hooks); err != nil {
		t.Fatal(err)
	}
	if err := decodeStrictly(texts[1].text, &workflow); err != nil {
		t.Fatal(err)
	}
	c.write("key", key)
	// pre-commit appends the names of the files to the entry.
	if out, err := c.bash(hooks.Repos[0].Hooks[0].Entry + " clean"); err != nil {
		t.Errorf("a clean file: %v: %s", err, out)
	}
	if out, err := c.bash(hooks.Repos[0].Hooks[0].Entry + " clean key"); err == nil {
		t.Errorf("the hook let a key pass: %s", redacted(out))
	}
	for _, step := range workflow.Jobs["scan"].Steps {
		if step.Run == "" {
			continue
		}
		if out, err := c.bash("set -e\n" + step.Run); err != nil {
			t.Errorf("the step %q: %v: %s", step.Name, err, redacted(out))
		}
	}
	text, err := os.ReadFile(c.path("keys.sarif"))
	var log struct {
		Runs []struct{ Results []json.RawMessage }
	}
	if err != nil || json.Unmarshal(text, &log) != nil || len(log.Runs) != 1 || len(log.Runs[0].Results) == 0 ||
		strings.Contains(string(text), key) || !strings.Contains(string(text), `"uri":"key"`) {
		t.Errorf("got log %s, error %v", redacted(string(text)), err)
	}
}
