package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/caddymodule"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

var backupVerb = verb{
	command: cobra.Command{
		Use:   "backup <file|->",
		Short: "Backs up the key store of a running Caddy",
		Long: `
Writes a consistent copy of all API keys, their usage and the audit log to a new
file that only its owner can read. Caddy continues to serve requests. The copy
contains no secrets, but it shows who may do what.

Verify it with check. Replace a lost store with restore.`,
		Example: `  $ caddy api-token backup tokens-$(date +%F).db
  $ caddy api-token backup - | age -r … > tokens.db.age`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("force", false, "Overwrite an existing file") },
	run:   (*invocation).backup,
}

func (i *invocation) backup() error {
	if len(i.args) != 1 {
		return usageErrorf("pass the file to write, or - for standard output")
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
		return usageErrorf("%s already exists; choose another file, or overwrite it with --force", name)
	}
	length, err := i.backupTo(api, name)
	if err != nil {
		return err
	}
	i.message("Wrote %s (%s).", name, humanize.IBytes(uint64(length)))
	return nil
}

// backupTo writes a backup to a temporary file, syncs the file to disk and then renames it.
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
	defer func() { _ = backup.Close() }() // opened for reading only
	if backup.Damaged > 0 {
		i.message("The backup doesn't include %d damaged keys; list them with `%s`.",
			backup.Damaged, i.call("list --status damaged"))
	}
	if backup.Unsaved > 0 {
		i.message("The backup doesn't include the recent usage of %d keys, because the store can't be written; "+
			"repeat the backup when it can.", backup.Unsaved)
	}
	n, err := io.Copy(to, backup)
	if err == nil && backup.Length >= 0 && n != backup.Length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("the backup ended after %d bytes and is unusable: %w", n, err)
	}
	return n, nil
}

var checkVerb = verb{
	command: cobra.Command{
		Use:   "check [<file>]",
		Short: "Checks a key store for damage",
		Long: `
Reads every record in a store's file, such as a backup, and checks that the
indexes agree with the records. Without a file, it takes a backup from the running
Caddy and checks that.

The exit status is 4 if anything is damaged.`,
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
		return usageErrorf("%s is in use by a running Caddy; to check that Caddy's store, omit the file", name)
	}
	if err != nil {
		return usageErrorf("%v", err)
	}
	for _, id := range report.Damaged {
		report.Problems = append(report.Problems,
			fmt.Sprintf("key %s is damaged and can't be read; delete it, or restore a backup", id))
	}
	if err := i.printLines(report.Problems); err != nil {
		return err
	}
	if report.More > 0 {
		i.message("and %d more", report.More)
	}
	i.message("%s keys, %s audit entries, %s problems", count(uint64(report.Tokens)),
		count(uint64(report.AuditEntries)), count(uint64(len(report.Problems)+report.More)))
	if len(report.Problems) > 0 {
		return exitError(exitRefused)
	}
	return nil
}

// printLines prints arbitrary strings, one per line.
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
		Short: "Restores the key store from a backup",
		Long: `
Checks a backup and replaces the key store with a copy of it. Stop Caddy first.
The previous store is kept next to the new one.

If several gates share the key store, add --shared. The command then sends the
backup to a running Caddy, and all gates switch to it at the same time. Don't stop
any of them.

This undoes all changes since the backup: keys revoked since then work again, and
newer keys are unknown.`,
		Example: `  $ systemctl stop caddy
  $ install -m 0600 -o caddy -g caddy tokens-2026-11-25.db /var/lib/caddy/restore.db
  $ sudo -u caddy caddy api-token restore /var/lib/caddy/restore.db --store /var/lib/caddy/tokens.db
  $ systemctl start caddy

  $ caddy api-token restore tokens-2026-11-25.db --shared`,
	},
	flags: func(flags *pflag.FlagSet) {
		flags.Bool("shared", false, "Restore the store that a running Caddy shares with other gates")
		flags.String("store", "", "File of the key store (default: mollygate/tokens.db in Caddy's data directory)")
		flags.Bool("yes", false, "Don't ask for confirmation")
	},
	run: (*invocation).restore,
}

func (i *invocation) restore() error {
	if len(i.args) != 1 {
		return usageErrorf("pass the backup to restore")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	store := i.flags.String("store")
	if i.flags.Bool("shared") {
		if store != "" {
			return usageErrorf("give either --store or --shared; a shared store isn't a file")
		}
		return i.restoreShared(i.args[0])
	}
	if store == "" {
		store = caddymodule.DefaultStorePath()
	}
	if err := i.ask(fmt.Sprintf("Replace %[2]s with %[1]s? This undoes all changes since the backup.",
		printable(i.args[0]), printable(store))); err != nil {
		return err
	}
	kept, err := bolt.Restore(i.args[0], store, i.now())
	if err != nil {
		return usageErrorf("%v", err)
	}
	i.message("Restored %s.", store)
	if kept != "" {
		i.message("The previous store is kept as %s.", kept)
	}
	return nil
}

// restoreShared sends a backup to a running Caddy.
func (i *invocation) restoreShared(name string) (err error) {
	backup, err := os.Open(name)
	if err != nil {
		return usageErrorf("%v", err)
	}
	defer func() { _ = backup.Close() }() // opened for reading only
	api, err := i.patientClient()
	if err != nil {
		return err
	}
	if err := i.ask(fmt.Sprintf("Restore %s at all gates that share the key store? They switch to it at the same "+
		"time. This undoes all changes since the backup: keys revoked since then work again, and newer keys are "+
		"unknown.", printable(name))); err != nil {
		return err
	}
	restored, err := api.Restore(i.ctx, backup)
	if err != nil {
		return api.explain(err)
	}
	i.message("Restored %s keys and %s audit entries. All gates are switching to them.",
		count(uint64(restored.Tokens)), count(uint64(restored.AuditEntries)))
	return nil
}

var clusterVerb = verb{
	command: cobra.Command{
		Use:   "cluster accept",
		Short: "Accepts a shared key store that has lost changes",
		Long: `
If the store that several gates share is restored from an older copy, it lacks
changes that the gates know, such as revocations. The gates then keep serving
their own copies of the keys, and nothing can be changed. This command makes all
gates follow the shared store as it is.

Keys that were revoked, disabled or deleted since the older copy was made may work
again, and newer keys are unknown. If you can, put back the newer store instead,
or restore a backup with 'caddy api-token restore <backup> --shared'.

The audit log records this command.`,
		ValidArgs: []string{"accept"},
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask for confirmation") },
	run:   (*invocation).cluster,
}

func (i *invocation) cluster() error {
	if len(i.args) != 1 || i.args[0] != "accept" {
		return usageErrorf("cluster takes one argument, accept")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	api, err := i.patientClient()
	if err != nil {
		return err
	}
	if err := i.ask("Make all gates follow the shared key store as it is? Keys that were revoked, disabled or " +
		"deleted since it was copied may work again, and newer keys are unknown."); err != nil {
		return err
	}
	if err := api.AcceptShared(i.ctx); err != nil {
		return api.explain(err)
	}
	i.message("Accepted the shared key store. All gates are reading it. To see which keys are valid now: %s",
		i.call("list --status active"))
	return nil
}

var clockVerb = verb{
	command: cobra.Command{
		Use:   "clock accept",
		Short: "Accepts the server's current clock after it wrongly ran ahead",
		Long: `
The key store's time never moves backward: if the clock is behind the latest
recorded time, the store uses the recorded time, so that expired keys stay
expired. If the clock wrongly ran ahead, keys seem to have expired until real time
catches up. This command makes the store accept the current clock instead.

If the clock is more than a day ahead of the elapsed time, by mistake or because
the server was off, Caddy stops deleting old audit entries and usage until you
accept the clock with this command.

The audit log records this command.`,
	},
	flags: func(flags *pflag.FlagSet) { flags.Bool("yes", false, "Don't ask for confirmation") },
	run:   (*invocation).clock,
}

func (i *invocation) clock() error {
	if len(i.args) != 1 || i.args[0] != "accept" {
		return usageErrorf("clock takes one argument, accept")
	}
	if err := i.canConfirm(); err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	if err := i.ask("Accept the server's current clock? Keys that expired under a later recorded time may become " +
		"valid again, and the new time determines which old audit entries and usage are deleted."); err != nil {
		return err
	}
	clock, err := api.AcceptClock(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	if !clock.Changed {
		i.message("No change was needed: the clock agrees with the recorded time.")
		return nil
	}
	i.message("Accepted %s as the current time; it was %s.", rfc3339(clock.To),
		rfc3339(clock.From))
	return nil
}
