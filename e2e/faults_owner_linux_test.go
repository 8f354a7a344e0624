package e2e

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// chown changes the owner of a file, or of a directory and everything in it.
func (c *caddy) chown(path string, user int) {
	c.t.Helper()
	err := filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Chown(name, user, user)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// faultOwner changes the store's owner to a user other than the one Caddy runs as, both before
// Caddy starts and while it runs. Starting must fail with an error that says what to do. A
// running Caddy must continue to serve, refuse changes while it can't access the file, and
// lose no counts. TestJournalOfAnotherUser does the same with the journal.
func faultOwner(f *fault) {
	if os.Geteuid() != 0 {
		f.Skip("only root can run Caddy as another user")
	}
	c := newCaddy(f.T, nil)
	dir := c.path("store")
	store := filepath.Join(dir, "tokens.db")
	c.env["STORE"] = store
	c.start(countingSite)
	tokens := makeCounted(c)[:20]
	kept := c.token("--scope", "test:allowed")
	c.stop()

	if err := os.Chmod(filepath.Dir(binary), 0o711); err != nil {
		f.Fatal(err)
	}
	c.attributes = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	c.chown(c.dir, nobody)
	c.chown(dir, 0)
	c.refusesToStart(countingSite, store, "permission denied", "the user that Caddy runs as")
	if err := os.Chown(dir, nobody, nobody); err != nil {
		f.Fatal(err)
	}
	c.refusesToStart(countingSite, store, "permission denied", "the user that Caddy runs as")
	c.chown(dir, nobody)
	c.start(countingSite)
	c.wantStatus("a token", kept, http.StatusOK)

	stop := useMeanwhile(c, tokens, f.random.Uint64())
	for range f.size(2, 20) {
		answeredMore(c, tokens, 1000)
		kept, changed := c.token("--scope", "test:allowed"), c.token("--scope", "test:allowed")
		c.chown(dir, 0)
		c.refusesChanges(changed, store)
		answeredMore(c, tokens, 1000)
		c.wantStatus("a token", kept, http.StatusOK)
		c.chown(dir, nobody)
		c.revokes(kept)
		if f.Failed() {
			break
		}
	}
	stop()
	recovers(c, tokens)
	checkUsage(c, tokens)
}
