package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// lockTimeout is how long to wait for the file's lock. It is long enough for another part of
// this process to finish closing the store.
const lockTimeout = 3 * time.Second

// handle is a verified file that bbolt has open.
type handle struct {
	db *bbolt.DB
	// file is the file that bbolt uses, fd is its descriptor, and identity is the file's
	// FileInfo from the time it was opened.
	file     *os.File
	fd       uintptr
	identity fs.FileInfo
	// size is how many bytes of the file are in use.
	size atomic.Int64
	// transaction is the number of the last committed transaction.
	transaction atomic.Uint64
	// stuck is set once bbolt can no longer release one of its own locks.
	stuck atomic.Bool
	// replaced is the error for a file whose content was replaced while in use.
	replaced atomic.Pointer[error]
	// repairs is set once a reader has found damage and started a repair.
	repairs atomic.Bool
	// uncertain is set when a transaction newer than meta may have reached the file but not
	// the disk.
	uncertain atomic.Bool

	// meta is the last commit's meta page. repaired is set once a writer has found damage and
	// started a repair. Both are guarded by Backend.writing.
	meta     boltfile.Meta
	repaired bool
}

// newHandle opens a locked and verified file with bbolt. If it fails, it closes the file.
func newHandle(file *os.File) (_ *handle, err error) {
	h := &handle{file: file, fd: file.Fd()}
	defer func() {
		if r := recover(); r != nil {
			err = damage(r)
		}
		if err != nil {
			_ = h.abandon() // bbolt has closed the file unless it panicked
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if h.identity, err = file.Stat(); err != nil {
		return nil, err
	}
	options := boltOptions()
	options.InitialMmapSize = mmapSize(h.identity.Size())
	options.OpenFile = func(string, int, fs.FileMode) (*os.File, error) { return file, nil }
	h.db, err = bbolt.Open(file.Name(), fileMode, options)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &LockedError{Path: file.Name(), PID: lockHolder(file.Name())}
	case err != nil:
		return nil, err
	}
	return h, h.readMeta()
}

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true, // statistics take a lock on every lookup
	}
}

// When a file is full, it doubles in size, within these limits. bbolt does the same if its
// mapping isn't larger than the file.
const (
	minAlloc = 256 << 10
	maxAlloc = 16 << 20
)

// mmapSize returns how many bytes of address space to map for a file. The size is generous
// because remapping waits for all readers and blocks new ones (bbolt#498), while address space
// costs no memory. On Windows, mapping would extend the file to that size, so mmapSize returns
// 0.
func mmapSize(size int64) int {
	const gib = 1 << 30
	if strconv.IntSize < 64 || runtime.GOOS == "windows" {
		return 0
	}
	return int((size/gib + 5) * gib)
}

// readMeta reads the last commit's meta page and updates the fields that depend on it.
func (h *handle) readMeta() error {
	size, err := fileSize(h.file, h.fd)
	if err != nil {
		return err
	}
	if h.meta, err = boltfile.ReadMeta(h.file, size); err != nil {
		return fileError(err)
	}
	h.size.Store(h.meta.Size())
	h.db.AllocSize = int(min(max(h.meta.Size(), minAlloc), maxAlloc))
	h.transaction.Store(h.meta.Transaction())
	return nil
}

// lockPath opens and locks the file at path. It waits while another process holds the lock. If
// that process replaces the file in the meantime, lockPath opens the new file.
func (f format) lockPath(path string) (*os.File, error) {
	for {
		file, err := f.open(path)
		if err != nil {
			return nil, err
		}
		if err := lockFile(file); err != nil {
			return nil, errors.Join(&LockedError{Path: path, PID: lockHolder(path)}, file.Close())
		}
		if isAt(file, path) {
			return file, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// isAt reports whether the open file is the one at path.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(open, now)
}

// LockedError is returned for a file that another process has open.
type LockedError struct {
	Path string
	// PID is the ID of the process that holds the lock, or 0 if unknown.
	PID int
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("token store %s is in use by %s, usually another running Caddy: "+
		"change its configuration with `caddy reload`, stop it, or give this Caddy its own store file",
		e.Path, holder)
}

// close waits for transactions in progress and unlocks the file.
func (h *handle) close() error {
	if h.stuck.Load() || h.replaced.Load() != nil {
		return h.abandon() // bbolt would wait for its own lock
	}
	return h.db.Close()
}

// abandon unlocks and closes the file without using bbolt. The file stays mapped.
func (h *handle) abandon() error { return errors.Join(unlock(h.file), h.file.Close()) }
