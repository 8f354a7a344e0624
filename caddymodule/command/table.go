package command

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// tableHead is the number of rows that a table buffers before it computes the column widths.
const tableHead = 200

// column describes a table column. If a table is too wide for the screen, its columns give up
// space in the order of their ranks. Rank 0 never does.
type column struct {
	name string
	rank int
	// least is the width to which the column may be cut. If that isn't enough, or if least is
	// 0, the whole column is left out.
	least int
	// list cells are joined with commas. They are cut after a whole element.
	list bool
	// wrap makes the column as wide as the rest of the screen. Its cells continue on further
	// lines instead of being cut.
	wrap bool
	// right makes the column right-aligned.
	right bool
	// style returns the style of a cell. Nil leaves cells plain.
	style func(cell string) style
}

// table writes rows in columns that fit the screen. On a screen without a width, nothing is
// cut.
type table struct {
	out     io.Writer
	screen  screen
	columns []column
	// whole forbids leaving out columns.
	whole bool
	rows  [][]string
	// widths is nil until computed. Columns with width 0 are left out.
	widths []int
}

func newTable(out io.Writer, screen screen, columns []column) *table {
	return &table{out: out, screen: screen, columns: columns}
}

// row adds a row, escaping unprintable characters.
func (t *table) row(cells []string) error {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = orDash(cell)
	}
	if t.widths != nil {
		return t.print(row, false)
	}
	if t.rows = append(t.rows, row); len(t.rows) < tableHead {
		return nil
	}
	return t.flush()
}

// end writes the buffered rows.
func (t *table) end() error {
	if t.widths != nil || len(t.rows) == 0 {
		return nil
	}
	return t.flush()
}

func (t *table) flush() error {
	t.widths = t.fit()
	head := make([]string, len(t.columns))
	for i, c := range t.columns {
		head[i] = c.name
	}
	if strings.Join(head, "") != "" {
		if err := t.print(head, true); err != nil {
			return err
		}
	}
	for _, row := range t.rows {
		if err := t.print(row, false); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

// leftOut returns the names of the columns for which the screen is too narrow.
func (t *table) leftOut() (names []string) {
	for i, width := range t.widths {
		if width == 0 {
			names = append(names, t.columns[i].name)
		}
	}
	return names
}

const gap = "  "

// fit computes the column widths. Each column starts as wide as its widest cell.
func (t *table) fit() []int {
	natural := make([]int, len(t.columns))
	for i, c := range t.columns {
		natural[i] = max(1, runewidth.StringWidth(c.name))
		for _, row := range t.rows {
			natural[i] = max(natural[i], runewidth.StringWidth(row[i]))
		}
	}
	widths := slices.Clone(natural)
	for t.screen.width > 0 && total(widths) > t.screen.width {
		if i := t.next(widths, true); i >= 0 {
			excess := total(widths) - t.screen.width
			widths[i] = max(t.columns[i].least, widths[i]-excess)
			continue
		}
		i := t.next(widths, false)
		if i < 0 || t.whole {
			break
		}
		// Without this column, the others may fit.
		natural[i] = 0
		copy(widths, natural)
	}
	return widths
}

// total returns the length of a row.
func total(widths []int) int {
	sum := -len(gap)
	for _, width := range widths {
		if width > 0 {
			sum += width + len(gap)
		}
	}
	return sum
}

// next returns the column that gives up space next, or -1. With cut, it returns only columns
// that can still be cut.
func (t *table) next(widths []int, cut bool) int {
	next := -1
	for i, c := range t.columns {
		if c.rank == 0 || widths[i] == 0 || cut && (c.least == 0 || widths[i] <= c.least) {
			continue
		}
		if next < 0 || c.rank < t.columns[next].rank {
			next = i
		}
	}
	return next
}

// print prints a row. It takes several lines if cells are wrapped.
func (t *table) print(row []string, head bool) error {
	lines := [][]string{make([]string, len(row))}
	for i, cell := range row {
		if !t.columns[i].wrap || t.screen.width == 0 {
			lines[0][i] = t.cut(i, cell)
			continue
		}
		for n, line := range wrap(cell, t.widths[i]) {
			if n == len(lines) {
				lines = append(lines, make([]string, len(row)))
			}
			lines[n][i] = line
		}
	}
	for _, line := range lines {
		if _, err := io.WriteString(t.out, t.line(line, head)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// line joins the cells of a line.
func (t *table) line(cells []string, head bool) string {
	var line strings.Builder
	padding := ""
	for i, cell := range cells {
		if t.widths[i] == 0 {
			continue
		}
		fill := strings.Repeat(" ", max(0, t.widths[i]-runewidth.StringWidth(cell)))
		painted := t.paint(i, cell, head)
		if strings.TrimSpace(cell) == "" {
			padding += strings.Repeat(" ", t.widths[i]) + gap
			continue
		}
		line.WriteString(padding) // never at the end of a line
		if t.columns[i].right {
			line.WriteString(fill + painted)
			padding = gap
		} else {
			line.WriteString(painted)
			padding = fill + gap
		}
	}
	return line.String()
}

func (t *table) paint(i int, cell string, head bool) string {
	switch as := t.columns[i].style; {
	case head:
		return t.screen.paint(cell, bold)
	case as != nil:
		return t.screen.paint(cell, as(cell))
	}
	return cell
}

// cut shortens a cell to its column's width.
func (t *table) cut(i int, cell string) string {
	width := t.widths[i]
	if t.screen.width == 0 || t.columns[i].least == 0 || runewidth.StringWidth(cell) <= width {
		return cell
	}
	if t.columns[i].list {
		elements := strings.Split(cell, ",")
		for n := len(elements) - 1; n > 0; n-- {
			short := fmt.Sprintf("%s,+%d", strings.Join(elements[:n], ","), len(elements)-n)
			if runewidth.StringWidth(short) <= width {
				return short
			}
		}
	}
	return runewidth.Truncate(cell, width, "…")
}

// wrap splits text into lines at spaces. A word that is too long has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case runewidth.StringWidth(line)+1+runewidth.StringWidth(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
