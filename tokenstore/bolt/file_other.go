//go:build !unix

package bolt

import (
	"io/fs"
	"os"
)

// writableDir leaves the question to the making of the file.
func writableDir(string) error { return nil }

// syncDir leaves it to the system: a directory can't be synced there.
func syncDir(string) error { return nil }

// fileSize returns the size of the open file.
func fileSize(file *os.File, _ uintptr) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyOwner leaves it to the directory, which gives its files their access rights.
func copyOwner(fs.FileInfo, *os.File) error { return nil }

// diskFree returns -1: it is unknown.
func diskFree(string) int64 { return -1 }
