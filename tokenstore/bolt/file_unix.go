//go:build unix

package bolt

import (
	"errors"
	"fmt"
	"os"

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
