package caddymodule

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/tokenstore"
)

var scanVerb = verb{
	command: cobra.Command{
		Use:   "scan <path|->...",
		Short: "Finds tokens in files and tells whether they are in force",
		Long: `
Looks for tokens, by their form and checksum, in files, in whole directories, or
in standard input, and asks the server which they are. It prints where each is,
its public part, its id and its state, never the secret.

Exit status is 4 if there are any, so that a commit hook or a timer can tell.
Tokens imported from Mollymawk look like any UUID and aren't found.`,
		Example: `  $ caddy api-token scan .
  $ git log -p | caddy api-token scan -
  $ caddy api-token scan --offline --prefix mm --prefix xy /srv/backup`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("offline", false, "Don't ask the server")
		flags.StringArray("prefix", []string{tokenstore.DefaultPrefix}, "First two letters of tokens, as the option prefix has them (repeatable)")
		outputFlag(flags, "table, json (one array) or id")
	},
	run: (*invocation).scan,
}

// finding is a token that was found.
type finding struct {
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Hint   string `json:"token_hint"`
	ID     string `json:"id"`
	Status string `json:"status"`
}

// Statuses of a finding that are no token's.
const (
	statusUnknown   = "unknown"
	statusUnchecked = "unchecked"
)

func (i *invocation) scan() error {
	if len(i.args) == 0 {
		return usageErrorf("name what to look through: files, directories, or - for standard input")
	}
	form, err := i.output()
	if err != nil {
		return err
	}
	s := &scanner{invocation: i, out: i.findingWriter(form)}
	if s.prefixes, err = i.flags.GetStringArray("prefix"); err != nil {
		return err
	}
	if err := s.prefixes.Validate(); err != nil {
		return usageErrorf("--prefix: %v", err)
	}
	if !i.flags.Bool("offline") {
		if s.api, err = i.client(); err != nil {
			return err
		}
	}
	for _, path := range i.args {
		if err := s.walk(path); err != nil {
			return err
		}
	}
	if err := s.out.end(); err != nil {
		return err
	}
	if s.found > 0 {
		return exitError(exitRefused)
	}
	if form == outputTable {
		i.tell("no tokens found")
	}
	return nil
}

func (i *invocation) findingWriter(form string) rowWriter {
	switch form {
	case outputJSON:
		return &jsonWriter{out: i.out}
	case outputID:
		return idWriter{out: i.out, column: 2}
	}
	return tableWriter{newTable(i.out, []column{{name: "WHERE", least: 20}, {name: "TOKEN"}, {name: "ID"}, {name: "STATUS"}})}
}

// scanner looks for tokens in one file after the other.
type scanner struct {
	*invocation
	prefixes tokenstore.Prefixes
	// api is nil if the server isn't to be asked.
	api   *endpointClient
	out   rowWriter
	found int
}

// walk looks through a file, or all files below a directory. Links aren't
// followed, and what can't be read is told and left out.
func (s *scanner) walk(path string) error {
	if path == "-" {
		return s.read("-", s.in)
	}
	if _, err := os.Lstat(path); err != nil {
		return usageErrorf("%v", err)
	}
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			s.tell("left out: %v", err)
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		file, err := os.Open(name) //nolint:gosec // whoever can make it another file can write tokens into this one
		if err != nil {
			s.tell("left out: %v", err)
			return nil
		}
		defer func() { _ = file.Close() }() // it was only read
		return s.read(name, file)
	})
}

// scanBuffer is how much of a file is in memory at once.
const scanBuffer = 1 << 20

// read looks through a text piece by piece. A piece begins with the end of the one
// before, as long as a token could have begun in it.
func (s *scanner) read(name string, from io.Reader) error {
	const overlap = tokenstore.SecretTextLength - 1
	reader := bufio.NewReaderSize(from, scanBuffer)
	piece := make([]byte, 0, scanBuffer+overlap)
	line := 1
	for {
		kept := len(piece)
		n, err := io.ReadFull(reader, piece[kept:cap(piece)])
		piece = piece[:kept+n]
		if err := s.search(name, line, string(piece)); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			s.tell("left out, from somewhere on: %s: %v", name, err)
			return nil
		}
		rest := len(piece) - overlap
		line += bytes.Count(piece[:rest], []byte("\n"))
		piece = append(piece[:0], piece[rest:]...)
	}
}

// search reports the tokens in a piece of a text that begins in a line. A token
// never lies in two pieces whole.
func (s *scanner) search(name string, line int, text string) error {
	for at := s.prefixes.Find(text); at >= 0; at = s.prefixes.Find(text) {
		line += strings.Count(text[:at], "\n")
		if err := s.report(name, line, text[at:at+tokenstore.SecretTextLength]); err != nil {
			return err
		}
		text = text[at+tokenstore.SecretTextLength:]
	}
	return nil
}

func (s *scanner) report(name string, line int, secret string) error {
	s.found++
	credential, err := s.prefixes.Parse(secret)
	if err != nil {
		return err // it has just been found
	}
	id := credential.ID.String()
	f := finding{Path: name, Line: line, ID: id, Hint: secret[:strings.LastIndexByte(secret, '_')+1] + "…", Status: statusUnchecked}
	if s.api != nil {
		token, err := s.api.Lookup(s.ctx, secret)
		refused, _ := errors.AsType[*client.Error](err)
		switch {
		case err == nil:
			f.Status, f.ID = token.Status, token.ID
		case refused != nil && refused.Code == "not_found":
			f.Status = statusUnknown
		default:
			return s.api.explain(err)
		}
	}
	text, err := marshal(f)
	if err != nil {
		return err
	}
	return s.out.write(text, []string{name + ":" + strconv.Itoa(line), f.Hint, f.ID, f.Status})
}
