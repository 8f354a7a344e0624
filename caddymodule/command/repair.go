package command

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/tokenstore/bolt"
)

var repairVerb = verb{
	command: cobra.Command{
		Use:   "repair <file>",
		Short: "Rebuild a damaged token store from every record that can be read",
		Long: `
Copies every record that verifies into a new file, which takes the place of the
damaged one, and lists what was lost. The damaged file is kept next to it. No Caddy
may be using the store.

Caddy does the same by itself when it opens a damaged store. Use this command for a
backup, or for a file that Caddy refuses to open.

A token that can't be read stays listed as damaged: requests with it are answered
with 503 until you delete it or restore a backup. Exit status is 4 if anything was
lost.`,
		Example: `  $ caddy api-token repair /var/lib/caddy/tokens.db`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask") },
	run:   (*invocation).repair,
}

func (i *invocation) repair() error {
	if len(i.args) != 1 {
		return usageErrorf("name the file to repair")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	name := i.args[0]
	if err := i.ask(fmt.Sprintf("Rebuild %s? The damaged file is kept next to it.", printable(name))); err != nil {
		return err
	}
	done, err := bolt.Repair(name, i.now())
	if err != nil {
		return usageErrorf("%v", err)
	}
	if done.Kept == "" {
		i.tell("%s is sound; nothing was changed.", name)
		return nil
	}
	var lost []string
	for _, l := range done.Lost.Records {
		lost = append(lost, "lost from "+l.Bucket+": "+l.What)
	}
	if err := i.printLines(lost); err != nil {
		return err
	}
	for _, fault := range done.Faults {
		i.tell("Found: %s", printable(fault))
	}
	i.tell("Rebuilt %s; %d records are lost. The damaged file is kept as %s.", name, len(lost), done.Kept)
	if len(lost) > 0 {
		return exitError(exitRefused)
	}
	return nil
}

var compactVerb = verb{
	command: cobra.Command{
		Use:   "compact",
		Short: "Give back the disk space of what was deleted",
		Long: `
Rebuilds the token store's file, so that it and its backups are no longer than what
they hold. Caddy goes on serving. Changes of tokens wait meanwhile, up to half a
minute for a million tokens. The disk needs space for a second copy.`,
		Example: `  $ caddy api-token compact`,
	},
	flags: func(*pflag.FlagSet) {},
	run:   (*invocation).compact,
}

func (i *invocation) compact() error {
	if len(i.args) > 0 {
		return usageErrorf("compact takes no arguments; it compacts the store of the running Caddy")
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	compacted, err := api.Compact(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	i.tell("The token store has %d bytes now; it had %d.", compacted.After, compacted.Before)
	return nil
}
