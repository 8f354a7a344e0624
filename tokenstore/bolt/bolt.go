// Package bolt stores tokens in a bbolt file.
//
// # Schema
//
//	meta                                  identifies the file
//	├── format    "mollygate tokens"
//	├── version   1, 4 bytes
//	├── recorded  latest time recorded, 8 bytes and a checksum
//	├── passed    elapsed time, same encoding
//	├── told      time up to which expiring tokens were reported, same encoding
//	├── whole     key of the last day record whose hours were added up
//	├── identity  random number that the store shares with its copies only
//	└── transaction  number of the transaction that wrote the root page
//	tokens    id                          token record
//	digests   digest                      id, checksum of the token record
//	usage     id                          usage record, with the newest day
//	days      day, id                     day record; all days except the newest
//	created   CreatedAt, id               empty; the default sort order
//	expires   ExpiresAt, id               empty; tokens that never expire come last
//	audit     time, sequence number       audit record
//	requests  digest of actor and key     request record, to recognize repeats
//	requested time, digest                empty; the order in which requests expire
//	flush     state                       which counted requests the usage includes
//	ended     digest                      imported secrets that were taken out of service
//
// Times in keys are microseconds since 1970, 8 bytes, big endian. Packages token and
// tokenstore define the format of the records and their checksums (EncodeToken and so on);
// bbolt itself detects little of the damage to data pages.
//
// The bucket digests has an entry for each token's digest and for its previous digest, if
// any. The checksum in the entry ties the two buckets together: a flipped bit in a page number
// can make bbolt read an outdated page, whose records are valid but may show a revoked token
// as active. A token record is damaged unless its checksum matches its entry.
//
// # Durability
//
// A change is on disk (fdatasync) when [Backend.Apply] returns. Changes that arrive during a
// write share the next transaction. Usage is written in separate transactions, together with
// the state that records which counted requests it includes. Counts that are not yet written
// survive a killed process in the usage journal, a file named like the store with ".journal"
// appended: see package journal.
//
// # Faults
//
// bbolt trusts the pages of its file, so the backend reads every page before bbolt opens the
// file, and never writes to a file whose structure it has not verified (package boltfile). If
// it finds damage, it copies all valid records into a new file, which replaces the damaged
// one; the damaged file is kept next to it (rebuild.go). A token that can't be read is copied
// as a damaged token, so that its secret stays known.
//
// The same happens when a call finds damage while the store is open. The backend stops writing
// to a file that was truncated, moved, replaced or overwritten while in use.
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

	// journalSuffix is appended to the store's name to form the journal's.
	journalSuffix = ".journal"

	// maxVerifiedRecords is the maximum size, in bytes, of a file whose records are all
	// verified before Open returns. The records of larger files are verified in the
	// background.
	maxVerifiedRecords = 64 << 20
)

// Backend implements tokenstore.Backend with one file.
type Backend struct {
	path string
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

// Open opens and locks the file at path, creating it if it doesn't exist, and rebuilds a
// damaged file. It returns an error, and leaves the file unchanged, if the file is empty,
// belongs to another program or lacks a valid meta page. If another process has the file open,
// Open waits a few seconds and then returns a [*LockedError].
func Open(path string) (*Backend, error) {
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
	if err := migrateCounters(b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// JournalPath implements tokenstore.Backend. If the store's path is a symbolic link, the
// journal is next to the file it points to.
func (b *Backend) JournalPath() string { return journalPath(b.path) }

func journalPath(path string) string {
	if target, err := realPath(path); err == nil {
		path = target
	}
	return path + journalSuffix
}

// Sequence implements tokenstore.Backend. The number is stored as the sequence of the bucket
// meta.
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
