package docs_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/mollygate/mollygate/admin"
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
	for _, code := range admin.Codes() {
		if described[code] == "" && !slices.Contains(gate.Codes(), gate.Code(code)) {
			t.Errorf("errors.md has no section about the admin API's %s", code)
		}
		delete(described, code)
	}
	for _, code := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("errors.md has a section about %s, which is no code", code)
	}
}
