package command

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

// TestTableFits checks that a table with any content fits the terminal's width, and that
// columns that must not shrink aren't truncated.
func TestTableFits(t *testing.T) {
	t.Parallel()
	for name, row := range map[string][]string{
		"short": {"4fQ9Zt2LkVb7", "ci", "default", "active", "*", "never", "never", "0"},
		"long": {"4fQ9Zt2LkVb7", strings.Repeat("name ", 20), strings.Repeat("account", 5), "not_yet_valid",
			"monitoring:read,unikernel:create,+12", "in 23 mo", "13 mo ago", "123456"},
		"wide":     {"4fQ9Zt2LkVb7", strings.Repeat("名前", 30), "默认", "active", "*", "never", "never", "0"},
		"combined": {"4fQ9Zt2LkVb7", strings.Repeat("e\u0301", 80), "a", "active", "*", "never", "never", "0"},
	} {
		var out strings.Builder
		w := newTable(&out, tokenColumns)
		for range 3 {
			if err := w.row(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 4 {
			t.Errorf("%s: got %d lines of output", name, len(lines))
		}
		for _, line := range lines {
			if width := runewidth.StringWidth(line); width > tableWidth {
				t.Errorf("%s: got a line with %d columns: %s", name, width, line)
			}
		}
		for _, i := range []int{0, 3, 5, 6, 7} {
			if !strings.Contains(lines[1], row[i]) {
				t.Errorf("%s: %q was truncated: %s", name, row[i], lines[1])
			}
		}
	}
}

// TestTableStreams checks that a table writes rows immediately once it has computed the column
// widths.
func TestTableStreams(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	w := newTable(&out, []column{{name: "A", least: 3}, {name: "B"}})
	for i := range 3 * tableHead {
		if err := w.row([]string{fmt.Sprint(i), "x"}); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), "\n"); (i+1 < tableHead) != (lines == 0) || i+1 >= tableHead &&
			lines != i+2 {
			t.Fatalf("got %d lines after %d rows", lines, i+1)
		}
	}
}
