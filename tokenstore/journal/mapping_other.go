//go:build !unix || solaris || aix

package journal

import "os"

// mapFile returns nil, which makes the journal write entries with WriteAt.
func mapFile(*os.File, int) ([]byte, error) { return nil, nil }

func unmap([]byte) error { return nil }
