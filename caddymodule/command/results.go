package command

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
)

// object is an object that commands list.
type object interface {
	// JSON returns the object as the API represents it.
	JSON() json.RawMessage
}

// field is a column in tables and CSV of objects.
type field[T object] struct {
	column
	// wide fields appear in tables only with --output wide or --columns.
	wide bool
	// value returns a string, a []string, a uint64, a fieldChanges, seconds, or one of the times
	// below.
	value func(T) any
}

// Times differ in how tables show them.
type (
	// until is a time such as an expiry: "in 3 mo" or "3 d ago".
	until time.Time
	// since is a time in the past: "3 d ago".
	since time.Time
	// instant is shown with its date, in UTC.
	instant time.Time
	// period is the start of an hour or a day. It is like instant, without seconds.
	period time.Time
)

// seconds is a length of time in seconds. Tables show it in its largest unit: "3 m".
type seconds int64

// key returns the field's name in --columns and CSV.
func (f field[T]) key() string {
	name, _, _ := strings.Cut(f.name, " (")
	return strings.ToLower(strings.ReplaceAll(name, " ", "_"))
}

// listFlags declares the flags for a command that lists objects.
func listFlags[T object](flags *pflag.FlagSet, fields []field[T]) {
	formats, usage := []string{outputTable, outputWide, outputJSON, outputCSV}, "table, wide (all columns), json or csv"
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key())
	}
	if slices.Contains(keys, outputID) {
		formats, usage = append(formats, outputID), "table, wide (all columns), json, csv or id (one per line)"
	}
	outputFlag(flags, usage, formats...)
	flags.String("columns", "", "Columns of the table or CSV, separated by commas: "+strings.Join(keys, ", "))
	chooseSeveral(flags, "columns", keys...)
}

// results writes objects in the format that --output selects.
type results[T object] interface {
	write(T) error
	// end must be called after the last object.
	end() error
}

func newResults[T object](i *invocation, fields []field[T]) (results[T], error) {
	form, columns := i.output(), i.flags.String("columns")
	if columns != "" && (form == outputJSON || form == outputID) {
		return nil, usageErrorf("--columns: json and id have no columns; use --output table, wide or csv")
	}
	var shown []field[T]
	if columns == "" {
		shown = slices.DeleteFunc(slices.Clone(fields), func(f field[T]) bool { return form == outputTable && f.wide })
	}
	for key := range listed(columns) {
		shown = append(shown, fields[slices.IndexFunc(fields, func(f field[T]) bool { return f.key() == key })])
	}
	switch form {
	case outputJSON:
		return &jsonResults[T]{out: i.out}, nil
	case outputCSV:
		return newCSVResults(i.out, shown), nil
	case outputID:
		id := slices.IndexFunc(fields, func(f field[T]) bool { return f.key() == outputID })
		return idResults[T]{i.out, fields[id]}, nil
	}
	t := tableResults[T]{i, shown, newTable(i.out, i.screen, nil)}
	for _, f := range shown {
		t.columns = append(t.columns, f.column)
	}
	t.whole = columns != ""
	if form == outputWide {
		t.screen.width = 0
	}
	return t, nil
}

// tableResults writes a table.
type tableResults[T object] struct {
	i      *invocation
	fields []field[T]
	*table
}

func (r tableResults[T]) write(object T) error {
	now, cells := r.i.now(), make([]string, len(r.fields))
	for n, f := range r.fields {
		cells[n] = shown(f.value(object), now)
	}
	return r.row(cells)
}

func (r tableResults[T]) end() error {
	if err := r.table.end(); err != nil {
		return err
	}
	if names := r.leftOut(); len(names) > 0 {
		r.i.message("The terminal is too narrow for %s; --output wide shows all columns.", strings.Join(names, ", "))
	}
	return nil
}

// shown returns a value as tables show it.
func shown(value any, now time.Time) string {
	switch v := value.(type) {
	case []string:
		return strings.Join(v, ",")
	case uint64:
		return count(v)
	case until:
		return relative(time.Time(v), now)
	case since:
		return ago(time.Time(v), now)
	case instant:
		return dateAndTime(time.Time(v))
	case period:
		return time.Time(v).UTC().Format("2006-01-02 15:04")
	case seconds:
		return span(time.Duration(v) * time.Second)
	case fieldChanges:
		return v.words()
	}
	return value.(string)
}

// count returns a number with thousands separators.
func count(n uint64) string { return humanize.Comma(int64(n)) }

// dateAndTime returns a time in UTC, without its zone.
func dateAndTime(t time.Time) string { return t.UTC().Format(time.DateTime) }

// csvResults writes CSV (RFC 4180) with a heading.
type csvResults[T object] struct {
	fields []field[T]
	out    *csv.Writer
}

func newCSVResults[T object](out io.Writer, fields []field[T]) csvResults[T] {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	head := make([]string, len(fields))
	for n, f := range fields {
		head[n] = f.key()
	}
	_ = w.Write(head) // end returns any error
	return csvResults[T]{fields, w}
}

func (r csvResults[T]) write(object T) error {
	row := make([]string, len(r.fields))
	for n, f := range r.fields {
		row[n] = printable(exact(f.value(object)))
	}
	return r.out.Write(row)
}

func (r csvResults[T]) end() error {
	r.out.Flush()
	return r.out.Error()
}

// exact returns a value for programs and spreadsheets.
func exact(value any) string {
	switch v := value.(type) {
	case []string:
		return harmless(strings.Join(v, " "))
	case uint64:
		return strconv.FormatUint(v, 10)
	case until:
		return rfc3339(time.Time(v))
	case since:
		return rfc3339(time.Time(v))
	case instant:
		return rfc3339(time.Time(v))
	case period:
		return rfc3339(time.Time(v))
	case seconds:
		return strconv.FormatInt(int64(v), 10)
	case fieldChanges:
		return harmless(v.String())
	}
	return harmless(value.(string))
}

// harmless keeps spreadsheets from taking text for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}

// rfc3339 returns a time in the API's format, or "" for a zero time.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// jsonResults writes the objects exactly as the server sent them, in a single array.
type jsonResults[T object] struct {
	out     io.Writer
	started bool
}

func (r *jsonResults[T]) write(object T) error {
	separator := ",\n"
	if !r.started {
		separator, r.started = "[\n", true
	}
	_, err := io.WriteString(r.out, separator+printableJSON(object.JSON()))
	return err
}

func (r *jsonResults[T]) end() error {
	text := "\n]\n"
	if !r.started {
		text = "[]\n"
	}
	_, err := io.WriteString(r.out, text)
	return err
}

// idResults writes IDs, one per line.
type idResults[T object] struct {
	out io.Writer
	id  field[T]
}

func (r idResults[T]) write(object T) error {
	_, err := fmt.Fprintln(r.out, printable(exact(r.id.value(object))))
	return err
}

func (idResults[T]) end() error { return nil }
