//go:build !unix

package bolt

import "os"

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
