package e2e

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// killedWithJournal kills a Caddy process, which leaves behind a journal newer than a backup.
// It returns the Caddy, the tokens that clients used, and the backup.
func killedWithJournal(f *fault) (c *caddy, tokens []*counted, backup string) {
	f.Helper()
	c = newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens = makeCounted(c)[:10]
	backup = c.path("old.db")
	c.churnStore(backup, tokens)
	checkUsage(c, tokens)
	useFor(c, tokens, 200*time.Millisecond)
	c.kill()
	if _, err := os.Stat(c.path(usageFile)); err != nil {
		f.Fatal(err)
	}
	return c, tokens, backup
}

// mustRename renames a file.
func mustRename(f *fault, from, to string) {
	f.Helper()
	if err := os.Rename(from, to); err != nil {
		f.Fatal(err)
	}
}

// faultOlderFile replaces the store with an older file after a kill and leaves the newer
// journal in place. The older file would make revoked tokens active again, so Caddy must
// refuse to start and say what to do. With the newer file, Caddy must start with all counts.
// It must also start after a restore.
func faultOlderFile(f *fault) {
	c, tokens, backup := killedWithJournal(f)
	store := c.env["STORE"]
	mustRename(f, store, c.path("newest.db"))
	if err := copiesOver["cp"](backup, store); err != nil {
		f.Fatal(err)
	}
	c.refusesToStart(countingSite, store, usageFile, "restore")
	if f.Failed() {
		return
	}

	startWithNewest(f, c, tokens)
	startAfterRestore(f, c, backup)
}

// faultRemovedFile removes the store after a kill and leaves the journal in place. Caddy must
// not start with an empty store, and must say what to do. Once the file is back, Caddy must
// start with all counts. It must also start after a restore.
func faultRemovedFile(f *fault) {
	c, tokens, backup := killedWithJournal(f)
	store := c.env["STORE"]
	mustRename(f, store, c.path("newest.db"))
	c.refusesToStart(countingSite, store, usageFile, "restore")
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		f.Errorf("Caddy created a new store: %v", err)
	}
	if f.Failed() {
		return
	}

	startWithNewest(f, c, tokens)
	if err := os.Remove(store); err != nil {
		f.Fatal(err)
	}
	startAfterRestore(f, c, backup)
}

// startWithNewest puts the newest store back, checks that Caddy starts with all counts, and
// kills it again.
func startWithNewest(f *fault, c *caddy, tokens []*counted) {
	f.Helper()
	mustRename(f, c.path("newest.db"), c.env["STORE"])
	c.start(countingSite)
	checkUsage(c, tokens)
	useFor(c, tokens, 200*time.Millisecond)
	c.kill()
}

// startAfterRestore restores a backup and starts Caddy with the restored store.
func startAfterRestore(f *fault, c *caddy, backup string) {
	f.Helper()
	if out, err := c.command("api-token", "restore", backup, "--yes", "--store",
		c.env["STORE"]).CombinedOutput(); err != nil {
		f.Errorf("restoring: %v: %s", err, out)
	}
	c.start(countingSite)
}
