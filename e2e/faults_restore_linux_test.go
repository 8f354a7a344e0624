package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// restoring is a restore process that was suspended while holding the store's lock.
type restoring struct {
	process *os.Process
	said    *output
	// succeeded receives the result after the process exits.
	succeeded chan bool
}

// holdRestore starts restoring a backup and suspends the process while it holds the lock. If
// the restore finishes too early, holdRestore starts another one.
func holdRestore(c *caddy, backup string) restoring {
	c.t.Helper()
	for range 20 {
		kept, _ := filepath.Glob(c.env["STORE"] + ".replaced-*")
		for _, name := range kept { // two files kept within the same second would have the same name
			_ = os.Remove(name)
		}
		cmd := c.command("api-token", "restore", backup, "--yes", "--store", c.env["STORE"])
		r := restoring{said: new(output), succeeded: make(chan bool, 1)}
		cmd.Stdout, cmd.Stderr = r.said, r.said
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		r.process = cmd.Process
		go func() { r.succeeded <- cmd.Wait() == nil }()
		for r.process.Signal(syscall.Signal(0)) == nil {
			// The process creates its first file once it holds the lock.
			if drafts, _ := filepath.Glob(c.env["STORE"] + ".new-*"); len(drafts) == 0 {
				continue
			}
			if r.process.Signal(syscall.SIGSTOP) == nil {
				return r
			}
		}
		if !<-r.succeeded {
			c.t.Fatalf("restoring: %s", r.said)
		}
	}
	c.t.Fatal("couldn't suspend any restore in time")
	return restoring{}
}

// faultRestore restores a backup while Caddy serves and while it starts. If Caddy holds the
// store, the restore must fail and say what to do. If the restore holds the store, Caddy must
// either exit with an error or wait and then serve the restored store, never the replaced one.
func faultRestore(f *fault) {
	c := newCaddy(f.T, nil)
	c.env["STORE"] = c.path("tokens.db")
	c.start(countingSite)
	old := c.token("--scope", "test:allowed")
	backup := c.path("old.db")
	if _, stderr, code := c.run("api-token", "backup", backup); code != 0 {
		f.Fatalf("got exit code %d: %s", code, stderr)
	}
	newer := c.token("--scope", "test:allowed")
	restore := []string{"api-token", "restore", backup, "--yes", "--store", c.env["STORE"]}

	out, err := c.command(restore...).CombinedOutput()
	for _, want := range []string{c.env["STORE"], fmt.Sprint("in use by process ", c.cmd.Process.Pid), "stop it"} {
		if err == nil || !strings.Contains(string(out), want) {
			f.Errorf("while Caddy serves, restore's error lacks %q: %v: %s", want, err, out)
		}
	}
	c.wantStatus("a newer token", newer, http.StatusOK)

	for round := range f.size(3, 20) {
		if c.cmd == nil {
			c.start(countingSite)
		}
		newer := c.token("--scope", "test:allowed")
		c.stop()
		r := holdRestore(c, backup)
		mark := c.logMark()
		c.launch(countingSite)
		if round%3 == 0 {
			c.eventually("Caddy exits", c.ended)
		} else {
			c.eventually("Caddy waits for the store",
				func() bool { return c.ended() || c.timesOpen(c.env["STORE"]) > 0 })
		}
		if err := r.process.Signal(syscall.SIGCONT); err != nil {
			f.Fatal(err)
		}
		succeeded := <-r.succeeded
		c.eventually("Caddy exits or serves", func() bool { return c.ended() || c.serves() })
		serves := !c.ended()
		f.Logf("round %d: the restore succeeded: %v; Caddy serves: %v", round, succeeded, serves)
		if !succeeded && (!strings.Contains(r.said.String(), c.env["STORE"]) ||
			!strings.Contains(r.said.String(), "in use")) {
			f.Errorf("restore failed without saying why: %s", r.said)
		}
		if !serves {
			c.cmd = nil
			for _, want := range []string{c.env["STORE"], "in use", "stop it"} {
				if logged := c.logSince(mark); !strings.Contains(logged, want) {
					f.Errorf("Caddy's error lacks %q:\n%s", want, logged)
				}
			}
			c.start(countingSite)
		}
		want := http.StatusOK
		if succeeded {
			want = http.StatusUnauthorized
		}
		c.wantStatus("a token newer than the backup", newer, want)
		c.wantStatus("a token from the backup", old, http.StatusOK)
		made := c.token("--scope", "test:allowed")
		c.stop()
		c.start(countingSite)
		c.wantStatus("a token created after the restore", made, http.StatusOK)
		if f.Failed() {
			return
		}
	}
}
