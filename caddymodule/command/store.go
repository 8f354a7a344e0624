package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

var backupVerb = verb{
	command: cobra.Command{
		Use:   "backup <file|->",
		Short: "Writes a copy of the token store, which goes on serving",
		Long: `
Takes a consistent copy of all tokens with their usage and the audit while Caddy
serves, and writes it to a new file that only its owner can read. It holds no
secret that could be presented, but who may do what.

Check it with check, and put it in place of a lost store with restore.`,
		Example: `  $ caddy api-token backup tokens-$(date +%F).db
  $ caddy api-token backup - | age -r … > tokens.db.age`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("force", false, "Replace a file that is there") },
	run:   (*invocation).backup,
}

func (i *invocation) backup() error {
	if len(i.args) != 1 {
		return usageErrorf("name the file to write, or - for standard output")
	}
	name := i.args[0]
	api, err := i.client()
	if err != nil {
		return err
	}
	if name == "-" {
		_, err := i.download(api, i.out)
		return err
	}
	if _, err := os.Lstat(name); err == nil && !i.flags.Bool("force") {
		return usageErrorf("%s is there already; name another file, or replace it with --force", name)
	}
	length, err := i.backupTo(api, name)
	if err != nil {
		return err
	}
	i.tell("Wrote %s, %d bytes.", name, length)
	return nil
}

// backupTo writes a backup that appears under its name only when it is whole and
// on disk.
func (i *invocation) backupTo(api *endpointClient, name string) (length int64, err error) {
	draft, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-*") // with mode 0600
	if err != nil {
		return 0, usageErrorf("%v", err)
	}
	defer func() { _ = os.Remove(draft.Name()) }()
	length, err = i.download(api, draft)
	if err := errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return 0, err
	}
	return length, os.Rename(draft.Name(), name)
}

func (i *invocation) download(api *endpointClient, to io.Writer) (int64, error) {
	backup, err := api.Backup(i.ctx)
	if err != nil {
		return 0, api.explain(err)
	}
	defer func() { _ = backup.Close() }() // it was only read
	if backup.Damaged > 0 {
		i.tell("The backup lacks %d tokens that can't be read; caddy api-token list --status damaged lists them.",
			backup.Damaged)
	}
	if backup.Unsaved > 0 {
		i.tell(
			"The backup lacks the last counts of %d tokens, which can't be saved; caddy api-token backup again when the store can be written.", backup.Unsaved)
	}
	n, err := io.Copy(to, backup)
	if err == nil && backup.Length >= 0 && n != backup.Length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %d bytes and is of no use: %w", n, err)
	}
	return n, nil
}

var checkVerb = verb{
	command: cobra.Command{
		Use:   "check [<file>]",
		Short: "Reads a whole token store and says whether it is sound",
		Long: `
Reads every record of a store's file, such as a backup, and whether all that leads
to the records agrees with them. Without a file it takes a backup from the running
Caddy and checks that.

Exit status is 4 if something is damaged.`,
		Example: `  $ caddy api-token check
  $ caddy api-token check tokens-2026-11-25.db`,
	},
	flags: func(*pflag.FlagSet) {},
	run:   (*invocation).check,
}

func (i *invocation) check() error {
	if len(i.args) > 1 {
		return usageErrorf("check takes one file")
	}
	if len(i.args) == 1 {
		return i.checkFile(i.args[0])
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mollygate-check-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	name := filepath.Join(dir, "tokens.db")
	if _, err := i.backupTo(api, name); err != nil {
		return err
	}
	return i.checkFile(name)
}

func (i *invocation) checkFile(name string) error {
	report, err := bolt.Check(name)
	if _, locked := errors.AsType[*bolt.LockedError](err); locked {
		return usageErrorf("%s is in use by a running Caddy; check without a file asks that Caddy", name)
	}
	if err != nil {
		return usageErrorf("%v", err)
	}
	for _, id := range report.Damaged {
		report.Problems = append(report.Problems,
			fmt.Sprintf("token %s was lost to damage; delete it, or restore a backup", id))
	}
	if err := i.printLines(report.Problems); err != nil {
		return err
	}
	if report.More > 0 {
		i.tell("and %d more", report.More)
	}
	i.tell("%d tokens, %d audit entries, %d problems", report.Tokens, report.AuditEntries,
		len(report.Problems)+report.More)
	if len(report.Problems) > 0 {
		return exitError(exitRefused)
	}
	return nil
}

// printLines prints texts that may hold anything, a line each.
func (i *invocation) printLines(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(i.out, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

var restoreVerb = verb{
	command: cobra.Command{
		Use:   "restore <backup>",
		Short: "Puts a backup in the place of a stopped Caddy's token store",
		Long: `
Checks a backup and puts a copy of it in the place of the token store. Caddy must
be stopped. The store that was there is kept beside the new one.

What was changed after the backup is undone: tokens that were revoked since work
again, and newer ones are unknown.`,
		Example: `  $ systemctl stop caddy
  $ install -m 0600 -o caddy -g caddy tokens-2026-11-25.db /var/lib/caddy/restore.db
  $ sudo -u caddy caddy api-token restore /var/lib/caddy/restore.db --store /var/lib/caddy/tokens.db
  $ systemctl start caddy`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.String("store", "", "File of the token store (default: mollygate/tokens.db in Caddy's data directory)")
		flags.Bool("yes", false, "Don't ask")
	},
	run: (*invocation).restore,
}

func (i *invocation) restore() error {
	if len(i.args) != 1 {
		return usageErrorf("name the backup to restore")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	store := i.flags.String("store")
	if store == "" {
		store = caddymodule.DefaultStorePath()
	}
	if err := i.ask(fmt.Sprintf("Put %s in the place of %s? What was changed since is undone.", printable(i.args[0]),
		printable(store))); err != nil {
		return err
	}
	kept, err := bolt.Restore(i.args[0], store, i.now())
	if err != nil {
		return usageErrorf("%v", err)
	}
	i.tell("Restored %s.", store)
	if kept != "" {
		i.tell("The store that was there is kept as %s.", kept)
	}
	return nil
}

var clockVerb = verb{
	command: cobra.Command{
		Use:   "clock accept",
		Short: "Takes the server's clock for right after it wrongly ran ahead",
		Long: `
The newest time that a store has recorded counts, so that a clock that falls back
brings no token back to life. If the clock once ran ahead by mistake, tokens seem
to have expired until it has caught up: this takes the present clock for right.

A clock that is more than a day ahead of the time that has passed, by mistake or
because the server was off, stops the deletion of old audit entries and usage until
it is accepted here.

The command is written into the audit.`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask") },
	run:   (*invocation).clock,
}

func (i *invocation) clock() error {
	if len(i.args) != 1 || i.args[0] != "accept" {
		return usageErrorf("clock takes the word accept")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if err := i.ask(
		"Take the server's clock for right? Tokens that had expired by a later recorded time may be valid again, and old audit entries and usage are deleted by it."); err != nil {
		return err
	}
	clock, err := api.AcceptClock(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	if !clock.Changed {
		i.tell("Nothing had to change: the clock agrees with the time that the store has recorded.")
		return nil
	}
	i.tell("It is %s now; %s had counted.", clock.To.UTC().Format(time.RFC3339), clock.From.UTC().Format(time.RFC3339))
	return nil
}
