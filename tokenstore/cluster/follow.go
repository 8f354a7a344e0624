package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// The pause before a new attempt to follow grows from minRetry to maxRetry. Its length is
// random, so that nodes that lost contact together don't come back together.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second
)

// updateNothing is an update that changes only the note.
var updateNothing bolt.Update

var (
	// errSwitched ends a watch when the store's description has changed.
	errSwitched = fmt.Errorf("%w, because its generation has changed", tokenstore.ErrReading)
	// errListAgain means that something has happened to the replica while the node read the store.
	errListAgain = errors.New("the replica has changed meanwhile")
	// errReplaced means that another node has restored or accepted the store at the same time.
	errReplaced = errors.New("another gate has restored or accepted the shared store at the same time")
	// ErrLostChanges means that the shared store lacks changes that this node knows.
	ErrLostChanges = fmt.Errorf("%w, such as revocations: "+
		"it was restored from an older copy or emptied; this gate goes on serving its own copy; "+
		"put back the newer store, or accept the older one with caddy api-token cluster accept",
		tokenstore.ErrLostChanges)
	// errOtherStore means that another store is under the node's prefix.
	errOtherStore = errors.New("this is not the shared store that this gate's replica belongs to: " +
		"configure the right endpoints and prefix, or remove the replica to make a new one")
)

// follow follows the shared store until the context is done.
func (b *Backend) follow(ctx context.Context) {
	retry := minRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := b.session(ctx)
		b.contact.end()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errSwitched), errors.Is(err, ErrCompacted), errors.Is(err, errRewritten),
			errors.Is(err, errListAgain):
			b.logger.Info("reading the shared store again", zap.NamedError("reason", err))
			if errors.Is(err, errSwitched) || time.Since(began) > maxRetry {
				continue
			}
		default:
			b.lost(err)
		}
		if time.Since(began) > maxRetry {
			retry = minRetry
		}
		select {
		case <-time.After(retry/2 + rand.N(retry/2)): //nolint:gosec // spreads load
		case <-ctx.Done():
		}
		retry = min(2*retry, maxRetry)
	}
}

// session connects to the shared store, lists it if necessary and then watches it until an
// error occurs.
func (b *Backend) session(ctx context.Context) error {
	d, err := b.open(ctx)
	if err != nil {
		return err
	}
	n := b.writer.current()
	if !b.mustList(d, n) {
		if err := errors.Join(b.checkRevision(ctx, n), b.listNodes(ctx)); err != nil {
			return b.mustListAfter(err)
		}
	} else if err := b.list(ctx, d, n); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	if n = b.writer.current(); n.Revision == 0 {
		return errListAgain
	}
	err = b.mustListAfter(b.watch(watching, n, func() { b.contact.begin(stop) }))
	if watching.Err() != nil && ctx.Err() == nil {
		return errors.New("the watch was behind")
	}
	return err
}

// mustListAfter makes the node list the whole store if the error means that it can't get all
// changes otherwise. It returns the error.
func (b *Backend) mustListAfter(err error) error {
	if errors.Is(err, ErrCompacted) || errors.Is(err, errRewritten) {
		b.listAgain(updateNothing, func(*note) {})
	}
	return err
}

// listAgain makes the node list the whole store, also if it is just listing it. The update and the
// edit of the note are written before.
func (b *Backend) listAgain(u bolt.Update, edit func(*note)) {
	b.listings.Add(1)
	b.writer.add(u, func(n *note) {
		n.Revision = 0
		edit(n)
	})
	b.contact.restart()
}

// mustList reports whether the node has to list the whole store, because its replica isn't
// complete or belongs to another generation.
func (b *Backend) mustList(d description, n note) bool {
	return n.Revision == 0 || n.Identity != d.Identity || n.Generation != d.Generation || n.Lineage != d.Lineage
}

// open reads the store's description. If there is none, it creates the store. It returns an
// error if this node must not follow the store.
func (b *Backend) open(ctx context.Context) (d description, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	n := b.writer.current()
	records, err := b.engine.Read(ctx, append([]string{storeKey}, n.lastKeys()...)...)
	if err != nil {
		return d, err
	}
	if records[0].Revision == 0 {
		if n.Identity != "" {
			return d, ErrLostChanges
		}
		return b.create(ctx)
	}
	if d, err = b.describe(records[0].Value); err != nil {
		return d, err
	}
	switch {
	case n.Identity != "" && n.Identity != d.Identity:
		return d, errOtherStore
	case n.Generation == d.Generation && n.Lineage == d.Lineage && n.lacks(records[1:]):
		return d, ErrLostChanges
	}
	return d, nil
}

// create creates the store.
func (b *Backend) create(ctx context.Context) (description, error) {
	d := description{Format: formatName, Schema: b.options.Schema, Identity: newID(), Generation: 1, Lineage: newID(),
		Sealed: b.seal.sealed()}
	result, err := b.engine.Commit(ctx, []Condition{{Key: storeKey}}, []Write{
		{Key: storeKey, Value: d.encode(b.seal)}, {Key: generationKey(d.Generation), Value: []byte(d.Identity)}})
	switch {
	case err != nil:
		return d, fmt.Errorf("creating the shared store: %w", err)
	case !result.Committed: // another node was faster
		return b.describe(result.Current[0].Value)
	}
	b.logger.Info("created a new shared store", zap.String("identity", d.Identity))
	return d, nil
}

// checkFollowed returns an error unless the description is that of the generation that the node
// follows.
func (b *Backend) checkFollowed(record Record, n note) error {
	if record.Revision == 0 {
		if n.Identity == "" {
			return fmt.Errorf("%w, which is being created", tokenstore.ErrReading)
		}
		return ErrLostChanges
	}
	d, err := b.describe(record.Value)
	switch {
	case err != nil:
		return err
	case n.Revision == 0:
		return tokenstore.ErrReading
	case b.mustList(d, n):
		return errSwitched
	}
	return nil
}

// Accept implements tokenstore.Shared. Tokens that were revoked since the store was copied may be
// valid again.
func (b *Backend) Accept(ctx context.Context, entry tokenstore.AuditEntry) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	records, err := b.engine.Read(ctx, storeKey)
	if err != nil {
		return b.unavailable("the shared store can't be read", err)
	}
	if records[0].Revision == 0 {
		return fmt.Errorf("%w: %w; restore a backup into it", tokenstore.ErrUnavailable, tokenstore.ErrEmpty)
	}
	d, err := b.describe(records[0].Value)
	if err != nil {
		return b.unavailable("the shared store can't be changed", err)
	}
	d.Lineage = newID()
	t := transaction{sealer: b.seal, keys: keysOf(d.Generation)}
	t.condition(storeKey, records[0].Revision)
	audit := t.putAudit(b.sequence.next(), entry)
	t.writes = append(t.writes, Write{Key: storeKey, Value: d.encode(b.seal)})
	_, failed, err := b.commit(ctx, &t, t.keys.audit(audit))
	if err == nil && failed != nil {
		err = b.unavailable("nothing was changed", errReplaced)
	}
	return err
}
