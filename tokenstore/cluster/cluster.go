// Package cluster implements a [tokenstore.Backend] for tokens that several gates share. The
// tokens live in a shared store, which an [Engine] reaches; etcd is the first. Each gate is a
// node: it follows the shared store into a replica, a local bbolt file, and serves all requests
// from there.
//
//	change:  read the token ── ChangeFunc ──> one transaction on the shared store ──> all nodes' watches
//	follow:  watch ──> overlay (in force) ──> Store's memory ──> replica's file
//	use:     Store's memory, replica; never the network
//
// # Changes
//
// A change reads the token from the shared store, decides, and commits on the condition that
// nothing it depends on has changed. Changes and reads after [Backend.Sync] are therefore
// linearizable over all nodes. If the outcome of a commit is unknown, the node looks for the
// change's audit record, whose key is unique.
//
// # Following
//
// A change of another node takes effect here when the watch delivers it, before it is written
// to the replica's file: the overlay holds it until then. So a full disk doesn't delay a
// revocation. If the shared store no longer has all changes since this node's last contact, the
// node lists everything and applies the differences.
//
// # Staleness
//
// Every second, the node reads the newest change's key from the shared store. Once it has that
// change, it knows that it was complete when it sent the read. If this time is longer ago than
// [Options].MaxStaleness, the node refuses all tokens, because one of them may have been
// revoked meanwhile. The time is stored with the replica, so a restart doesn't reset it.
//
// # A store that has lost changes
//
// A shared store that was restored from an older copy or replaced by an empty one would bring
// back revoked tokens. A node recognizes it, because the audit record of the newest change that
// the node knows is missing or has another revision. The node then stops following and serves
// its own, newer state until an admin accepts the store's state; see [Backend.Accept].
//
// # Usage
//
// Each node counts its own requests, as a single gate does, and reports its totals in the
// shared store. The other nodes keep them apart and add them when they are read. A report
// contains absolute numbers, so repeating it changes nothing. No node writes another's counts.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// Options configure a [Backend]. Engine and Replica are required.
type Options struct {
	Engine  Engine
	Replica *bolt.Replica
	// MaxStaleness is how long the node serves tokens without contact to the shared store. Zero
	// means no limit.
	MaxStaleness time.Duration
	// RequestTimeout is how long a change may take. Zero means five seconds.
	RequestTimeout time.Duration
	// RecordKey is the key for the records' message authentication codes. Without a key, the
	// records have none.
	RecordKey []byte
	// Schema is the newest version of the shared store's records that the node knows. Zero means
	// the newest that this code knows. Only tests need others.
	Schema int
	// Name and Version are the node's host name and version, which other nodes show.
	Name, Version string
	// Clock defaults to [tokenstore.SystemClock].
	Clock tokenstore.Clock
	// Logger defaults to a logger that discards everything.
	Logger *zap.Logger
}

// defaultTimeout is the default of [Options].RequestTimeout.
const defaultTimeout = 5 * time.Second

// Backend implements [tokenstore.Shared].
type Backend struct {
	engine  Engine
	replica *bolt.Replica
	options Options
	seal    sealer
	logger  *zap.Logger

	follower atomic.Pointer[tokenstore.Follower]
	overlay  overlay
	writer   *writer
	// seen is the revision up to which all changes are in force on this node.
	seen progress
	// own holds the keys of the audit records that this process writes, because the Store
	// already knows of these changes.
	own      ownChanges
	sequence sequence

	// schema is the version of the shared store's records.
	schema atomic.Int64
	// listings is the number of times that the node was asked to list the whole store.
	listings atomic.Int64
	// accepting is set while the node accepts older versions of tokens: another generation's, or
	// those of a store that an admin has accepted.
	accepting atomic.Bool

	// repairs is the number of repairs of the replica that have been noticed.
	repairs int

	fresh    freshness
	contact  contact
	nodes    nodeTable
	reporter *reporter
	values   values

	confirmations confirmations

	syncs sharedCalls

	stop    context.CancelFunc
	context context.Context
	running sync.WaitGroup
	closing sync.Once
	err     error
	closed  atomic.Bool
}

// Open starts following the shared store. The backend closes the engine and the replica when it
// is closed. Open doesn't wait for the network.
func Open(options Options) (*Backend, error) {
	if options.RequestTimeout == 0 {
		options.RequestTimeout = defaultTimeout
	}
	if options.Schema == 0 {
		options.Schema = newestSchema
	}
	if options.Clock == nil {
		options.Clock = tokenstore.SystemClock{}
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	n, err := readNote(options.Replica)
	if err != nil {
		return nil, fmt.Errorf("opening the replica: %w", err)
	}
	isNew := n.Node == ""
	if isNew {
		n.Node = newID()
	}
	b := &Backend{
		engine: options.Engine, replica: options.Replica, options: options, seal: sealer{options.RecordKey},
		logger: options.Logger, reporter: newReporter(),
	}
	b.values.backend = b
	b.contact.followed = make(chan struct{}, 1)
	b.context, b.stop = context.WithCancel(context.Background())
	b.writer = newWriter(b.replica, n, b.logger, b.wrote)
	b.seen.restart(n.Revision)
	state, err := b.replica.State()
	if err != nil {
		return nil, fmt.Errorf("opening the replica: %w", err)
	}
	now := options.Clock.Now()
	if state.Recorded.After(now) { // the clock was set back
		now = state.Recorded
	}
	b.fresh.open(n.AsOf, options.MaxStaleness, now)
	b.nodes.self = tokenstore.Node{ID: n.Node, Name: options.Name, Version: options.Version, Self: true,
		Started: options.Clock.Now().Truncate(time.Second)}
	if isNew {
		// If the note was lost, the usage counted so far has been reported with another ID.
		b.writer.add(bolt.Update{ForgetOwn: true}, func(*note) {})
	}
	b.repairs = len(b.replica.Health().Repairs)
	b.start()
	return b, nil
}

// start starts the node's background work. The writer ends last, so that it can write what the
// others have learned.
func (b *Backend) start() {
	writing, stop := context.WithCancel(context.Background())
	b.running.Go(func() { b.writer.run(writing) })
	var others sync.WaitGroup
	for _, run := range []func(context.Context){b.follow, b.keepFresh, b.keepPresent, b.report} {
		others.Go(func() { run(b.context) })
	}
	b.running.Go(func() {
		others.Wait()
		stop()
	})
}

// Follow implements tokenstore.Shared.
func (b *Backend) Follow(f tokenstore.Follower) { b.follower.Store(&f) }

// changed reports changes to the Store.
func (b *Backend) changed(notes []tokenstore.ChangeNote) {
	if f := b.follower.Load(); f != nil {
		(*f).Changed(notes)
	}
}

// replaced reports to the Store that another generation is in use.
func (b *Backend) replaced() {
	if f := b.follower.Load(); f != nil {
		(*f).Replaced()
	}
}

// used reports to the Store the tokens whose usage at other nodes has changed.
func (b *Backend) used(ids []token.ID) {
	if f := b.follower.Load(); f != nil && len(ids) > 0 {
		(*f).Used(ids)
	}
}

// Close stops following and closes the engine and the replica.
func (b *Backend) Close() error {
	b.closing.Do(func() {
		b.closed.Store(true)
		b.stop()
		b.running.Wait()
		b.err = errors.Join(b.engine.Close(), b.replica.Close())
	})
	return b.err
}

// wrote is called after the replica's file has been written.
func (b *Backend) wrote(n note, update bolt.Update) {
	b.overlay.trim(n.Revision)
	ids := make([]token.ID, len(update.Usage))
	for i, usage := range update.Usage {
		ids[i] = usage.ID
	}
	b.used(ids)
	if n.Revision == 0 {
		b.contact.restart() // unless the node is listing the shared store already
	}
}

// deadline returns a context for one change.
func (b *Backend) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.context, b.options.RequestTimeout)
}

// newID returns a random ID of 26 letters and digits.
func newID() string { return strings.ToLower(rand.Text()) }

// unavailable returns the error for a call that failed because the shared store can't be
// reached.
func (b *Backend) unavailable(what string, err error) error {
	if b.closed.Load() {
		return tokenstore.ErrClosed
	}
	return fmt.Errorf("%w: %s: %w", tokenstore.ErrUnavailable, what, err)
}

var _ tokenstore.Shared = (*Backend)(nil)
