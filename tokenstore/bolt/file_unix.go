//go:build unix

package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// writableDir returns an error if a file can't be created in dir.
func writableDir(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w: grant write access to the user that Caddy runs as", dir, err)
	}
	return nil
}

// fileSize returns the size of the open file fd without allocating memory.
func fileSize(_ *os.File, fd uintptr) (int64, error) {
	var stat unix.Stat_t
	err := unix.Fstat(int(fd), &stat)
	return stat.Size, err
}

// syncDir syncs a directory, so new file names in it survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyOwner sets a file's owner and group to those in info.
func copyOwner(info fs.FileInfo, to *os.File) error {
	now, err := to.Stat()
	if err != nil {
		return err
	}
	want, ok := info.Sys().(*syscall.Stat_t)
	have, ok2 := now.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	return to.Chown(int(want.Uid), int(want.Gid))
}

// diskFree returns the number of bytes that can be written to dir's file system, or -1 if
// unknown.
func diskFree(dir string) int64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return -1
	}
	return int64(stat.Bavail) * int64(stat.Bsize) //nolint:unconvert // the types differ between systems
}
