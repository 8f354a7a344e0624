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

// lockTimeout is long enough for a store that this process is just closing.
const lockTimeout = 3 * time.Second

// handle is a verified file that bbolt has open.
type handle struct {
	db *bbolt.DB
	// file is the one that bbolt uses, fd its number, and identity what it was when it
	// was opened.
	file     *os.File
	fd       uintptr
	identity fs.FileInfo
	// size is how many bytes of the file are in use.
	size atomic.Int64
	// transaction is the newest that was committed.
	transaction atomic.Uint64
	// stuck is set when bbolt holds a lock of its own permanently.
	stuck atomic.Bool
	// replaced is set when the file turned out to have another content.
	replaced atomic.Pointer[error]
	// repairs is set when a reader's fault has begun a repair.
	repairs atomic.Bool
	// unsettled is set when a later transaction than meta may have reached the file but not
	// the disk.
	unsettled atomic.Bool

	// meta is the newest that was committed. repaired is set when a writer's fault has
	// begun a repair. They belong to the write transaction.
	meta     boltfile.Meta
	repaired bool
}

// newHandle lets bbolt open a file that is locked and verified. After an error the file
// is closed.
func newHandle(file *os.File) (_ *handle, err error) {
	h := &handle{file: file, fd: file.Fd()}
	defer func() {
		if r := recover(); r != nil {
			err = damage(r)
		}
		if err != nil {
			_ = h.abandon() // bbolt has closed it unless it panicked
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
	return h, h.measure()
}

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true, // a lock for each look-up
	}
}

// By how much the file becomes longer when it is full: it doubles, as bbolt has it that has
// not mapped more than the file.
const (
	minAlloc = 256 << 10
	maxAlloc = 16 << 20
)

// mmapSize is how much address space to map for a file: so much that it rarely has to be
// mapped again, which waits for all readers, and all new readers with it (bbolt#498). It
// takes no memory. Windows would make the file that long.
func mmapSize(size int64) int {
	const gib = 1 << 30
	if strconv.IntSize < 64 || runtime.GOOS == "windows" {
		return 0
	}
	return int((size/gib + 5) * gib)
}

// measure notes what the last commit has written.
func (h *handle) measure() error {
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

// lockPath opens the file at path and locks it. While another process holds the lock it
// waits, and that process may put another file in its place: then that one is opened.
func lockPath(path string) (*os.File, error) {
	for {
		file, err := openInspected(path)
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

// LockedError says that another process has the file open.
type LockedError struct {
	Path string
	// PID is the process that holds the lock, or 0 if the system doesn't tell.
	PID int
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("token store %s is in use by %s, usually another running Caddy: "+
		"change that one's configuration with `caddy reload`, stop it, or give this one a store file of its own",
		e.Path, holder)
}

// close waits for transactions under way and unlocks the file.
func (h *handle) close() error {
	if h.stuck.Load() || h.replaced.Load() != nil {
		return h.abandon() // bbolt would wait for its own lock
	}
	return h.db.Close()
}

// abandon gives the file back without bbolt. Its mapping is left.
func (h *handle) abandon() error { return errors.Join(unlock(h.file), h.file.Close()) }
