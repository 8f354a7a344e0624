package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var deleteVerb = verb{
	command: cobra.Command{
		Use:        "delete <id|hint|name>...",
		SuggestFor: []string{"remove", "rm"},
		Short:      "Deletes API keys and their usage history",
		Long: `
Permanently deletes API keys and their usage history. They stop working
immediately. To keep the history, revoke them instead.

On a terminal, the command asks for confirmation. Elsewhere, add --yes.`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask for confirmation") },
	run:   (*invocation).delete,
}

func (i *invocation) delete() error {
	if err := errors.Join(i.checkNames(i.args...), i.canConfirm()); err != nil {
		return err
	}
	api, keys, err := i.keys()
	if err != nil {
		return err
	}
	if err := i.confirm(keys, "Delete %s with its usage history? This can't be undone. To keep the history, revoke it.",
		"Delete %s with their usage history? This can't be undone. To keep the history, revoke them."); err != nil {
		return err
	}
	return i.each(keys, func(k key) error {
		if err := api.Delete(i.ctx, k.ID); err != nil {
			return api.explain(err)
		}
		i.message("Deleted %s and its usage history.", k)
		return nil
	})
}

// confirm shows the keys and asks for confirmation, unless --yes was given. The question about
// one key has a placeholder for its name, the question about several for their number.
func (i *invocation) confirm(keys []key, one, several string) error {
	if err := i.canConfirm(); err != nil || i.flags.Bool("yes") {
		return err
	}
	for _, k := range keys {
		if k.err != nil {
			return fmt.Errorf("%s: %w; nothing was changed", k.ID, k.err)
		}
		i.message("%s  %s", k.ID, k.Name)
		i.message("  %s, %s", i.state(k.Token), i.lastUse(k.Token))
	}
	if len(keys) == 1 {
		return i.ask(fmt.Sprintf(one, printable(strconv.Quote(keys[0].Name))))
	}
	return i.ask(fmt.Sprintf(several, fmt.Sprintf("%d keys", len(keys))))
}

// state returns a key's status. For a revoked key, it includes the time.
func (i *invocation) state(t client.Token) string {
	if t.RevokedAt.IsZero() {
		return t.Status
	}
	return "revoked " + ago(t.RevokedAt, i.now())
}

// lastUse returns a phrase with a key's last use and its number of uses.
func (i *invocation) lastUse(t client.Token) string {
	if t.LastUsedAt.IsZero() {
		return "never used"
	}
	text := "last used " + ago(t.LastUsedAt, i.now())
	if t.LastUsedIP != "" {
		text += " from " + t.LastUsedIP
	}
	if t.LastUsedUserAgent != "" {
		text += " by " + t.LastUsedUserAgent
	}
	if t.LastUsedRoute != "" {
		text += " for " + t.LastUsedRoute
	}
	return text + fmt.Sprintf(" (%s uses)", count(t.UsageCount))
}

// canConfirm returns an error if --yes is missing and the command can't prompt the user.
func (i *invocation) canConfirm() error {
	if !i.flags.Bool("yes") && !i.interactive {
		return usageErrorf("not a terminal: add --yes to confirm")
	}
	return nil
}

// ask asks for confirmation, unless --yes was given. It treats any answer other than yes as
// no.
func (i *invocation) ask(question string) error {
	if i.flags.Bool("yes") {
		return nil
	}
	_, _ = fmt.Fprintf(i.err, "%s [y/N] ", question)
	answer, _ := i.readLine() // the end of the input counts as no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	i.message("Nothing was changed.")
	return exitError(exitRefused)
}
