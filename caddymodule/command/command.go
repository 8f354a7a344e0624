package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/token"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "api-token",
		Usage: "<command>",
		Short: "Manages the API tokens of a running Caddy",
		Long: `
Makes, finds, changes and withdraws the tokens that the bearer_auth gate of a
running Caddy accepts.

The commands talk to Caddy's admin endpoint, which is found as 'caddy reload'
finds it: at --address, or where the configuration says (--config and
--adapter, or a Caddyfile in this directory), or at ` + caddy.DefaultAdminListen + `.
A Caddyfile in this directory counts only if its endpoint is a loopback address or
a unix socket, because commands send whole tokens there.

Results go to standard output and all else to standard error. A token itself is
never an argument, because arguments show in process lists and shell histories:
tokens are named by their ids.

Exit status: 0 done; 1 another failure, and 'scan' if something was not read; 2 the
command was wrong; 3 not found; 4 refused, and
'list --status expiring' and 'scan' if there are some, 'explain' if the request
would be refused, 'check' if something is damaged, 'repair' if anything was lost;
5 conflict; 6 no answer from the server, or none that could be used.`,
		CobraFunc: func(cmd *cobra.Command) {
			addVerbs(cmd, &console{
				in: os.Stdin, out: os.Stdout, err: os.Stderr,
				interactive: term.IsTerminal(int(os.Stdin.Fd())),
				now:         time.Now,
				after:       time.After,
			})
		},
	})
}

// Exit codes, as the help text tells them.
const (
	exitOK = iota
	// exitFailed is for what has no code of its own, such as a standard output
	// that can't be written.
	exitFailed
	exitUsage
	exitNotFound
	exitRefused
	exitConflict
	exitUnreachable
)

// console is where commands read from and write to.
type console struct {
	in       io.Reader
	out, err io.Writer
	// interactive says that somebody is there to be asked.
	interactive bool
	now         func() time.Time
	after       func(time.Duration) <-chan time.Time
}

// exit prints what went wrong and returns the error that makes Caddy exit with
// its code.
func (c *console) exit(cmd *cobra.Command, err error) error {
	code := exitCode(err)
	if code == exitOK {
		return nil
	}
	if _, ok := errors.AsType[exitError](err); !ok {
		c.tell("Error: %s", secretLike.ReplaceAllString(err.Error(), "${1}REDACTED"))
	}
	if code == exitUsage {
		c.tell("See '%s --help'.", cmd.CommandPath())
	}
	cmd.SilenceErrors = true
	if code == exitFailed {
		return err
	}
	// Caddy keeps its own error with an exit code to itself.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// tell writes something for people to standard error, on lines of its own.
func (c *console) tell(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		_, _ = fmt.Fprintln(c.err, printable(line)) // where else could that be told?
	}
}

// usageError says that the command was wrong; nothing was done.
type usageError string

func usageErrorf(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

func (e usageError) Error() string { return string(e) }

// exitError is an outcome that is no mistake but has an exit code of its own.
// What there is to say has been said.
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
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok:
		return exitFailed
	case refused.Status == 401 || refused.Status == 403:
		return exitRefused
	case refused.Code == "":
		return exitUnreachable // some other server, or another part of this one
	case refused.Status == 404:
		return exitNotFound
	case refused.Status == 409 || refused.Status == 412 || refused.Status == 422:
		return exitConflict
	case refused.Status < 500 && refused.Status != 429:
		return exitUsage
	}
	return exitUnreachable
}

// secretLike is whatever may be a token, of any prefix, or most of one.
var secretLike = regexp.MustCompile(`([a-z]{2}[ka]_[0-9A-Za-z]{12}_)[0-9A-Za-z]{16,}`)

// refuseSecrets refuses a token among the arguments, whatever they are for.
func refuseSecrets(flags *pflag.FlagSet, args []string) error {
	found := false
	for _, arg := range args {
		found = found || secretLike.MatchString(arg)
	}
	flags.Visit(func(f *pflag.Flag) { found = found || secretLike.MatchString(f.Value.String()) })
	if !found {
		return nil
	}
	return usageErrorf("a token was given as an argument, and arguments show in process lists and shell histories; " +
		"give its id instead, the 12 characters after its first _, and replace the token")
}

// ids returns the arguments as ids.
func (i *invocation) ids() ([]string, error) {
	if len(i.args) == 0 {
		return nil, usageErrorf("the token's id is missing; `list` shows it")
	}
	var ids []string
	for _, arg := range i.args {
		if _, err := token.ParseID(arg); err != nil {
			return nil, usageErrorf("an argument is no id: %v", err)
		}
		if !slices.Contains(ids, arg) {
			ids = append(ids, arg)
		}
	}
	return ids, nil
}

// oneID returns the only argument as an id.
func (i *invocation) oneID(verb string) (string, error) {
	ids, err := i.ids()
	if err != nil {
		return "", err
	}
	if len(ids) > 1 {
		return "", usageErrorf("%s takes one id", verb)
	}
	return ids[0], nil
}

// flagError puts the name of the flag in place of the name that the API has for
// it.
func flagError(err error) error {
	refused, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	name := refused.Field + refused.Parameter
	rule, ok := strings.CutPrefix(refused.Detail, name+": ")
	if name == "" || !ok {
		return err
	}
	return usageErrorf("--%s: %s", flagOf(name), rule)
}

func flagOf(name string) string {
	switch name {
	case "scopes":
		return "scope"
	case "allowed_ips":
		return "allowed-ip"
	}
	return strings.ReplaceAll(name, "_", "-")
}
