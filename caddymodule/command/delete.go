package command

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var deleteVerb = verb{
	command: cobra.Command{
		Use:   "delete <id>...",
		Short: "Deletes API keys and their usage history",
		Long: `
Permanently deletes API keys and their usage history. They stop working
immediately. To keep the history, revoke them instead.

On a terminal, the command asks for confirmation. Elsewhere, add --yes.`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask for confirmation") },
	run:   (*invocation).delete,
}

func (i *invocation) delete() error {
	ids, err := i.ids()
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Delete %s? This also deletes the usage history and can't be undone.", countKeys(len(ids)))
	if err := i.confirm(api, ids, question); err != nil {
		return err
	}
	return i.each(ids, func(id string) error {
		if err := api.Delete(i.ctx, id); err != nil {
			return api.explain(err)
		}
		i.message("Deleted %s.", id)
		return nil
	})
}

// countKeys returns a phrase with the number of API keys.
func countKeys(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

// confirm shows the affected tokens and asks for confirmation, unless --yes was given.
func (i *invocation) confirm(api *endpointClient, ids []string, question string) error {
	if err := i.canConfirm(); err != nil || i.flags.Bool("yes") {
		return err
	}
	for _, id := range ids {
		token, err := api.Get(i.ctx, id)
		if err != nil {
			return fmt.Errorf("%s: %w; nothing was changed", id, api.explain(err))
		}
		i.message("%s  %s (%s, used %d times)", token.ID, token.Name, token.Status, token.UsageCount)
	}
	return i.ask(question)
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
	answer, _ := bufio.NewReader(i.in).ReadString('\n') // the end of the input counts as no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	i.message("Nothing was changed.")
	return exitError(exitRefused)
}
