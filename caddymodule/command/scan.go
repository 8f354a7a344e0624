package command

import (
	"encoding/json"
	"errors"
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
		Short: "Finds API keys in files and shows their status",
		Long: `
Searches files, directories or standard input for API keys, which it recognizes by
their format and checksum, and looks them up on the server. It prints each key's
location, public part, ID, status, name and owner, but never the secret. It finds keys in
UTF-16 text, but not in compressed or encrypted data.

Paths in arguments are read even if they are links, pipes or devices. Below a
directory, only regular files are read. Everything that was not read is listed on
standard error, one per line: unreadable files, pipes and devices below a
directory, and links to targets outside the search. Pass these as arguments to
search them too. Write ./- for a file named -.

The exit status is 4 if any key was found, so that commit hooks and scripts can
check for it. Otherwise, it is 2 if a path doesn't exist, 1 if something was not
read, and 0 if everything was read. Keys imported from Mollymawk can't be found,
because they look like any other UUID.

With --output sarif, it prints a SARIF log for code scanning, for example by GitHub.
Run it in the root of the repository, so that the paths are relative to it.`,
		Example: `  $ caddy api-token scan .
  $ git log -p | caddy api-token scan -
  $ caddy api-token scan --offline --output sarif . >keys.sarif
  $ caddy api-token scan --offline --prefix mm --prefix xy /srv/backup`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("offline", false, "Don't look up keys on the server")
		flags.StringArray("prefix", []string{token.DefaultPrefix},
			"Two-letter prefix of keys, as in the option prefix (repeatable)")
		listFlags(flags, findingFields)
		allowSARIF(flags)
	},
	run: (*invocation).scan,
}

// finding is a token that scan has found.
type finding struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	// Column is the position in the line, in characters, starting at 1.
	Column int    `json:"column"`
	Hint   string `json:"token_hint"`
	// Kind is api or admin.
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Name and Owner are empty if the server doesn't know the key.
	Name   string `json:"name"`
	Owner  string `json:"owner"`
	Status string `json:"status"`
}

// JSON implements [object].
func (f finding) JSON() json.RawMessage { return marshal(f) }

var findingFields = []field[finding]{
	{column: column{name: "WHERE"}, value: func(f finding) any {
		return f.Path + ":" + strconv.Itoa(f.Line)
	}},
	{column: column{name: "HINT", rank: 1}, value: func(f finding) any { return f.Hint }},
	{column: column{name: "ID"}, value: func(f finding) any { return f.ID }},
	{column: column{name: "STATUS", style: statusStyle}, value: func(f finding) any { return f.Status }},
	{column: column{name: "NAME", rank: 3, least: 12}, value: func(f finding) any { return f.Name }},
	{column: column{name: "OWNER", rank: 2, least: 8}, value: func(f finding) any { return f.Owner }},
	{column: column{name: "COLUMN", right: true}, wide: true, value: func(f finding) any { return uint64(f.Column) }},
	{column: column{name: "KIND"}, wide: true, value: func(f finding) any { return f.Kind }},
}

// Statuses that a finding can have in addition to token statuses.
const (
	statusUnknown   = "unknown"
	statusUnchecked = "unchecked"
)

func (i *invocation) scan() error {
	if len(i.args) == 0 {
		return usageErrorf("pass the paths to search: files, directories, or - for standard input")
	}
	out, err := i.findingResults()
	if err != nil {
		return err
	}
	s := &scanner{invocation: i, out: out}
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
	switch {
	case s.lookupErr != nil:
		i.message("API keys were not looked up: %v", s.lookupErr)
	case s.found > 0 && i.flags.Bool("offline"):
		i.message("API keys were not looked up, so their status, name and owner are unknown (--offline).")
	}
	switch {
	case err != nil:
		return err
	case s.found > 0:
		return exitError(exitRefused)
	case s.missing > 0:
		return usageErrorf("%d of the paths don't exist; no API key was found elsewhere", s.missing)
	case s.unread > 0:
		return errors.New("not everything was read; no API key was found in the rest")
	case i.tabular():
		i.message("no API keys found")
	}
	return nil
}

// scanner searches files for tokens, one file at a time.
type scanner struct {
	*invocation
	prefixes token.Prefixes
	// api is nil if scan doesn't look up tokens on the server. If that is because of an error,
	// lookupErr holds the error.
	api       *endpointClient
	lookupErr error
	out       results[finding]
	found     int
	// unread is the number of files that were not read in full. missing is the number of paths
	// that don't exist.
	unread, missing int
	// roots holds the arguments' real paths.
	roots []string
	// piece and chunk are buffers that are reused for every file.
	piece, chunk []byte
}

func (s *scanner) report(name string, line, column int, secret string) error {
	s.found++
	credential, err := s.prefixes.Parse(secret)
	if err != nil {
		return err // can't happen: Find has checked the token
	}
	id := credential.ID.String()
	f := finding{Path: name, Line: line, Column: column, ID: id, Kind: credential.Kind.String(),
		Hint: secret[:strings.LastIndexByte(secret, '_')+1] + "…", Status: statusUnchecked}
	if s.api != nil {
		token, err := s.api.Lookup(s.ctx, secret)
		refused, _ := errors.AsType[*client.Error](err)
		switch {
		case err == nil:
			f.Status, f.ID, f.Name, f.Owner = token.Status, token.ID, token.Name, token.Metadata["owner"]
		case refused != nil && refused.Code == "not_found":
			f.Status = statusUnknown
		default:
			// Finding tokens matters more than showing their status, so continue without the
			// server.
			s.lookupErr, s.api = s.api.explain(err), nil
		}
	}
	return s.out.write(f)
}
