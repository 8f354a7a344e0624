package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ext4Disk is a file system in a file. A file system can't be remounted read-only while a file
// is open for writing, but ext4 becomes read-only after an error.
type ext4Disk struct {
	*fault
	image, dir string
}

// countingOnExt4 starts a Caddy whose store is on an ext4Disk. It skips the test unless run as
// root, because only root can mount a file system.
func countingOnExt4(f *fault) (c *caddy, disk *ext4Disk, tokens []*counted) {
	f.Helper()
	c = newCaddy(f.T, nil)
	disk = &ext4Disk{f, c.path("image"), c.path("disk")}
	for _, program := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			f.Skip(err)
		}
	}
	if os.Geteuid() != 0 {
		f.Skip("only root can mount a file system")
	}
	if err := os.Mkdir(disk.dir, 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(disk.image, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Truncate(disk.image, 64<<20); err != nil {
		f.Fatal(err)
	}
	disk.run("mkfs.ext4", "-q", disk.image)
	if out, err := disk.mount(); err != nil {
		f.Skipf("no loop devices: %v: %s", err, out)
	}
	f.Cleanup(func() {
		c.stop()
		_ = syscall.Unmount(disk.dir, 0)
	})
	c.env["STORE"] = filepath.Join(disk.dir, "tokens.db")
	c.start(countingSite)
	return c, disk, makeCounted(c)
}

func (d *ext4Disk) run(program string, args ...string) {
	d.Helper()
	if out, err := exec.CommandContext(d.Context(), program, args...).CombinedOutput(); err != nil {
		d.Fatalf("%s: %v: %s", program, err, out)
	}
}

func (d *ext4Disk) mount() ([]byte, error) {
	return exec.CommandContext(d.Context(), "mount", "-o", "loop,errors=remount-ro", d.image, d.dir).CombinedOutput()
}

func (d *ext4Disk) unmount() {
	d.Helper()
	if err := syscall.Unmount(d.dir, 0); err != nil {
		d.Fatal(err)
	}
}

func (d *ext4Disk) remount(flags uintptr) {
	d.Helper()
	if err := syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		d.Fatal(err)
	}
}

// fail triggers a file system error, which makes the file system read-only.
func (d *ext4Disk) fail() {
	d.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		d.Fatal(err)
	}
	before, _, _ := strings.Cut(string(mounts), " "+d.dir+" ")
	device := filepath.Base(before[strings.LastIndexByte(before, '\n')+1:])
	err = os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("1"), 0)
	if os.IsNotExist(err) {
		d.Skip(err)
	}
	if err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "x"), nil, 0o600); err == nil {
		d.Fatal("the file system is still writable")
	}
}

// faultReadOnly makes the store's file system read-only under a running Caddy. Caddy must keep
// serving requests, and refuse changes with an error that names the cause. Starting must fail
// with the same cause. Once the file system is writable again, everything that was saved
// before must still be there.
func faultReadOnly(f *fault) {
	c, disk, tokens := countingOnExt4(f)
	for range f.size(1, 10) {
		stop := useMeanwhile(c, tokens, f.random.Uint64())
		answeredMore(c, tokens, 1000)
		kept, revoked, changed := c.token("--scope", "test:allowed"), c.token("--scope", "test:allowed"),
			c.token("--scope", "test:allowed")
		c.call(http.MethodPost, "tokens/"+tokenID(revoked)+"/revoke", nil, http.StatusOK)
		stop()
		c.stop()
		c.start(countingSite)
		checkUsage(c, tokens) // all counts are saved

		stop = useMeanwhile(c, tokens, f.random.Uint64())
		unsaved := strings.Count(c.output.String(), logUnsaved)
		disk.fail()
		c.refusesChanges(changed, "read-only file system")
		// Changes that arrive together share one transaction, which needs more space than is
		// free in the file.
		inParallel(200, func(i int) {
			body := newTokenBody(fmt.Sprint("many ", i))
			metadata := make(map[string]string)
			for key := range 8 {
				metadata[fmt.Sprint(key)] = strings.Repeat("x", 1000)
			}
			body["metadata"] = metadata
			if status, _ := c.tryAdmin(c.admin(), http.MethodPost, "tokens",
				body); status != http.StatusServiceUnavailable {
				f.Errorf("one of many changes got status %d, want 503", status)
			}
		})
		if f.Failed() {
			return
		}
		answeredMore(c, tokens, 1000)
		c.waitForLog(logUnsaved, unsaved+1)
		c.wantStatus("a token", kept, http.StatusOK)
		c.wantStatus("a revoked token", revoked, http.StatusUnauthorized)
		stop()
		c.kill()
		disk.unmount()

		if out, err := disk.mount(); err != nil {
			f.Fatalf("%v: %s", err, out)
		}
		disk.remount(syscall.MS_RDONLY)
		c.refusesToStart(countingSite, c.env["STORE"], "read-only file system")
		disk.remount(0)
		c.start(countingSite)
		checkUsageAfterLoss(c, tokens)
		c.wantStatus("a token", kept, http.StatusOK)
		c.wantStatus("a revoked token", revoked, http.StatusUnauthorized)
		c.call(http.MethodPost, "tokens/"+tokenID(kept)+"/revoke", nil, http.StatusOK)
		c.wantStatus("a token revoked after the fault", kept, http.StatusUnauthorized)
		if f.Failed() {
			return
		}
	}
}

// immutable is the flag that "chattr +i" sets.
const immutable = 0x10

// setImmutable makes files immutable, or mutable again.
func (d *ext4Disk) setImmutable(set bool, names ...string) {
	d.Helper()
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			d.Fatal(err)
		}
		flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
		if err == nil {
			flags &^= immutable
			if set {
				flags |= immutable
			}
			err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
		}
		_ = file.Close()
		if err != nil {
			d.Fatalf("chattr %s: %v", name, err)
		}
	}
}

// faultImmutable makes the store's files immutable under a running Caddy, then writable again.
// In between, Caddy must keep serving requests and refuse changes with an error that names the
// cause. All counts must be exact.
func faultImmutable(f *fault) {
	c, disk, tokens := countingOnExt4(f)
	files := []string{c.env["STORE"], filepath.Join(disk.dir, usageFile), disk.dir}
	f.Cleanup(func() { disk.setImmutable(false, disk.dir) })
	stop := useMeanwhile(c, tokens, f.random.Uint64())
	for range f.size(1, 20) {
		answeredMore(c, tokens, 1000)
		kept, changed := c.token("--scope", "test:allowed"), c.token("--scope", "test:allowed")
		unsaved := strings.Count(c.output.String(), logUnsaved)
		disk.setImmutable(true, files...)
		c.refusesChanges(changed, "operation not permitted")
		answeredMore(c, tokens, 1000)
		c.waitForLog(logUnsaved, unsaved+1)
		c.wantStatus("a token", kept, http.StatusOK)
		disk.setImmutable(false, files...)
		c.revokes(kept)
		c.waitForLog(logSaved, unsaved+1)
		if f.Failed() {
			break
		}
	}
	stop()
	recovers(c, tokens)
	last := checkUsage(c, tokens)
	f.Logf("%d requests sent, %d answered, %d counted", last.sent, last.answered, last.counted)
}
