//go:build !linux

package bolt

import "os"

// unlock leaves it to the closing of the file.
func unlock(*os.File) error { return nil }

// lockHolder returns 0: only Linux lists who holds a lock.
func lockHolder(string) int { return 0 }

// lockFile leaves it to bbolt.
func lockFile(*os.File) error { return nil }
