package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestContributorPage runs the stand-in as described in docs/contributor.md, and checks that
// everything else named on the page exists. The page's other commands build and test this
// source tree.
func TestContributorPage(t *testing.T) {
	t.Parallel()
	run := map[string]string{ // maps a command without its arguments to what runs it
		"go run ./cmd/firstrun": "TestReadme",
		"go build":              "TestMain, with another output directory",
		"go run ./cmd/build":    "TestBuildShippedManifest in internal/xcaddybuild",
		"go run ./mollymawk/mollymawktest/cmd/mollymawktest": "this test",
		"git tag":                 "nothing, because the tag would remain",
		"scripts/release":         "nothing, because it takes minutes and every release runs it",
		"scripts/package-test":    "nothing, because it needs root and another Debian",
		"scripts/test":            "the command that runs this test",
		"scripts/frontend":        "scripts/test",
		"scripts/licenses":        "scripts/test",
		"scripts/vulnerabilities": "scripts/test",
		"scripts/fuzz":            "scripts/test",
		"go test ./gate":          "scripts/test",

		"go test ./tokenstore/bolt": "scripts/test, at a smaller size",
		"go test -C e2e":            "scripts/test, at a smaller size",

		"go run -C etcdstore/integration ./cmd/example": "TestExample in etcdstore/integration/cmd/example",
		"go test -C etcdstore/integration -run '^$'":    "nothing, because it takes minutes and depends on the machine",
	}
	var found []string // keys of run that appear on the page
	for _, b := range fenced(t, "docs/contributor.md", "sh") {
	next:
		for line := range strings.Lines(b.text) {
			for command := range run {
				if strings.HasPrefix(line, command) {
					found = append(found, command)
					continue next
				}
			}
			t.Errorf("%v: no test runs the command %s", b, line)
		}
	}
	for command := range run {
		if !strings.Contains(strings.Join(found, "\n"), command) {
			t.Errorf("docs/contributor.md doesn't contain the command %q", command)
		}
	}
	for _, name := range found {
		if strings.HasPrefix(name, "scripts/") {
			if info, err := os.Stat("../" + name); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s must exist and be executable: %v", name, err)
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
		t.Errorf("getting the stand-in's page: got status %d", status)
	}

	// The test code shown on the page must exist.
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
				t.Errorf("the page names %s, but no test contains it", name[1])
			}
		}
	}
}
