package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

// Forms of output.
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

// tokenWriter writes tokens one after the other.
type tokenWriter interface {
	write(client.Token) error
	// end is called after the last.
	end() error
}

func (i *invocation) tokenWriter(form string) tokenWriter {
	switch form {
	case outputJSON:
		return &jsonWriter{out: i.out}
	case outputID:
		return idWriter{i.out}
	}
	return &tableWriter{out: tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0), now: i.now()}
}

// tableWriter writes a table for people.
type tableWriter struct {
	out  *tabwriter.Writer
	now  time.Time
	rows int
}

func (w *tableWriter) write(t client.Token) error {
	if w.rows++; w.rows == 1 {
		if _, err := fmt.Fprintln(w.out, "ID\tNAME\tKIND\tACCOUNT\tSTATUS\tSCOPES\tEXPIRES\tLAST USED\tUSES"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w.out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", printable(t.ID), printable(t.Name), printable(t.Kind),
		orDash(t.Account), printable(t.Status), orDash(someOf(t.Scopes)),
		client.Relative(t.ExpiresAt, w.now), client.Ago(t.LastUsedAt, w.now), t.UsageCount)
	return err
}

func (w *tableWriter) end() error { return w.out.Flush() }

// someOf lists the first few.
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

// jsonWriter writes one array of the objects as the server sent them.
type jsonWriter struct {
	out   io.Writer
	begun bool
}

func (w *jsonWriter) write(t client.Token) error {
	separator := ",\n"
	if !w.begun {
		separator, w.begun = "[\n", true
	}
	_, err := io.WriteString(w.out, separator+printableJSON(t.JSON()))
	return err
}

func (w *jsonWriter) end() error {
	text := "\n]\n"
	if !w.begun {
		text = "[]\n"
	}
	_, err := io.WriteString(w.out, text)
	return err
}

// idWriter writes the ids, one a line.
type idWriter struct{ out io.Writer }

func (w idWriter) write(t client.Token) error {
	_, err := fmt.Fprintln(w.out, printable(t.ID))
	return err
}

func (idWriter) end() error { return nil }

// printable escapes what could do something to a terminal, or make a text look
// like another. No name holds any of it; but it isn't this program that decides.
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

// printableJSON does the same to JSON and leaves its meaning: outside of strings
// there is nothing to escape but line breaks.
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
