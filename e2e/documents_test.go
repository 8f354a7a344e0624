package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	markdown "github.com/yuin/goldmark/text"
)

// Every page's fenced code blocks are tested: a test named after the page runs the sh blocks
// and loads the caddyfile blocks. Tests pick up new blocks automatically. A test's leftOut
// lists blocks that can't run, with the reasons.

// block is a fenced code block on a page.
type block struct {
	page, language, text string
	// number is the block's position among the page's blocks in the same language, starting at
	// 1.
	number int
}

func (b block) String() string {
	return fmt.Sprintf("%s, block %d of %s", b.page, b.number, b.language)
}

// pages returns the text of all pages, keyed by path relative to the repository root.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, path := range docs {
		names = append(names, "docs/"+filepath.Base(path))
	}
	return names
}

// blocks returns all fenced code blocks on a page in order.
func blocks(t *testing.T, page string) (found []block) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[string]int)
	root := goldmark.DefaultParser().Parse(markdown.NewReader(source))
	err = ast.Walk(root, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if fenced, ok := node.(*ast.FencedCodeBlock); ok && entering {
			language := string(fenced.Language(source))
			numbers[language]++
			found = append(found, block{page, language, string(fenced.Lines().Value(source)), numbers[language]})
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fenced returns a page's fenced code blocks in the given language.
func fenced(t *testing.T, page, language string) []block {
	t.Helper()
	return slices.DeleteFunc(blocks(t, page), func(b block) bool { return b.language != language })
}

// TestDocuments lists which test covers which code blocks, and fails if a block isn't covered
// by any test.
func TestDocuments(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // keyed by page and language
		"README.md sh":               "TestReadme",
		"docs/admin.md sh":           "TestAdminPage",
		"docs/admin.md json":         "TestAdminPage",
		"docs/admin.md yaml":         "TestScanHooks",
		"docs/client.md sh":          "TestClientPage",
		"docs/client.md yaml":        "TestPipelines",
		"docs/cluster.md sh":         "TestClusterPage in etcdstore/integration",
		"docs/contributor.md sh":     "TestContributorPage",
		"docs/contributor.md go":     "TestContributorPage",
		"docs/errors.md json":        "TestErrorsPage",
		"docs/migrate.md sh":         "TestMigrate",
		"docs/migrate.md caddyfile":  "TestMigrate",
		"docs/operator.md sh":        "TestOperatorPage",
		"docs/operator.md caddyfile": "TestOperatorPage",
		"docs/operator.md ini":       "TestUnits and TestBackupUnits",
		"docs/operator.md yaml":      "TestComposeFile",
	}
	used := make(map[string]bool)
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			key := page + " " + b.language
			switch used[key] = true; {
			case b.language == "": // header examples and diagrams, which can't run
			case b.language == "caddyfile": // all covered by TestCaddyfiles
			case tests[key] == "":
				t.Errorf("no test covers %v:\n%s", b, b.text)
			}
		}
	}
	for key, name := range tests {
		if !used[key] {
			t.Errorf("%s covers %s, but no such block exists", name, key)
		}
	}
}

// TestCaddyfiles completes and validates every Caddyfile fragment on every page, and checks
// that caddy fmt wouldn't change it.
func TestCaddyfiles(t *testing.T) {
	t.Parallel()
	leftOut := map[string]string{ // keyed by a line of the block
		"rate_limit {":           "needs the plugin caddy-ratelimit",
		"on token.expiring exec": "needs the plugin caddy-events-exec",
		"store etcd {":           "needs the etcd store; see TestClusterCaddyfiles in etcdstore/integration",
	}
	c := newCaddy(t, map[string]string{"MOLLYMAWK_TOKEN": "upstream"})
	upstream := c.write("upstream", "secret")
	if err := os.MkdirAll(c.path("var/lib/caddy/uploads"), 0o700); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, page := range pages(t) {
	next:
		for _, b := range fenced(t, page, "caddyfile") {
			for line := range leftOut {
				if strings.Contains(b.text, line) {
					found[line] = true
					continue next
				}
			}
			whole := regexp.MustCompile(`\{file\.[^}]*\}`).ReplaceAllLiteralString(wholeCaddyfile(b.text),
				"{file."+upstream+"}")
			whole = strings.NewReplacer(" /var/", " "+c.path("var")+"/", "unix//run/",
				"unix/"+c.path("run")+"/").Replace(whole)
			if out, err := c.command("validate", "--config", c.write("Caddyfile", whole)).CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s\nof\n%s", b, err, out, whole)
			}
			formatted, err := c.command("fmt", c.write("Caddyfile", b.text)).Output()
			if err != nil || string(formatted) != b.text {
				t.Errorf("%v: %v; caddy fmt would change it to\n%s", b, err, formatted)
			}
		}
	}
	for line, reason := range leftOut {
		if !found[line] {
			t.Errorf("leftOut lists %q (it %s), but no page contains it", line, reason)
		}
	}
}

// wholeCaddyfile returns a complete Caddyfile, adding the parts that a fragment omits: the
// store, the site and the directive.
func wholeCaddyfile(fragment string) string {
	first, _, _ := strings.Cut(fragment, " ")
	switch {
	case first == "transport":
		fragment = "reverse_proxy 127.0.0.1:1 {\n" + fragment + "}\n"
		fallthrough
	case !strings.Contains(first, ".") && first != "{\n" && !strings.HasPrefix(fragment, "{"):
		fragment = "molly.example.com {\n" + fragment + "}\n"
	}
	if regexp.MustCompile(`(?m)^\s*(bearer_auth|api_tokens_admin)\b`).MatchString(fragment) &&
		!strings.Contains(fragment, "api_tokens {") {
		fragment = "{\n\tapi_tokens\n}\n" + fragment
	}
	return fragment
}

// change is a replacement that a test makes in a page's commands, along with the reason for
// it. If new is empty, the test removes the old text.
type change struct{ old, new, why string }

// commands joins a page's command blocks into a bash script, which prints each block's number
// to help locate failures. inPlaceOf may return commands to run in place of other blocks.
// Every change must match the page.
func commands(t *testing.T, page string, inPlaceOf func(block) string, changes ...change) string {
	t.Helper()
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	for _, b := range blocks(t, page) {
		if b.language == "sh" {
			fmt.Fprintf(&script, "echo '# block %d'\n%s", b.number, b.text)
		} else if inPlaceOf != nil {
			script.WriteString(inPlaceOf(b))
		}
	}
	all := script.String()
	for _, change := range changes {
		if !strings.Contains(all, change.old) {
			t.Errorf("%s doesn't contain %q, which the test changes because %s", page, change.old, change.why)
		}
		all = strings.ReplaceAll(all, change.old, change.new)
	}
	return all
}

// shell prepares the directory for a page's commands. It makes c the first "caddy" in PATH and
// uses a socket in the directory as c's admin endpoint.
func (c *caddy) shell() {
	c.t.Helper()
	c.env["CADDY_ADMIN"] = "unix/" + c.path("admin.sock")
	c.env["PATH"] = c.path("usr/bin") + ":" + os.Getenv("PATH")
	if err := os.MkdirAll(c.path("usr/bin"), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Symlink(binary, c.path("usr/bin/caddy")); err != nil {
		c.t.Fatal(err)
	}
}

// bash runs a script in this Caddy's directory and environment and returns its output. If the
// script starts Caddy, call stopAtEnd.
func (c *caddy) bash(script string) (string, error) {
	c.t.Helper()
	// Write the output to a file, because "caddy start" would keep a pipe open.
	out, err := os.Create(c.path("output"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	command := exec.Command("bash", "-c", script)
	command.Dir, command.Env = c.dir, c.command().Env
	command.Stdout, command.Stderr = out, out
	err = command.Run()
	written, readErr := os.ReadFile(out.Name())
	return string(written), errors.Join(err, readErr)
}

// stopAtEnd arranges for a Caddy process started by a script to be stopped when the test ends.
func (c *caddy) stopAtEnd() {
	c.t.Cleanup(func() {
		// After a failure, the script may not have started Caddy.
		if out, err := c.bash("caddy stop"); err != nil && !c.t.Failed() {
			c.t.Errorf("stopping Caddy: %v\n%s", err, out)
		}
	})
}

// redacted returns a command's output with token secrets removed.
func redacted(out string) string {
	return regexp.MustCompile(`(mm[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]+`).ReplaceAllString(out, "$1…")
}
