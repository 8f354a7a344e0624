//go:build !linux

package bolt

import "os"

// unlock does nothing: closing the file releases the lock.
func unlock(*os.File) error { return nil }

// lockHolder returns 0: only Linux lists lock holders.
func lockHolder(string) int { return 0 }

// lockFile does nothing: bbolt locks the file.
func lockFile(*os.File) error { return nil }
