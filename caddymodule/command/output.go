package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

// Output formats.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputID    = "id"
)

func outputFlag(flags *pflag.FlagSet, usage string) {
	flags.StringP("output", "o", outputTable, usage)
}

func (i *invocation) output() (string, error) {
	switch form := i.flags.String("output"); form {
	case outputTable, outputJSON, outputID:
		return form, nil
	}
	return "", usageErrorf("--output: write table, json or id")
}

// secretOutput returns the output format for a command that shows a secret only once.
func (i *invocation) secretOutput() (string, error) {
	form, err := i.output()
	if form == outputID {
		return "", usageErrorf("--output id would lose the key, which is shown only once; write table or json")
	}
	return form, err
}

// rowWriter writes objects one at a time. It receives each object both as the server's JSON
// and as a table row.
type rowWriter interface {
	write(object json.RawMessage, row []string) error
	// end must be called after the last object.
	end() error
}

// listWriter returns a writer for objects without IDs.
func (i *invocation) listWriter(columns []column) (rowWriter, error) {
	switch i.flags.String("output") {
	case outputJSON:
		return &jsonWriter{out: i.out}, nil
	case outputTable:
		return tableWriter{newTable(i.out, columns)}, nil
	}
	return nil, usageErrorf("--output: write table or json")
}

func (i *invocation) tokenWriter(form string) rowWriter {
	switch form {
	case outputJSON:
		return &jsonWriter{out: i.out}
	case outputID:
		return idWriter{out: i.out}
	}
	return tableWriter{newTable(i.out, tokenColumns)}
}

var tokenColumns = []column{
	{name: "ID"}, {name: "NAME", least: 7}, {name: "ACCOUNT", least: 5}, {name: "STATUS"}, {name: "SCOPES", least: 5},
	{name: "EXPIRES"}, {name: "LAST USED"}, {name: "USES", right: true},
}

func (i *invocation) tokenRow(t client.Token) []string {
	account := t.Account
	if t.Kind == "admin" {
		account = "(admin)"
	}
	now := i.now()
	return []string{
		t.ID, t.Name, account, t.Status, someOf(t.Scopes),
		relative(t.ExpiresAt, now), ago(t.LastUsedAt, now), strconv.FormatUint(t.UsageCount, 10),
	}
}

// tableWriter writes a table.
type tableWriter struct{ *table }

func (w tableWriter) write(_ json.RawMessage, row []string) error { return w.row(row) }

// marshal encodes an object the way the API does.
func marshal(object any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(object)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// someOf returns the first few scopes and the number of remaining ones.
func someOf(scopes []string) string {
	const most = 3
	if len(scopes) <= most {
		return strings.Join(scopes, ",")
	}
	return fmt.Sprintf("%s,+%d", strings.Join(scopes[:most-1], ","), len(scopes)-most+1)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// jsonWriter writes the objects exactly as the server sent them, in a single array.
type jsonWriter struct {
	out     io.Writer
	started bool
}

func (w *jsonWriter) write(object json.RawMessage, _ []string) error {
	separator := ",\n"
	if !w.started {
		separator, w.started = "[\n", true
	}
	_, err := io.WriteString(w.out, separator+printableJSON(object))
	return err
}

func (w *jsonWriter) end() error {
	text := "\n]\n"
	if !w.started {
		text = "[]\n"
	}
	_, err := io.WriteString(w.out, text)
	return err
}

// idWriter writes the IDs in one of the columns, one per line.
type idWriter struct {
	out    io.Writer
	column int
}

func (w idWriter) write(_ json.RawMessage, row []string) error {
	_, err := fmt.Fprintln(w.out, printable(row[w.column]))
	return err
}

func (idWriter) end() error { return nil }

// printable escapes characters that could affect a terminal or make one string look like
// another. The server doesn't allow them in names, but a command can't rely on that.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// printableJSON is like printable but preserves the meaning of JSON. Outside strings, the only
// unprintable characters are line breaks.
func printableJSON(value json.RawMessage) string {
	var b strings.Builder
	for _, r := range string(value) {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
