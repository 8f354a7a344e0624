//go:build unix

package bolt

import (
	"encoding/binary"
	"io/fs"
	"syscall"
)

func nativeUint64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func sameOwner(a, b fs.FileInfo) bool {
	x, y := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	return x.Uid == y.Uid && x.Gid == y.Gid
}
