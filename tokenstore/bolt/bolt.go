// Package bolt keeps tokens in a bbolt file.
//
// # Schema
//
//	meta                                  what the file is
//	├── format    "mollygate tokens"
//	├── version   1, 4 bytes
//	├── recorded  newest time seen, 8 bytes and a checksum
//	├── passed    time that is known to have passed, the same
//	├── told      up to when tokens near their end were told of, the same
//	└── whole     key of the last day whose hours were added up
//	tokens    id                          token record
//	digests   digest                      id, checksum of the token record
//	usage     id                          usage record, with the newest day
//	days      day, id                     day record; all days but the newest
//	created   CreatedAt, id               nothing; the order of the default list
//	expires   ExpiresAt, id               nothing; tokens without end come last
//	audit     time, sequence number       audit record
//	requests  digest of actor and key     request record; to know a repeat by
//	requested time, digest                nothing; the order in which they end
//	flush     state                       which counted requests the usage includes
//	ended     digest                      imported secrets that were taken out of service
//
// Times in keys are microseconds since 1970, 8 bytes, big endian. The form of the
// records and their checksums are tokenstore's (EncodeToken and so on); bbolt
// itself notices few damaged data pages.
//
// digests has an entry for each token's digest and, while there is one, for its
// previous digest. The checksum ties the two buckets together: a flipped bit in a
// page number can make bbolt read an outdated page, whose records are sound but
// say that a revoked token is active. A record that its entry doesn't vouch for
// is damaged.
//
// # Durability
//
// A change is on disk (fdatasync) when [Backend.Apply] returns; changes that
// arrive while another is being written share the next transaction. Usage is
// written in transactions of its own, with the state that says which counted requests it
// includes. What isn't written yet survives the process in the journal, a file with
// ".journal" added to the store's name: see package journal.
//
// # Faults
//
// A damaged or truncated file makes the call that meets it fail; it doesn't end
// the process. Page numbers that lead in circles are looked for when it is opened.
// A file that was truncated, moved away or replaced under a running process is no
// longer written to.
package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	fileMode = 0o600 // it holds digests and who may do what
	dirMode  = 0o700

	// journalSuffix is what the journal's name has more than the store's.
	journalSuffix = ".journal"

	// lockTimeout is long enough for a store that this process is just closing.
	lockTimeout = 3 * time.Second
)

// Backend is a tokenstore.Backend in one file.
type Backend struct {
	db   *bbolt.DB
	path string
	// file is the one that bbolt uses, fd its number, and identity what it was when
	// it was opened.
	file     *os.File
	fd       uintptr
	identity fs.FileInfo
	// size is how many bytes of the file are in use.
	size atomic.Int64
	// stuck says that bbolt holds a lock of its own for ever.
	stuck  atomic.Bool
	closed atomic.Bool

	// writing is held by the one write transaction.
	writing sync.Mutex
	commits committer
}

// Open opens the file at path and locks it, or makes it if there is none. An
// empty, damaged or foreign file is an error, and left as it is. A file that
// another process has open is a [*LockedError] after some seconds.
func Open(path string) (*Backend, error) {
	b, err := openAlone(path)
	if err != nil {
		return nil, err
	}
	if err := migrateCounters(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// JournalPath implements tokenstore.Backend. The journal is next to the file itself, not to a
// link that the store was opened by.
func (b *Backend) JournalPath() string {
	if path, err := realPath(b.path); err == nil {
		return path + journalSuffix
	}
	return b.path + journalSuffix
}

// openAlone opens the file without the counts of an earlier release next to it.
func openAlone(path string) (*Backend, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening token store: %w", err)
	}
	err = Inspect(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path)
	}
	if err != nil {
		return nil, err
	}
	b := &Backend{path: path}
	b.commits.run = b.commit
	if err := b.open(); err != nil {
		return nil, err
	}
	err = inspectTrees(b.file)
	if err == nil {
		err = b.view(checkSchema)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening token store %s: %w", path, err), b.Close())
	}
	return b, nil
}

// open lets bbolt open the file.
func (b *Backend) open() (err error) {
	defer func() {
		if err != nil && b.file != nil {
			_ = b.abandon() // bbolt has closed it unless it panicked
		}
	}()
	defer func() {
		if r := recover(); r != nil {
			err = damage(r)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	options := boltOptions()
	options.OpenFile = b.openFile
	b.db, err = bbolt.Open(b.path, fileMode, options)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return &LockedError{Path: b.path, PID: lockHolder(b.path)}
	case err != nil:
		return fmt.Errorf("opening token store %s: %w", b.path, err)
	}
	b.fd = b.file.Fd()
	if b.identity, err = b.file.Stat(); err != nil {
		return fmt.Errorf("opening token store: %w", err)
	}
	return b.measure()
}

// openFile opens the file for bbolt: never with O_CREATE, because bbolt would make
// a file that was moved away since it was inspected, and never an empty one,
// because bbolt would take it for a new database.
func (b *Backend) openFile(path string, _ int, _ fs.FileMode) (*os.File, error) {
	file, err := openInspected(path)
	if b.db == nil { // it is being opened, and not for a copy
		b.file = file
	}
	return file, err
}

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true, // a lock for each look-up
	}
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
		"change that one's configuration with `caddy reload`, stop it, or give this one a store file of its own", e.Path, holder)
}

// Close waits for transactions under way and unlocks the file.
func (b *Backend) Close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.closed.Swap(true) {
		return nil
	}
	var err error
	if b.stuck.Load() {
		err = b.abandon() // bbolt would wait for its own lock
	} else {
		err = b.db.Close()
	}
	if err != nil {
		return fmt.Errorf("closing token store %s: %w", b.path, err)
	}
	return nil
}

// abandon gives the file back without bbolt. Its mapping is left.
func (b *Backend) abandon() error {
	return errors.Join(unlock(b.file), b.file.Close())
}

var _ tokenstore.Backend = (*Backend)(nil)
