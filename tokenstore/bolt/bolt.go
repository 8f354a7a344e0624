// Package bolt keeps tokens in a bbolt file.
//
// # Schema
//
//	meta                                  what the file is
//	├── format    "mollygate tokens"
//	├── version   1, 4 bytes
//	├── recorded  newest time seen, 8 bytes and a checksum
//	├── passed    time that is known to have passed, the same
//	├── told      expiry time up to which expiring tokens were reported, the same
//	├── whole     key of the last day whose hours were added up
//	├── identity  distinguishes the store, and its copies, from others
//	└── transaction  by which the root page was written
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
// bbolt believes its pages, so every page of the file is read before bbolt opens it, and
// nothing is written into a file whose structure was not verified (package boltfile). If
// anything is wrong with the file, all records that verify are copied into a new file,
// which takes its place; the damaged one is kept next to it (rebuild.go). A token that
// could not be read stays there as a damaged one, so that its secret is not unknown.
//
// The same happens when a call meets damage while the store is open. A file that was
// truncated, moved away, replaced or overwritten under a running process is no longer
// written to.
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
	fileMode = 0o600 // it holds digests and who may do what
	dirMode  = 0o700

	// journalSuffix is what the journal's name has more than the store's.
	journalSuffix = ".journal"

	// maxVerifiedRecords is how long a file is at most, in bytes, whose records are all
	// verified before the store is opened. Those of a longer one are verified later.
	maxVerifiedRecords = 64 << 20
)

// Backend is a tokenstore.Backend in one file.
type Backend struct {
	path string
	// current is the file that is served. A rebuild puts another in its place.
	current atomic.Pointer[handle]
	closed  atomic.Bool

	// writing is held by the one write transaction, and while the file is rebuilt.
	writing sync.Mutex
	commits committer
	// sequence is the number of the newest change; see [Backend.Sequence].
	sequence atomic.Uint64

	health     health
	background background
}

// Open opens the file at path and locks it, or makes it if there is none. A damaged file
// is rebuilt. An empty file, one of another program, and one without a valid meta page is
// an error, and left as it is. A file that another process has open is a [*LockedError]
// after some seconds.
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

// JournalPath implements tokenstore.Backend. The journal is next to the file itself, not to a
// link that the store was opened by.
func (b *Backend) JournalPath() string { return journalPath(b.path) }

func journalPath(path string) string {
	if target, err := realPath(path); err == nil {
		path = target
	}
	return path + journalSuffix
}

// Sequence implements tokenstore.Backend. It is the sequence number of the bucket meta.
func (b *Backend) Sequence() uint64 { return b.sequence.Load() }

// Close waits for transactions under way and unlocks the file.
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
