package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs f with an unprivileged user's file access rights, even if root runs the tests.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		const nobody = 65534
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// TestPermission verifies that opening a file that can't be written fails with an error that
// says what to do.
func TestPermission(t *testing.T) {
	path := newPath(t)
	check(t, mustOpen(t, path).Close())
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()) && dir != os.TempDir(); dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o755))
	}
	check(t, os.Chmod(path, 0o400))
	asNobody(t, func() {
		for verb, err := range map[string]error{"Inspect": Inspect(path), "Open": openAndClose(path)} {
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), "grant read and write access to the user that Caddy runs as") {
				t.Errorf("%s: got err %v, want fs.ErrPermission and what to do", verb, err)
			}
		}
		if _, err := Restore(path, path+".new", testTime); !errors.Is(err, fs.ErrPermission) ||
			!strings.Contains(err.Error(), "the backup "+path) {
			t.Errorf("Restore: got err %v, want fs.ErrPermission", err)
		}
	})
}

func openAndClose(path string) error {
	b, err := Open(path)
	if err != nil {
		return err
	}
	return b.Close()
}
