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
		Short: "Deletes tokens, which stop working at once",
		Long: `
Deletes tokens with all that is known of their use. They stop working at once,
and nothing brings them back.

On a terminal it asks first; elsewhere --yes is needed.`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask") },
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
	if err := i.confirm(api, ids, fmt.Sprintf("Delete %d? They stop working at once.", len(ids))); err != nil {
		return err
	}
	return i.each(ids, func(id string) error {
		if err := api.Delete(i.ctx, id); err != nil {
			return api.explain(err)
		}
		i.tell("Deleted %s.", id)
		return nil
	})
}

// confirm shows the tokens that something would be done to and asks for a yes,
// unless --yes was given.
func (i *invocation) confirm(api *endpointClient, ids []string, question string) error {
	if err := i.canConfirm(); err != nil || i.flags.Bool("yes") {
		return err
	}
	for _, id := range ids {
		token, err := api.Get(i.ctx, id)
		if err != nil {
			return fmt.Errorf("%s: %w; nothing was done", id, api.explain(err))
		}
		i.tell("%s  %s (%s, used %d times)", token.ID, token.Name, token.Status, token.UsageCount)
	}
	return i.ask(question)
}

// canConfirm says whether there is a yes, or somebody to ask for it.
func (i *invocation) canConfirm() error {
	if !i.flags.Bool("yes") && !i.interactive {
		return usageErrorf("there is nobody to ask; confirm with --yes")
	}
	return nil
}

// ask asks for a yes, unless --yes was given; everything else is a no.
func (i *invocation) ask(question string) error {
	if i.flags.Bool("yes") {
		return nil
	}
	_, _ = fmt.Fprintf(i.err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(i.in).ReadString('\n') // an end without an answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	i.tell("Nothing was done.")
	return exitError(exitRefused)
}
