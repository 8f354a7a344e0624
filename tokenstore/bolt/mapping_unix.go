//go:build unix && !solaris && !aix

package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// canMap says that files can be mapped into memory here.
const canMap = true

func mapFile(file *os.File, offset int64, length int) ([]byte, error) {
	return unix.Mmap(int(file.Fd()), offset, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (m *mappings) unmap() {
	if parts := m.parts.Load(); parts != nil {
		for _, part := range *parts {
			_ = unix.Munmap(part) // there is nobody to tell
		}
	}
}
