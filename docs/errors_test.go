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

// section matches a code's section in errors.md: the heading, which is the anchor in a
// refusal's type, and the line with the status and the title.
var section = regexp.MustCompile(`(?m)^### (\S+)\n\n(.*)$`)

// TestErrorCodes checks that errors.md has a section for each code of the gate and the
// admin API, with the gate's status and title, and no other sections.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("errors.md")
	if err != nil {
		t.Fatal(err)
	}
	described := make(map[string]string)
	for _, match := range section.FindAllStringSubmatch(string(page), -1) {
		if _, twice := described[match[1]]; twice {
			t.Errorf("errors.md has two sections for %s", match[1])
		}
		described[match[1]] = match[2]
	}
	for _, code := range gate.Codes() {
		problem := gate.Refuse(code).Problem()
		if got, want := described[string(code)], fmt.Sprintf("%d · %s", problem.Status, problem.Title); got != want {
			t.Errorf("errors.md, section %s: status and title are %q, want %q", code, got, want)
		}
		delete(described, string(code))
	}
	for _, code := range admin.Codes() {
		if described[code] == "" && !slices.Contains(gate.Codes(), gate.Code(code)) {
			t.Errorf("errors.md has no section for the admin API's %s", code)
		}
		delete(described, code)
	}
	for _, code := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("errors.md has a section for %s, which isn't a code", code)
	}
}
