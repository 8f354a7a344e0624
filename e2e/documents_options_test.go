package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// parsedOptions returns the option names that caddymodule's Caddyfile parsers accept. They are
// the switch cases in functions that take a Dispenser.
func parsedOptions(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../caddymodule/*.go")
	if err != nil {
		t.Fatal(err)
	}
	words := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && takesDispenser(function) {
				addCases(t, function, words)
			}
		}
	}
	return slices.Sorted(maps.Keys(words))
}

// addCases adds the string cases of a function's switch statements.
func addCases(t *testing.T, function *ast.FuncDecl, words map[string]bool) {
	t.Helper()
	ast.Inspect(function, func(node ast.Node) bool {
		clause, ok := node.(*ast.CaseClause)
		if !ok {
			return true
		}
		for _, value := range clause.List {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				word, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				words[word] = true
			}
		}
		return true
	})
}

func takesDispenser(function *ast.FuncDecl) bool {
	for _, parameter := range function.Type.Params.List {
		if star, ok := parameter.Type.(*ast.StarExpr); ok {
			if selector, ok := star.X.(*ast.SelectorExpr); ok && selector.Sel.Name == "Dispenser" {
				return true
			}
		}
	}
	return false
}

// TestOptions checks that every option has a table row and an example in docs/operator.md and
// appears in Caddyfile.example, and that the page lists no other options.
func TestOptions(t *testing.T) {
	t.Parallel()
	options := parsedOptions(t)
	if len(options) < 17 {
		t.Fatalf("found only the options %q: where are the Caddyfile parsers?", options)
	}
	page, err := os.ReadFile("../docs/operator.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	var examples strings.Builder
	for _, b := range fenced(t, "docs/operator.md", "caddyfile") {
		examples.WriteString(b.text)
	}
	_, reference, _ := strings.Cut(string(page), "## Options")
	reference, _, _ = strings.Cut(reference, "### Placeholders")
	// Route options don't have rows of their own.
	reference = strings.Replace(reference, "may hold `upload`, `websocket` and `target`",
		"| `upload` | `websocket` | `target`", 1)
	for _, option := range options {
		if !regexp.MustCompile("\\| `" + option + "\\b").MatchString(reference) {
			t.Errorf("docs/operator.md has no table row for the option %s", option)
		}
		word := regexp.MustCompile(`(?m)^[\t #]*` + option + `\b`)
		if !word.MatchString(examples.String()) {
			t.Errorf("docs/operator.md has no example of the option %s", option)
		}
		if !word.Match(example) {
			t.Errorf("Caddyfile.example lacks the option %s", option)
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)[^`]*` \\|").FindAllStringSubmatch(reference, -1) {
		if !slices.Contains(options, row[1]) {
			t.Errorf("docs/operator.md lists the option %s, which doesn't exist", row[1])
		}
	}
}

// TestExampleInFull validates Caddyfile.example with every commented-out option enabled.
func TestExampleInFull(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	c := newCaddy(t, map[string]string{"MOLLYMAWK_TOKEN": "upstream"})
	// There can be only one store. TestClusterCaddyfiles in etcdstore/integration validates this one.
	before, after, _ := strings.Cut(string(example), "\t\t# store etcd {\n")
	_, after, found := strings.Cut(after, "\n\t\t# }\n")
	if !found {
		t.Fatal("Caddyfile.example has no etcd store")
	}
	var full strings.Builder
	for line := range strings.Lines(before + after) {
		if option := regexp.MustCompile(`^(\t+)# (.*\n)$`).FindStringSubmatch(line); option != nil &&
			isConfiguration(option[2], parsedOptions(t)) {
			line = option[1] + option[2]
		}
		full.WriteString(line)
	}
	text := strings.NewReplacer(
		"/var/lib/caddy/mollygate/tokens.db", c.path("tokens.db"),
		"/var/lib/caddy/uploads", t.TempDir(),
		"/run/secrets/alice", c.write("alice", "secret"),
	).Replace(full.String())
	out, err := c.command("adapt", "--validate", "--config", c.write("Caddyfile", text)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\nof\n%s", err, out, text)
	}
	for _, member := range []string{`"max_scopes":["read","unikernel:restart"]`, `"websocket":true`,
		`"refusals":"handle_errors"`, `"trusted_users":["carol"]`} {
		if !strings.Contains(string(out), member) {
			t.Errorf("the JSON lacks %s:\n%s", member, out)
		}
	}
}

// isConfiguration reports whether a comment is a commented-out Caddyfile line rather than
// prose.
func isConfiguration(comment string, options []string) bool {
	comment = strings.TrimSpace(comment)
	first, _, _ := strings.Cut(comment, " ")
	return comment == "}" || slices.Contains(options, first) && !strings.Contains(comment, "`")
}
