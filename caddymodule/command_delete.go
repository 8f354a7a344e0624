package caddymodule

import (
	"bufio"
	"errors"
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
	yes := i.flags.Bool("yes")
	if !yes && !i.interactive {
		return usageErrorf("there is nobody to ask whether to delete; confirm with --yes")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if !yes {
		if err := i.askToDelete(api, ids); err != nil {
			return err
		}
	}
	var failed []error
	for _, id := range ids {
		err := api.explain(api.Delete(i.ctx, id))
		switch exitCode(err) {
		case exitOK:
			i.tell("Deleted %s.", id)
		case exitNotFound:
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		default:
			// The next would fail for the same reason.
			return errors.Join(append(failed, fmt.Errorf("%s: %w", id, err))...)
		}
	}
	return errors.Join(failed...)
}

// askToDelete shows what would be deleted and asks for a yes.
func (i *invocation) askToDelete(api *endpointClient, ids []string) error {
	for _, id := range ids {
		token, err := api.Get(i.ctx, id)
		if err != nil {
			return fmt.Errorf("%s: %w; nothing was deleted", id, api.explain(err))
		}
		i.tell("%s  %s (%s, used %d times)", token.ID, token.Name, token.Status, token.UsageCount)
	}
	_, _ = fmt.Fprintf(i.err, "Delete %d? They stop working at once. [y/N] ", len(ids))
	answer, _ := bufio.NewReader(i.in).ReadString('\n') // an end without an answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	i.tell("Nothing was deleted.")
	return exitError(exitRefused)
}
