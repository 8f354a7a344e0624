package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fillDisk fills a file system with a file and returns a function that removes it.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filling")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 16; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	_ = file.Close()
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// smallDisk mounts a small in-memory file system. It skips the test unless run as root,
// because only root can mount a file system.
func smallDisk(t *testing.T, c *caddy, size string) string {
	t.Helper()
	dir := c.path("disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); errors.Is(err, syscall.EPERM) ||
		errors.Is(err, syscall.EACCES) {
		t.Skip("only root can mount a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// countingOnDisk starts a Caddy whose store is on a disk of its own.
func countingOnDisk(t *testing.T) (c *caddy, disk string, tokens []*counted) {
	t.Helper()
	c = newCaddy(t, nil)
	disk = smallDisk(t, c, "16m")
	c.env["STORE"] = filepath.Join(disk, "tokens.db")
	c.start(countingSite)
	return c, disk, makeCounted(c)
}

// TestUsageOnAFullDisk verifies that on a full disk, the gate continues to serve, logs that it
// can't save counts, and saves them once there is space. A kill may lose counts only if
// healthz warned of the risk.
func TestUsageOnAFullDisk(t *testing.T) {
	t.Parallel()
	c, disk, tokens := countingOnDisk(t)
	count := func() {
		t.Helper()
		countFor(c, tokens, 500*time.Millisecond)
	}
	count()
	free := fillDisk(t, disk)
	// Use up the free space in the store's file, and make the records longer.
	for {
		if _, _, code := c.run("api-token", "create", "--name", strings.Repeat("x", 100), "--scope", "test:allowed",
			"--expires-in", "1d"); code != 0 {
			break
		}
	}
	for _, n := range tokens {
		n.agent = strings.Repeat("agent", 50)
	}
	for round := range 2 {
		count()
		c.waitForLog(logUnsaved, round+1)
		count()
		if round == 0 {
			warning := c.healthWarning()
			c.kill()
			c.start(countingSite)
			if warning == "" {
				checkUsage(c, tokens)
			} else {
				checkUsageAfterLoss(c, tokens)
			}
		}
	}
	// A change must fail with an error, while requests succeed. A flush needs more pages than a
	// change, so a few changes may still succeed.
	for made := 0; ; made++ {
		_, stderr, code := c.run("api-token", "create", "--name", strings.Repeat("x", 100), "--scope", "test:allowed",
			"--expires-in", "1d")
		if code == 0 && made < 1000 {
			continue
		}
		if code != 6 || !strings.Contains(stderr, "store") {
			t.Errorf("after %d changes: got exit code %d: %s", made, code, stderr)
		}
		break
	}
	c.waitForLog(logAtRisk, 1) // the second start had no space for the journal
	free()
	c.waitForLog(logSaved, 1)
	c.waitForLog(logSafe, 1)
	count()
	c.kill()
	c.start(countingSite)
	last := checkUsage(c, tokens)
	t.Logf("%d requests sent, %d answered, %d counted", last.sent, last.answered, last.counted)
	c.stop()
	if _, stderr, code := c.run("api-token", "check", c.env["STORE"]); code != 0 {
		t.Errorf("got exit code %d: %s", code, stderr)
	}
}

// TestUsageStartsOnAFullDisk verifies that Caddy starts even if there is no space for the
// journal. It must log a warning, count requests, and create the journal once there is space.
func TestUsageStartsOnAFullDisk(t *testing.T) {
	t.Parallel()
	c, disk, tokens := countingOnDisk(t)
	countFor(c, tokens, 200*time.Millisecond)
	c.stop()
	if err := os.Remove(filepath.Join(disk, usageFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	free := fillDisk(t, disk)
	c.start(countingSite)
	checkUsage(c, tokens)
	countFor(c, tokens, 500*time.Millisecond)
	c.waitForLog(logAtRisk, 1)
	if c.healthWarning() == "" {
		t.Error("healthz doesn't warn")
	}
	countFor(c, tokens, 500*time.Millisecond)
	free()
	c.waitForLog(logSafe, 1)
	c.eventually("healthz shows no warning", func() bool { return c.healthWarning() == "" })
	countFor(c, tokens, 200*time.Millisecond)
	c.kill()
	c.start(countingSite)
	checkUsage(c, tokens)
}
