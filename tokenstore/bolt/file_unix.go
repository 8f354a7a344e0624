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

// writableDir says what hinders a file from being made in dir.
func writableDir(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w: give the user that Caddy runs as the right to write there", dir, err)
	}
	return nil
}

// fileSize returns the size of the open file with this number, without making
// garbage.
func fileSize(_ *os.File, fd uintptr) (int64, error) {
	var stat unix.Stat_t
	err := unix.Fstat(int(fd), &stat)
	return stat.Size, err
}

// syncDir puts on disk which files dir holds.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyOwner gives a file the owner that info tells.
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

// diskFree returns how many bytes can be written where dir is, or -1 if that is unknown.
func diskFree(dir string) int64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return -1
	}
	return int64(stat.Bavail) * int64(stat.Bsize) //nolint:unconvert // other types on other systems
}
