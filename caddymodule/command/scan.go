package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/token"
)

var scanVerb = verb{
	command: cobra.Command{
		Use:   "scan <path|->...",
		Short: "Finds tokens in files and shows their state",
		Long: `
Looks for tokens, by their form and checksum, in files, in whole directories, or
in standard input, and asks the server which they are. It prints where each is,
its public part, its id and its state, never the secret. Tokens in UTF-16 are
found, those in compressed or encrypted data are not.

What is named is read, whatever it is: a file, a link, a pipe, a device. Below a
directory, only regular files are read. Whatever was not read is listed on standard
error, one line each: what may not be read, pipes and devices below a directory,
and links that lead to something that isn't searched anyway. Name these too to have
them read. A file called - is written ./-.

Exit status is 4 if any token was found, so that a commit hook or a timer can tell;
otherwise 2 if a name doesn't exist, or 1 if something was not read. It is 0 only if
everything was read. Tokens imported from Mollymawk look like any UUID and aren't
found.`,
		Example: `  $ caddy api-token scan .
  $ git log -p | caddy api-token scan -
  $ caddy api-token scan --offline --prefix mm --prefix xy /srv/backup`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("offline", false, "Don't ask the server")
		flags.StringArray("prefix", []string{token.DefaultPrefix},
			"First two letters of tokens, as the option prefix has them (repeatable)")
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
	err = errors.Join(s.scan(i.args), s.out.end())
	if s.lookupErr != nil {
		i.tell("tokens were not looked up: %v", s.lookupErr)
	}
	switch {
	case err != nil:
		return err
	case s.found > 0:
		return exitError(exitRefused)
	case s.missing > 0:
		return usageErrorf("%d of the names don't exist; no tokens were found elsewhere", s.missing)
	case s.unread > 0:
		return fmt.Errorf("not everything was read; no tokens were found in the rest")
	case form == outputTable:
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
	return tableWriter{
		newTable(i.out, []column{{name: "WHERE", least: 20}, {name: "TOKEN"}, {name: "ID"}, {name: "STATUS"}})}
}

// scanner looks for tokens in one file after the other.
type scanner struct {
	*invocation
	prefixes token.Prefixes
	// api is nil if the server isn't to be asked, or can't be; then lookupErr says why.
	api       *endpointClient
	lookupErr error
	out       rowWriter
	found     int
	// unread counts what was not read to its end. missing counts those of them that
	// are names of nothing.
	unread, missing int
	// roots are the real paths of all that was named.
	roots []string
	// piece and chunk are used for one text after the other.
	piece, chunk []byte
}

func (s *scanner) report(name string, line int, secret string) error {
	s.found++
	credential, err := s.prefixes.Parse(secret)
	if err != nil {
		return err // it has just been found
	}
	id := credential.ID.String()
	f := finding{Path: name, Line: line, ID: id, Hint: secret[:strings.LastIndexByte(secret, '_')+1] + "…",
		Status: statusUnchecked}
	if s.api != nil {
		token, err := s.api.Lookup(s.ctx, secret)
		refused, _ := errors.AsType[*client.Error](err)
		switch {
		case err == nil:
			f.Status, f.ID = token.Status, token.ID
		case refused != nil && refused.Code == "not_found":
			f.Status = statusUnknown
		default:
			// What was found matters more than its state. The server is not asked again.
			s.lookupErr, s.api = s.api.explain(err), nil
		}
	}
	text, err := marshal(f)
	if err != nil {
		return err
	}
	return s.out.write(text, []string{name + ":" + strconv.Itoa(line), f.Hint, f.ID, f.Status})
}
