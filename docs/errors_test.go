package docs_test

import (
	"fmt"
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

	"github.com/mollygate/mollygate/gate"
)

// section is the part of errors.md about one code: its heading, which is the
// anchor in the problem's type, and the line with status and title.
var section = regexp.MustCompile(`(?m)^### (\S+)\n\n(.*)$`)

// TestErrorCodes holds errors.md equal to the codes that there are.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("errors.md")
	if err != nil {
		t.Fatal(err)
	}
	described := make(map[string]string)
	for _, match := range section.FindAllStringSubmatch(string(page), -1) {
		if _, twice := described[match[1]]; twice {
			t.Errorf("errors.md has two sections about %s", match[1])
		}
		described[match[1]] = match[2]
	}
	for _, code := range gate.Codes() {
		problem := gate.Refuse(code).Problem()
		if got, want := described[string(code)], fmt.Sprintf("%d · %s", problem.Status, problem.Title); got != want {
			t.Errorf("errors.md says of %s %q, want %q", code, got, want)
		}
		delete(described, string(code))
	}
	for _, code := range adminCodes(t) {
		if described[code] == "" {
			t.Errorf("errors.md has no section about the admin API's %s", code)
		}
		delete(described, code)
	}
	for _, code := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("errors.md has a section about %s, which is no code", code)
	}
}

// adminCodes returns the codes that only the admin API has: the string constants
// of its source whose names begin with "code".
func adminCodes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../admin/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if code, ok := codeConstant(node); ok && !strings.HasSuffix(name, "_test.go") {
				codes = append(codes, code)
			}
			return true
		})
	}
	if len(codes) == 0 {
		t.Fatal("the admin API's codes weren't found in its source")
	}
	return codes
}

// codeConstant returns the value of a constant such as codeNotFound = "not_found".
func codeConstant(node ast.Node) (value string, ok bool) {
	spec, ok := node.(*ast.ValueSpec)
	if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "code") {
		return "", false
	}
	literal, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil
}
