package bolt

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// openFiles returns the /proc paths of this process's open descriptors for a file.
func openFiles(t *testing.T, path string) (found []string) {
	t.Helper()
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	check(t, err)
	for _, fd := range descriptors {
		if target, err := os.Readlink(fd); err == nil && target == path {
			found = append(found, fd)
		}
	}
	return found
}

func nativeUint64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func sameOwner(a, b fs.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Uid == y.Uid && x.Gid == y.Gid
}
