package command

import (
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// tableWidth is the maximum width of a table, in terminal columns.
const tableWidth = 80

// tableHead is the number of rows that a table buffers before it computes the column widths.
const tableHead = 200

// column describes a table column.
type column struct {
	name string
	// least is the minimum width to which the column may shrink to make the table fit the
	// terminal. If least is 0, the column never shrinks.
	least int
	// right makes the column right-aligned.
	right bool
}

// table writes rows in columns that fit a terminal's width. It truncates cells that are too
// long.
type table struct {
	out     io.Writer
	columns []column
	rows    [][]string
	widths  []int // nil until computed
}

func newTable(out io.Writer, columns []column) *table { return &table{out: out, columns: columns} }

// row adds a row, escaping unprintable characters.
func (t *table) row(cells []string) error {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = orDash(cell)
	}
	if t.widths != nil {
		return t.print(row)
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
	for _, row := range append([][]string{head}, t.rows...) {
		if err := t.print(row); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

const gap = "  "

// fit computes the column widths. Each column starts as wide as its widest cell. If the table
// is too wide, fit shrinks the columns that may shrink, starting with the widest.
func (t *table) fit() []int {
	widths := make([]int, len(t.columns))
	total := len(gap) * (len(t.columns) - 1)
	for i, c := range t.columns {
		widths[i] = runewidth.StringWidth(c.name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], runewidth.StringWidth(row[i]))
		}
		total += widths[i]
	}
	for ; total > tableWidth; total-- {
		widest := -1
		for i, c := range t.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

func (t *table) print(row []string) error {
	var line strings.Builder
	for i, cell := range row {
		if i > 0 {
			line.WriteString(gap)
		}
		if t.columns[i].least > 0 {
			cell = runewidth.Truncate(cell, t.widths[i], "…")
		}
		if t.columns[i].right {
			line.WriteString(runewidth.FillLeft(cell, t.widths[i]))
		} else {
			line.WriteString(runewidth.FillRight(cell, t.widths[i]))
		}
	}
	_, err := io.WriteString(t.out, strings.TrimRight(line.String(), " ")+"\n")
	return err
}
