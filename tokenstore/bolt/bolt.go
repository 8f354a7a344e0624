// Package bolt stores tokens in a bbolt file.
//
// # Schema
//
//	meta                                  identifies the file
//	├── format    "mollygate tokens"
//	├── version   1, 4 bytes
//	├── recorded  latest time recorded, 8 bytes and a checksum
//	├── passed    elapsed time, same encoding
//	├── told      time up to which expiring tokens have been reported, same encoding
//	├── backed up  time of the last backup, same encoding
//	├── whole     key of the last day record whose hours were added up
//	├── identity  random number shared only by the store and its copies
//	└── transaction  number of the transaction that wrote the root page
//	tokens    id                          token record
//	digests   digest                      id, checksum of the token record
//	usage     id                          usage record, including the newest day
//	days      day, id                     day record; all days except the newest
//	created   CreatedAt, id               empty; the default sort order
//	expires   ExpiresAt, id               empty; tokens that never expire come last
//	audit     time, sequence number       audit record
//	requests  digest of actor and key     request record, for detecting repeats
//	requested time, digest                empty; the order in which requests expire
//	flush     state                       identifies the counted requests that usage includes
//	ended     digest                      imported secrets that were taken out of service
//
// A replica (see [Replica]) has a version of its own and these buckets and keys in addition:
//
//	meta
//	└── whole elsewhere  like whole, for the "days elsewhere" bucket
//	elsewhere         id, node            usage record of another node, without days
//	days elsewhere    day, id, node       day record of another node; all days
//	totals elsewhere  day, node           day record of another node, for all tokens together
//	note
//	├── note        the cluster's note and a checksum
//	└── incomplete  empty; exists if a rebuild may have lost records
//
// Times in keys are microseconds since 1970, 8 bytes, big endian. The token and tokenstore
// packages define the formats and checksums of the records (see EncodeToken, for example).
// bbolt itself detects almost no damage to data pages.
//
// The digests bucket has an entry for each token's current digest and, if there is one, its
// previous digest. The entry's checksum ties the two buckets together: a flipped bit in a page
// number can make bbolt read an outdated page, whose records are valid but may show a revoked
// token as active. A token record counts as damaged unless its checksum matches its digest
// entry.
//
// # Durability
//
// A change is on disk (fdatasync) by the time [Backend.Apply] returns. Changes that arrive
// during a write share the next transaction. Usage is written in separate transactions,
// together with the state that records which counted requests it includes. Counts not yet
// written to the store survive a killed process in the usage journal, whose file name is the
// store's name plus ".journal" (see package journal).
//
// # Faults
//
// bbolt trusts the file's pages, so the backend verifies every page before bbolt opens the
// file (package boltfile), and never writes to an unverified file. If it finds damage, it
// copies all valid records into a new file, which replaces the damaged one, and keeps the
// damaged file next to it (rebuild.go). A token that can't be read is copied as a damaged
// token, so its secret is still recognized.
//
// A call that finds damage in an open store also triggers a rebuild. The backend stops writing
// to a file that is truncated, moved, replaced or overwritten while in use.
package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	fileMode = 0o600 // the file contains digests and permissions
	dirMode  = 0o700

	// journalSuffix is appended to the store's name to form the journal's name.
	journalSuffix = ".journal"

	// maxVerifiedRecords is the maximum size, in bytes, of a file whose records Open verifies
	// before returning. Records in larger files are verified in the background.
	maxVerifiedRecords = 64 << 20
)

// Backend implements tokenstore.Backend with a single file.
type Backend struct {
	path   string
	format format
	// current is the file in use. A rebuild replaces it.
	current atomic.Pointer[handle]
	closed  atomic.Bool

	// writing is held during a write transaction and while the file is rebuilt.
	writing sync.Mutex
	commits committer
	// sequence is the number of the last change; see [Backend.Sequence].
	sequence atomic.Uint64

	health     health
	background background
}

// Open opens and locks the file at path. If the file is missing, Open creates it; if it is
// damaged, Open rebuilds it. Open returns an error and leaves the file unchanged if the file
// is empty, belongs to another program or lacks a valid meta page. If another process has the
// file open, Open waits a few seconds and then returns a [*LockedError].
func Open(path string) (*Backend, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening token store: %w", err)
	}
	b, err := storeFormat.openBackend(path)
	if err != nil {
		return nil, err
	}
	if err := migrateCounters(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// openBackend opens the file at path, or creates it if it is missing.
func (f format) openBackend(path string) (*Backend, error) {
	err := f.inspect(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = f.create(path)
	}
	if err != nil {
		return nil, err
	}
	b := &Backend{path: path, format: f}
	b.commits.run = b.commit
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// JournalPath implements tokenstore.Backend. If the store's path is a symbolic link, the
// journal is next to the link's target.
func (b *Backend) JournalPath() string { return journalPath(b.path) }

func journalPath(path string) string {
	if target, err := realPath(path); err == nil {
		path = target
	}
	return path + journalSuffix
}

// Sequence implements tokenstore.Backend. The number is stored as the meta bucket's sequence.
func (b *Backend) Sequence() uint64 { return b.sequence.Load() }

// Close waits for transactions in progress and unlocks the file.
func (b *Backend) Close() error {
	b.writing.Lock()
	if b.closed.Swap(true) {
		b.writing.Unlock()
		return nil
	}
	err := b.current.Load().close()
	b.writing.Unlock()
	b.background.close()
	if err != nil {
		return fmt.Errorf("closing token store %s: %w", b.path, err)
	}
	return nil
}

var _ tokenstore.Backend = (*Backend)(nil)
