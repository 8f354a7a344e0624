package tokenstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
)

// Shared is implemented by a [Backend] whose tokens other processes change too. It serves
// reads from a local copy, which follows the shared tokens. What SaveUsage saves belongs to
// this process's node only.
//
// The Store doesn't keep memory of its own about such a backend's tokens that could be older
// than what the backend returns: whenever it changes memory, it asks the backend for the token.
type Shared interface {
	Backend
	// Follow reports to f what other processes change from now on. The Store calls it once,
	// before it has any token in memory.
	Follow(f Follower)
	// Stale returns an error if the copy is too old to be used. The error wraps [ErrStale]. Stale
	// doesn't wait, and it doesn't allocate unless it returns an error.
	Stale() error
	// Contact returns the contact to the shared tokens.
	Contact() Contact
	// Sync waits until the copy includes every change that was acknowledged to any process
	// before the call. If it can't, the copy can still be read; the error says why it may be
	// old.
	Sync(ctx context.Context) error
	// Elsewhere returns the token's usage at all other nodes, including the days from first to
	// last. Like Usage, it doesn't wait for the network.
	Elsewhere(id token.ID, first, last Day) (Usage, error)
	// ElsewhereByNode is like Elsewhere, but maps the ID of each node that counted requests to
	// its usage.
	ElsewhereByNode(id token.ID, first, last Day) (map[string]Usage, error)
	// Values returns the values that all processes share.
	Values() Values
	// NodeID returns the ID of this process's node.
	NodeID() string
	// Nodes returns all known nodes, sorted by name and ID. It doesn't wait for the network.
	Nodes() []Node
	// Restore replaces the shared tokens at all nodes with those of a single gate's store, which
	// is a file at the given path that isn't in use. The entry is added to the audit log. Restore
	// checks the file first. If it can't be restored, the error is a [*BackupError], and nothing
	// is changed. Restore may change the file.
	Restore(ctx context.Context, path string, entry AuditEntry) (Restored, error)
	// Accept makes all nodes follow shared tokens that lack changes which the nodes know.
	Accept(ctx context.Context, entry AuditEntry) error
	// Confirm waits until all live nodes have put every change into force that was acknowledged
	// before the call, or until the context is done. It returns the nodes that haven't confirmed
	// it, including nodes that are not live but may still serve tokens. It doesn't wait for the
	// latter.
	Confirm(ctx context.Context) (missing []Node, err error)
	// Allot allots a part of a token's quota to this node, in the period from the beginning of
	// start to the beginning of end. own is the number of requests that this node has allowed in
	// the period. Allot returns how many it may allow in total: at least own, and more if more is
	// set and something is left of the limit. If more isn't set, the node gives back what it
	// doesn't use. Unlike the other methods for requests, Allot waits for the network, but not for
	// long.
	Allot(id token.ID, start, end Day, limit, own int64, more bool) (int64, error)
	// Announce sets State.Announced from one time to another for all processes. It reports
	// false if another process has changed it since.
	Announce(from, to time.Time) (bool, error)
}

// Node is a process that uses the shared tokens.
type Node struct {
	// ID identifies the node's local copy. It stays the same across restarts.
	ID string
	// Name is the machine's host name.
	Name string
	// Version is the version of Mollygate that the node runs.
	Version string
	// Self is set for this process's node.
	Self bool
	// Live is set while the node is connected to the shared store.
	Live bool
	// Stopped is set if the node's process has said that it ends. A process that was killed
	// hasn't.
	Stopped bool
	// Started is when the node's process started.
	Started time.Time
	// LastSeen is when the node last reported. For a node that is not live, it is the last time
	// this node has heard of it, or zero if it never has.
	LastSeen time.Time
	// AsOf is the time as of which the node's copy is known to be complete, as the node last
	// reported.
	AsOf time.Time
}

// Contact is a node's contact to the shared tokens.
type Contact struct {
	// AsOf is when the node's copy was last known to be complete, or zero if the shared tokens
	// have never been read.
	AsOf time.Time
	// Until is when the copy becomes too old to be used unless the node has contact before. It
	// is zero if AsOf is, or if the copy can be used without limit.
	Until time.Time
	// Problem says why contact is lost. It is nil if it isn't.
	Problem error
}

// Follower receives what other processes change. Its methods return soon. The same method isn't
// called concurrently.
type Follower interface {
	// Changed reports tokens whose state may have changed. The backend already returns the new
	// state. A note without an action is not a new change. Without notes, any token may have
	// changed.
	Changed(notes []ChangeNote)
	// Replaced reports that all tokens and all usage were replaced, for example by a backup's.
	Replaced()
	// Used reports tokens for which requests were counted elsewhere. Elsewhere already includes
	// them.
	Used(ids []token.ID)
}

// ErrStale means that the local copy of the shared tokens is too old to be used. It wraps
// [ErrUnavailable].
var ErrStale = fmt.Errorf("%w: this gate has had no contact with the shared store for too long", ErrUnavailable)

// ErrBehind means that the local copy of the shared tokens may lack recent changes.
var ErrBehind = errors.New("the shared store can't be reached; recent changes may be missing")

// Causes of errors of a [Shared]. An error that is due to one of them wraps it.
var (
	// ErrNoContact means that the shared store didn't respond.
	ErrNoContact = errors.New("the shared store can't be reached")
	// ErrFull means that the shared store has no space for changes.
	ErrFull = errors.New("the shared store is out of space")
	// ErrDenied means that the shared store doesn't give this node access.
	ErrDenied = errors.New("the shared store denies access")
	// ErrReading means that this node hasn't read the shared store completely.
	ErrReading = errors.New("this gate is still reading the shared store")
	// ErrLostChanges means that the shared store lacks changes that this node knows. The node
	// doesn't follow it until an admin calls [Store.Accept].
	ErrLostChanges = errors.New("the shared store has lost changes that this gate knows")
	// ErrEmpty means that there is no shared store.
	ErrEmpty = errors.New("the shared store is empty")
)

// Restored is what a backup contains.
type Restored struct {
	Tokens       int
	AuditEntries int
}

// BackupError means that a file can't be restored.
type BackupError struct {
	// Reason says what is wrong with the file. It doesn't contain its path.
	Reason string
}

func (e *BackupError) Error() string { return "the file can't be restored: " + e.Reason }
