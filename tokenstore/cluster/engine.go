package cluster

import (
	"context"
	"errors"
	"time"
)

// Engine is the store that all nodes share: a key-value store with transactions that are
// linearizable across all nodes. Keys are printable ASCII of at most 200 bytes. They are
// relative to a prefix that the operator chooses; keys outside that prefix are never read or
// written. Values are at most 1 MiB.
//
// A revision is a positive number. Each commit gets a higher revision than all commits before
// it, even if other programs use the same server. A record's revision is that of the last
// commit that wrote it, and it is part of the record: after the server has been replaced by an
// older copy, a record has either the same revision as before or a different value.
//
// All methods are safe for concurrent use. They return when the context is done. Unless
// documented otherwise, an error means that the server can't be reached or has refused the
// call; the text says which, names the server and contains no password. Nothing is retried
// that may have taken effect.
type Engine interface {
	// Snapshot calls yield for each record whose key starts with prefix, in key order. All
	// records are as of the same revision, which Snapshot returns. If yield returns an error,
	// Snapshot returns it unmodified.
	Snapshot(ctx context.Context, prefix string, yield func(Record) error) (revision int64, err error)
	// Watch calls yield for each commit with a revision greater than after, in order and without
	// gaps, until the context is done, yield returns an error or the connection fails. If the
	// server no longer has all of these commits, the error is [ErrCompacted].
	Watch(ctx context.Context, after int64, yield func(Commit) error) error
	// Read returns the current records with the given keys, at most 100, all as of the same
	// revision. A record that doesn't exist has revision 0. Read sees every commit that was
	// acknowledged to any node before the call.
	Read(ctx context.Context, keys ...string) ([]Record, error)
	// Commit writes all given records in one transaction if all conditions hold. If a condition
	// doesn't hold, Commit writes nothing and returns the current records with the conditions'
	// keys, in the conditions' order. There are at most 100 conditions and writes together, and
	// no two writes have the same key.
	//
	// If Commit returns an error, the outcome is unknown: the transaction may take effect now,
	// later or never. The exception is [ErrNotCommitted].
	Commit(ctx context.Context, conditions []Condition, writes []Write) (Result, error)
	// Hold creates a record that exists for as long as this process is connected: the server
	// deletes it ttl after it last heard from this process, or when the hold is released. If
	// the record exists, the error is [ErrHeld].
	Hold(ctx context.Context, key string, value []byte, ttl time.Duration) (Hold, error)
	// Close ends all calls and closes the connection.
	Close() error
}

// Record is a record in the shared store.
type Record struct {
	Key   string
	Value []byte
	// Revision is the revision of the last commit that wrote the record, or 0 if the record
	// doesn't exist.
	Revision int64
}

// Commit is a transaction that has been committed.
type Commit struct {
	Revision int64
	// Writes are the records that the transaction wrote, or deleted if the value is nil. The
	// order is arbitrary. Records that expire are deleted in a transaction of their own.
	Writes []Write
}

// Condition holds if the record with the given key has the given revision, or doesn't exist if
// the revision is 0.
type Condition struct {
	Key      string
	Revision int64
}

// Write writes a record.
type Write struct {
	Key string
	// Value is the new value. Nil deletes the record.
	Value []byte
	// TTL is how long the record exists unless it is written again. Zero means permanently. It
	// is rounded up to whole seconds. A [Commit] passed to Watch doesn't contain it.
	TTL time.Duration
}

// Result is the outcome of [Engine].Commit.
type Result struct {
	// Committed is set if the transaction took effect.
	Committed bool
	// Revision is the transaction's revision if it took effect.
	Revision int64
	// Current holds the conditions' records if the transaction didn't take effect.
	Current []Record
}

// Hold keeps a record alive; see [Engine].Hold.
type Hold interface {
	// Update replaces the record's value.
	Update(ctx context.Context, value []byte) error
	// Lost returns a channel that is closed once the record may no longer exist.
	Lost() <-chan struct{}
	// Release deletes the record.
	Release(ctx context.Context) error
}

var (
	// ErrCompacted is returned by [Engine].Watch if the server no longer has all commits since
	// the given revision.
	ErrCompacted = errors.New("the server no longer has all changes since this node's last contact")
	// ErrHeld is returned by [Engine].Hold if the record exists.
	ErrHeld = errors.New("another process holds this record")
	// ErrNotCommitted is wrapped by an error of [Engine].Commit if the transaction certainly
	// didn't take effect and never will.
	ErrNotCommitted = errors.New("the server refused the change")
)
