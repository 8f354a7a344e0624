package command

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

// TestTableFits checks that a table fits screens of different widths, that an ID and a status
// are never cut, and that the columns give up space in the order of their ranks.
func TestTableFits(t *testing.T) {
	t.Parallel()
	columns := make([]column, 8)
	for i := range columns {
		columns[i] = keyFields[i].column
	}
	for name, row := range map[string][]string{
		"short": {"4fQ9Zt2LkVb7", "ci", "default", "active", "*", "never", "never", "0"},
		"long": {"4fQ9Zt2LkVb7", strings.Repeat("name ", 20), strings.Repeat("account", 5), "not_yet_valid",
			"monitoring:read,unikernel:create,unikernel:destroy", "in 23 mo", "13 mo ago", "123,456"},
		"wide":     {"4fQ9Zt2LkVb7", strings.Repeat("名前", 30), "默认", "active", "*", "never", "never", "0"},
		"combined": {"4fQ9Zt2LkVb7", strings.Repeat("e\u0301", 80), "a", "active", "*", "never", "never", "0"},
	} {
		for _, width := range []int{45, 60, 80, 100, 200} {
			var out strings.Builder
			w := newTable(&out, screen{width: width}, columns)
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
				if got := runewidth.StringWidth(line); got > width {
					t.Errorf("%s: got a line with %d columns for a screen with %d: %s", name, got, width, line)
				}
				if strings.HasSuffix(line, " ") {
					t.Errorf("%s: a line ends with a space: %q", name, line)
				}
			}
			if !strings.HasPrefix(lines[1], row[0]+"  ") || !strings.Contains(lines[1], row[3]) {
				t.Errorf("%s: the ID or the status was cut: %s", name, lines[1])
			}
			for i, c := range columns {
				for j := range columns {
					if w.widths[i] == 0 && w.widths[j] > 0 && columns[j].rank > 0 && columns[j].rank < c.rank {
						t.Errorf("%s: %s was left out before %s", name, c.name, columns[j].name)
					}
				}
			}
		}
	}
}

func TestTableCutsLists(t *testing.T) {
	t.Parallel()
	w := newTable(nil, screen{width: 80}, []column{{rank: 1, least: 5, list: true}})
	for width, want := range map[int]string{20: "block:read,backup:*", 16: "block:read,+1", 12: "block:read,…",
		5: "bloc…"} {
		w.widths = []int{width}
		if got := w.cut(0, "block:read,backup:*"); got != want {
			t.Errorf("%d columns: got %q, want %q", width, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "",
		"one":                       "one",
		"one two three":             "one two|three",
		"unikernel:console is long": "unikernel:console|is long",
		"a unikernel:console":       "a|unikernel:console",
	} {
		if got := strings.Join(wrap(text, 8), "|"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestTableStreams checks that a table writes rows immediately once it has computed the column
// widths.
func TestTableStreams(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	w := newTable(&out, screen{width: 80}, []column{{name: "A", rank: 1, least: 3}, {name: "B"}})
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
