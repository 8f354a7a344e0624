//go:build unix

package bolt

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFIFO verifies that a FIFO is refused, because opening one would wait for a writer.
func TestFIFO(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, unix.Mkfifo(path, 0o600))
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open of a FIFO: got err %v, want an error saying that it isn't a regular file", err)
	}
	if err := Inspect("/dev/null"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Inspect of a device: got err %v, want an error saying that it isn't a regular file", err)
	}
}
