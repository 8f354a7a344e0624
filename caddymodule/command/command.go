package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/mollygate/mollygate/admin/client"
)

func init() {
	cobra.AddTemplateFunc("ownPath", ownPath)
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "api-token",
		Usage: "<command>",
		Short: "Manages the API keys of a running Caddy",
		Long: `
Creates, finds, edits and revokes the API keys that the bearer_auth gate of a
running Caddy accepts.

The commands talk to Caddy's admin endpoint. Like 'caddy reload', they find it
at --address, or in the configuration (--config and --adapter, or a Caddyfile in
this directory), or at ` + caddy.DefaultAdminListen + `. Commands send whole keys there, so a
Caddyfile in this directory is used only if its endpoint is a loopback address or
a unix socket.

Results go to standard output, everything else to standard error. Never pass a
key as an argument, because arguments appear in process lists and shell histories.
Pass its ID, its hint such as mmk_4fQ9Zt2LkVb7_…, or its exact name instead.

Exit status: 0 success; 1 other failure, or 'scan' could not read something;
2 invalid command; 3 not found; 4 refused, or 'list --status expiring' or 'scan'
found keys, 'explain' reports a refusal, 'status' a problem, 'check' found damage,
or 'repair' lost records; 5 conflict; 6 no response, or no usable response, from
the server, or 'revoke --wait' got no confirmation from some gates.`,
		CobraFunc: func(cmd *cobra.Command) {
			addVerbs(cmd, &console{
				in: os.Stdin, out: os.Stdout, err: os.Stderr,
				screen:      screenOf(os.Stdout),
				interactive: term.IsTerminal(int(os.Stdin.Fd())),
				now:         time.Now,
				after:       time.After,
			})
		},
	})
}

// Exit codes, as documented in the help text.
const (
	exitOK = iota
	// exitFailed is for errors that have no exit code of their own, such as a failed write to
	// standard output.
	exitFailed
	exitUsage
	exitNotFound
	exitRefused
	exitConflict
	exitUnreachable
)

// console is the terminal that commands read from and write to.
type console struct {
	in       io.Reader
	out, err io.Writer
	// screen is the terminal that out writes to.
	screen screen
	// interactive reports whether commands can prompt the user.
	interactive bool
	now         func() time.Time
	after       func(time.Duration) <-chan time.Time
	// lines reads lines from in. It is nil until the first prompt.
	lines *bufio.Reader
}

// exit prints the error and returns an error that makes Caddy exit with the corresponding
// code.
func (c *console) exit(cmd *cobra.Command, err error) error {
	code := exitCode(err)
	if code == exitOK {
		return nil
	}
	if _, ok := errors.AsType[exitError](err); !ok {
		text := secretLike.ReplaceAllString(err.Error(), "${1}REDACTED")
		c.message("Error: %s", strings.ReplaceAll(text, "\n", "\n       "))
	}
	if code == exitUsage {
		c.message("See '%s --help'.", commandPath(cmd))
	}
	cmd.SilenceErrors = true
	if code == exitFailed {
		return err
	}
	// Caddy doesn't export its error type for exit codes.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// message writes a human-readable message and a line break to standard error.
func (c *console) message(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		_, _ = fmt.Fprintln(c.err, printable(ownName(line))) // a failure can't be reported anywhere else
	}
}

// ownName replaces caddy with this program's name in the commands in a text.
func ownName(text string) string {
	if caddy.CustomBinaryName == "" {
		return text
	}
	name := strings.ReplaceAll(caddy.CustomBinaryName, "$", "$$")
	return commandInText.ReplaceAllString(text, "${1}"+name+" api-token")
}

// commandInText matches the beginning of a command in a text, after group 1.
var commandInText = regexp.MustCompile("(^|[\\s'`(])caddy api-token")

// commandPath returns a command with its parents: "caddy api-token show".
func commandPath(cmd *cobra.Command) string { return ownPath(cmd.CommandPath()) }

// ownPath replaces the first word of a cobra command's path with this program's name. Cobra
// shows only the first word of a name such as "go run ./cmd/firstrun".
func ownPath(path string) string {
	if _, rest, ok := strings.Cut(path, " "); ok && caddy.CustomBinaryName != "" {
		return caddy.CustomBinaryName + " " + rest
	}
	return path
}

// usageError is the error for an invalid command that had no effect.
type usageError string

func usageErrorf(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

func (e usageError) Error() string { return string(e) }

// exitError is an exit code for an outcome that isn't a failure. The command has already
// printed its messages.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return int(e)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*unreachableError](err); ok {
		return exitUnreachable
	}
	if _, ok := errors.AsType[notFoundError](err); ok {
		return exitNotFound
	}
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return exitFailed
	case refused.Status == 401 || refused.Status == 403:
		return exitRefused
	case refused.Code == "":
		return exitUnreachable // the response came from another server, or from another part of this one
	case refused.Status == 404:
		return exitNotFound
	case refused.Status == 409 || refused.Status == 412 || refused.Status == 422:
		return exitConflict
	case refused.Status < 500 && refused.Status != 429:
		return exitUsage
	}
	return exitUnreachable
}

// secretLike matches anything that may be a complete or nearly complete token, with any
// prefix.
var secretLike = regexp.MustCompile(`([a-z]{2}[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]{16,}`)

// refuseSecrets returns an error if any argument or flag contains a token.
func refuseSecrets(flags *pflag.FlagSet, args []string) error {
	found := ""
	find := func(text string) {
		if found == "" {
			found = secretLike.FindString(text)
		}
	}
	for _, arg := range args {
		find(arg)
	}
	flags.Visit(func(f *pflag.Flag) { find(f.Value.String()) })
	if found == "" {
		return nil
	}
	return secretArgument(found)
}

// secretArgument is the error for an argument with a secret. text begins with a key's prefix and
// ID.
func secretArgument(text string) error {
	_, rest, _ := strings.Cut(text, "_")
	id, _, _ := strings.Cut(rest, "_")
	return usageErrorf("an API key was passed as an argument, and arguments appear in process lists and shell "+
		"histories. Pass its ID instead, which is %[1]s. Replace the secret, because others may have seen it:\n"+
		"  caddy api-token rotate %[1]s --grace 0s", id)
}

// flagError replaces a field's API name with the corresponding flag's name. If the command has no
// such flag, the field comes from an argument or a file.
func flagError(flags *pflag.FlagSet, err error) error {
	refused, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	name := refused.Field + refused.Parameter
	rule, ok := strings.CutPrefix(refused.Detail, name+": ")
	if name == "" || !ok {
		return err
	}
	rule = asFlags.Replace(rule)
	if flag := flagOf(name); flags != nil && flags.Lookup(flag) != nil {
		return usageErrorf("--%s: %s", flag, rule)
	}
	return usageErrorf("%s: %s", argumentOf(name), rule)
}

// asFlags replaces what the API's rules say about other fields.
var asFlags = strings.NewReplacer("give expires_at", "give --expires-at", "give either expires_in or expires_at",
	"give either --expires-in or --expires-at", "give either preset or scopes", "give either --preset or --scope",
	"write null", "write none")

// flagOf returns the name of the flag for a field.
func flagOf(name string) string {
	switch name {
	case "scopes":
		return "scope"
	case "resources":
		return "resource"
	case "allowed_ips":
		return "allowed-ip"
	case "previous_valid_until":
		return "old-secret-until"
	}
	return strings.ReplaceAll(name, "_", "-")
}

// argumentOf describes a field for which there is no flag.
func argumentOf(name string) string {
	switch name {
	case "data":
		return "user record"
	case "token":
		return "API key"
	}
	return strings.ReplaceAll(name, "_", " ")
}
