package e2e

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// killedWithJournal returns a Caddy that was killed and has left a journal that is newer
// than a backup, the tokens that were used, and the backup.
func killedWithJournal(f *fault) (c *caddy, tokens []*counted, backup string) {
	f.Helper()
	c = newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens = makeCounted(c)[:10]
	backup = c.path("old.db")
	c.livedIn(backup, tokens)
	holds(c, tokens)
	useFor(c, tokens, 200*time.Millisecond)
	c.kill()
	if _, err := os.Stat(c.path(usageFile)); err != nil {
		f.Fatal(err)
	}
	return c, tokens, backup
}

// aside moves a file away, or back.
func aside(f *fault, from, to string) {
	f.Helper()
	if err := os.Rename(from, to); err != nil {
		f.Fatal(err)
	}
}

// faultOlderFile puts an older file in the store's place after a kill and leaves the newer
// journal. With that, revoked tokens would be active, so Caddy doesn't start, and says what
// to do. It starts with the newer file and all counts, and after a restore.
func faultOlderFile(f *fault) {
	c, tokens, backup := killedWithJournal(f)
	store := c.env["STORE"]
	aside(f, store, c.path("newest.db"))
	if err := copiesOver["cp"](backup, store); err != nil {
		f.Fatal(err)
	}
	c.refusesToStart(countingSite, store, usageFile, "restore")
	if f.Failed() {
		return
	}

	newestIsBack(f, c, tokens)
	restores(f, c, backup)
}

// faultRemovedFile removes the store after a kill and leaves the journal. Caddy doesn't
// start with an empty store, and says what to do. It starts when the file is back, with all
// counts, and after a restore.
func faultRemovedFile(f *fault) {
	c, tokens, backup := killedWithJournal(f)
	store := c.env["STORE"]
	aside(f, store, c.path("newest.db"))
	c.refusesToStart(countingSite, store, usageFile, "restore")
	if _, err := os.Stat(store); !errors.Is(err, fs.ErrNotExist) {
		f.Errorf("there is a new store: %v", err)
	}
	if f.Failed() {
		return
	}

	newestIsBack(f, c, tokens)
	if err := os.Remove(store); err != nil {
		f.Fatal(err)
	}
	restores(f, c, backup)
}

// newestIsBack puts the newest store back in its place. Caddy starts with all counts, and is
// killed again.
func newestIsBack(f *fault, c *caddy, tokens []*counted) {
	f.Helper()
	aside(f, c.path("newest.db"), c.env["STORE"])
	c.start(countingSite)
	holds(c, tokens)
	useFor(c, tokens, 200*time.Millisecond)
	c.kill()
}

// restores restores a backup, with which Caddy starts.
func restores(f *fault, c *caddy, backup string) {
	f.Helper()
	if out, err := c.command("api-token", "restore", backup, "--yes", "--store",
		c.env["STORE"]).CombinedOutput(); err != nil {
		f.Errorf("restoring: %v: %s", err, out)
	}
	c.start(countingSite)
}
