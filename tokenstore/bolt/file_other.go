//go:build !unix

package bolt

import (
	"io/fs"
	"os"
)

// writableDir returns nil, because creating the file shows whether the directory is writable.
func writableDir(string) error { return nil }

// syncDir does nothing: these systems can't sync a directory.
func syncDir(string) error { return nil }

// fileSize returns the size of the open file.
func fileSize(file *os.File, _ uintptr) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyOwner does nothing: files inherit their access rights from the directory.
func copyOwner(fs.FileInfo, *os.File) error { return nil }

// diskFree returns -1, because the free space is unknown.
func diskFree(string) int64 { return -1 }
