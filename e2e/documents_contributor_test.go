package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestContributorPage runs the stand-in as docs/contributor.md describes, and checks that
// everything else the page names exists. The page's other commands build and test this tree.
func TestContributorPage(t *testing.T) {
	t.Parallel()
	run := map[string]string{ // a command without arguments, and what runs it
		"go run ./cmd/firstrun": "TestReadme",
		"go build":              "TestMain, into another directory",
		"go run ./cmd/build":    "TestBuildShippedManifest of internal/xcaddybuild",
		"go run ./mollymawk/mollymawktest/cmd/mollymawktest": "this test",
		"git tag":                 "nothing: the tag would remain",
		"scripts/release":         "nothing: it takes minutes; a release runs it",
		"scripts/test":            "the command that runs this test",
		"scripts/licenses":        "scripts/test",
		"scripts/vulnerabilities": "scripts/test",
		"scripts/fuzz":            "scripts/test",
		"go test ./gate":          "scripts/test",

		"go test ./tokenstore/bolt": "scripts/test, in a small size",
		"go test -C e2e":            "scripts/test, in a small size",
	}
	var found []string // keys of run
	for _, b := range fenced(t, "docs/contributor.md", "sh") {
	next:
		for line := range strings.Lines(b.text) {
			for command := range run {
				if strings.HasPrefix(line, command) {
					found = append(found, command)
					continue next
				}
			}
			t.Errorf("%v: no test runs %s", b, line)
		}
	}
	for command := range run {
		if !strings.Contains(strings.Join(found, "\n"), command) {
			t.Errorf("docs/contributor.md has no %q", command)
		}
	}
	for _, name := range found {
		if strings.HasPrefix(name, "scripts/") {
			if info, err := os.Stat("../" + name); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %v; it must exist and be executable", name, err)
			}
		}
	}

	c := newCaddy(t, nil)
	standIn := c.path("mollymawktest")
	if out, err := exec.Command("go", "build", "-C", "..", "-o", standIn,
		"./mollymawk/mollymawktest/cmd/mollymawktest").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.Command(standIn, "-listen", "127.0.0.1:"+c.env["HTTP"])
	printed := new(output)
	command.Stdout, command.Stderr = printed, printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		if err := command.Wait(); err != nil {
			t.Errorf("the stand-in exited with %v: %s", err, printed)
		}
	})
	eventually(t, "the stand-in listens", func() bool { return printed.String() != "" }, printed)
	if status, _, _ := curl(t, c.url("/sign-in")); status != 200 {
		t.Errorf("page of the stand-in: status %d", status)
	}

	// The test code that the page shows exists.
	var tests strings.Builder
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), "_test.go") && !strings.HasPrefix(entry.Name(), "documents_") {
			text, err := os.ReadFile(entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(text)
		}
	}
	for _, b := range fenced(t, "docs/contributor.md", "go") {
		if !strings.Contains(tests.String(), strings.TrimSpace(b.text)) {
			t.Errorf("%v is not in any test:\n%s", b, b.text)
		}
	}
	page, err := os.ReadFile("../docs/contributor.md")
	if err != nil {
		t.Fatal(err)
	}
	_, helpers, _ := strings.Cut(string(page), "### e2e")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(helpers, -1) {
		for _, name := range regexp.MustCompile("`(?:s\\.|d\\.)?([a-z][A-Za-z]+)(?:\\(|`)").FindAllStringSubmatch(
			row[1], -1) {
			if !regexp.MustCompile(`\b` + name[1] + `\b`).MatchString(tests.String()) {
				t.Errorf("the page names %s, which doesn't exist in any test", name[1])
			}
		}
	}
}
