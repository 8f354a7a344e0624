package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// copiesOver are the ways in which programs overwrite one file with another.
var copiesOver = map[string]func(from, to string) error{
	"cp": func(from, to string) error { return exec.Command("cp", from, to).Run() },
	// This is what rsync --inplace and dd conv=notrunc do.
	"in place": func(from, to string) error {
		source, err := os.Open(from)
		if err != nil {
			return err
		}
		defer func() { _ = source.Close() }()
		target, err := os.OpenFile(to, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer func() { _ = target.Close() }()
		_, err = io.Copy(target, source)
		return err
	},
}

// churnStore creates and deletes many tokens to leave free pages in the store's file. Then it
// takes a backup and revokes tokens. It returns the revoked tokens and a valid one. Because of
// the free pages, the store hardly grows after the backup, so the backup can't be recognized
// by its size.
func (c *caddy) churnStore(backup string, tokens []*counted) (revoked []string, good string) {
	c.t.Helper()
	deleted := make([]string, 200)
	inParallel(len(deleted),
		func(i int) { deleted[i] = c.token("--name", strings.Repeat("x", 100), "--scope", "test:allowed") })
	inParallel(len(deleted),
		func(i int) { c.call(http.MethodDelete, "tokens/"+tokenID(deleted[i]), nil, http.StatusNoContent) })
	good = c.token("--scope", "test:allowed")
	for range 20 {
		revoked = append(revoked, c.token("--scope", "test:allowed"))
	}
	useFor(c, tokens, 300*time.Millisecond)
	if _, stderr, code := c.run("api-token", "backup", backup); code != 0 {
		c.t.Fatalf("got exit code %d: %s", code, stderr)
	}
	for _, token := range revoked {
		c.call(http.MethodPost, "tokens/"+tokenID(token)+"/revoke", nil, http.StatusOK)
		c.wantStatus("a revoked token", token, http.StatusUnauthorized)
	}
	useFor(c, tokens, 300*time.Millisecond)
	return revoked, good
}

// faultCopiedOver copies an old backup over a running Caddy's store. Caddy must never accept a
// token that was revoked after the backup, must refuse changes with an error that names the
// file, and must fail healthz. Once the backup is restored as described in operator.md, Caddy
// starts.
func faultCopiedOver(f *fault) {
	for range f.size(1, 10) {
		for name, copyOver := range copiesOver {
			f.Run(name, func(t *testing.T) { copyOverRunning(t, copyOver, false) })
			// After a restart, Caddy has no tokens in memory.
			f.Run(name+", after a restart", func(t *testing.T) { copyOverRunning(t, copyOver, true) })
		}
	}
}

func copyOverRunning(t *testing.T, copyOver func(from, to string) error, restarted bool) {
	c := newCaddy(t, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	tokens := makeCounted(c)[:10]
	backup := c.path("old.db")
	revoked, good := c.churnStore(backup, tokens)
	if restarted {
		c.stop()
		c.start(countingSite)
	}
	// Clients keep trying some of the revoked tokens.
	checked := make(chan struct{})
	var clients sync.WaitGroup
	for _, token := range revoked[:4] {
		clients.Go(func() {
			for {
				if c.statusOf(token, "/allowed") == http.StatusOK {
					t.Error("a revoked token got status 200")
					return
				}
				select {
				case <-checked:
					return
				default:
				}
			}
		})
	}
	changed := c.token("--scope", "test:allowed")
	if err := copyOver(backup, c.env["STORE"]); err != nil {
		t.Fatal(err)
	}
	c.refusesChanges(changed, c.env["STORE"])
	if status, text := c.tryAdmin(c.admin(), http.MethodGet, "healthz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("healthz returned status %d: %s", status, text)
	}
	alive := 0
	for _, token := range revoked {
		if c.statusOf(token, "/allowed") == http.StatusOK {
			alive++
		}
	}
	if alive > 0 {
		t.Errorf("%d of %d revoked tokens got status 200", alive, len(revoked))
	}
	if status := c.statusOf(good, "/allowed"); status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("a valid token got status %d", status)
	}
	close(checked)
	clients.Wait()
	c.kill()
	if out, err := c.command("api-token", "restore", backup, "--yes", "--store",
		c.env["STORE"]).CombinedOutput(); err != nil {
		t.Errorf("restoring: %v: %s", err, out)
	}
	c.start(countingSite)
	c.wantStatus("a token from the backup", good, http.StatusOK)
	c.call(http.MethodPost, "tokens/"+tokenID(good)+"/revoke", nil, http.StatusOK)
	c.wantStatus("a token revoked after the restore", good, http.StatusUnauthorized)
}
