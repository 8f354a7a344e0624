package command

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/tokenstore/bolt"
)

var repairVerb = verb{
	command: cobra.Command{
		Use:   "repair <file>",
		Short: "Rebuilds a damaged key store from its readable records",
		Long: `
Copies all valid records to a new file, replaces the damaged file with it, and
lists the lost records. The damaged file is kept next to the new one. Stop Caddy
before you repair its store.

Caddy repairs a damaged store in the same way when it opens it. Use this command
for a backup, or for a file that Caddy refuses to open.

API keys that can't be read are listed as damaged: requests with them get status
503 until you delete them or restore a backup. The exit status is 4 if any records
were lost.`,
		Example: `  $ caddy api-token repair /var/lib/caddy/tokens.db`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask for confirmation") },
	run:   (*invocation).repair,
}

func (i *invocation) repair() error {
	if len(i.args) != 1 {
		return usageErrorf("pass the file to repair")
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
		i.message("%s is not damaged; nothing was changed.", name)
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
		i.message("Found: %s", printable(fault))
	}
	i.message("Rebuilt %s; %d records were lost. The damaged file is kept as %s.", name, len(lost), done.Kept)
	if len(lost) > 0 {
		return exitError(exitRefused)
	}
	return nil
}

var compactVerb = verb{
	command: cobra.Command{
		Use:   "compact",
		Short: "Frees disk space that deleted records still occupy",
		Long: `
Rebuilds the key store's file, so that neither the file nor its backups contain
unused space. Caddy continues to serve requests, but changes to keys have to wait,
for up to half a minute if there are a million keys. The disk must have enough
space for a second copy of the file.`,
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
	i.message("Compacted the key store from %s to %s.", humanize.IBytes(uint64(compacted.Before)),
		humanize.IBytes(uint64(compacted.After)))
	return nil
}
