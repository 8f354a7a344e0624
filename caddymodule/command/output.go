package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/pflag"
)

// Output formats.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
	outputCSV   = "csv"
	outputID    = "id"
)

// outputFlag declares --output for commands that accept these formats.
func outputFlag(flags *pflag.FlagSet, usage string, formats ...string) {
	flags.StringP("output", "o", formats[0], usage)
	choose(flags, "output", formats...)
}

func (i *invocation) output() string { return i.flags.String("output") }

// call returns a command line for advice. It finds the endpoint in the same way as this command.
func (i *invocation) call(words string) string {
	words = "caddy api-token " + words
	for _, name := range []string{"address", "config", "adapter"} {
		if value := i.flags.String(name); value != "" {
			words += " --" + name + " " + quoted(value)
		}
	}
	return words
}

// tabular reports whether the output is a table, which people read.
func (i *invocation) tabular() bool { return i.output() == outputTable || i.output() == outputWide }

// marshal encodes an object the way the API does. The object must consist of texts, numbers
// and the like, which can always be encoded.
func marshal(object any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(object)
	return bytes.TrimRight(b.Bytes(), "\n")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

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
