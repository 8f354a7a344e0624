package cluster

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore"
)

const (
	// freshInterval is how often a node checks that it has all changes.
	freshInterval = time.Second
	// saveInterval is how often the time of the last check is written to the replica if nothing
	// else is written.
	saveInterval = 10 * time.Second
	// stuckAfter is how long the watch may take to deliver a change that was committed. After
	// that, the node starts a new watch.
	stuckAfter = 2 * time.Second
)

// freshness is the time as of which the node is known to be complete. Two clocks measure its
// age: the wall clock, which goes on while the machine is suspended, and the process's
// monotonic clock, which nobody can set back.
type freshness struct {
	most time.Duration // 0 means unlimited
	// until is the wall-clock time until which tokens may be served, in nanoseconds since 1970,
	// and untilMonotonic is the same in nanoseconds since started.
	until, untilMonotonic atomic.Int64
	started               time.Time

	mu    sync.Mutex
	asOf  time.Time
	saved time.Time
}

// open sets the state of a node that was complete at asOf, or never if asOf is zero.
func (f *freshness) open(asOf time.Time, most time.Duration, now time.Time) {
	f.most, f.started = most, time.Now()
	if !asOf.IsZero() {
		f.set(asOf, max(0, now.Sub(asOf)))
	}
}

// set records that the node was complete at asOf, which is age ago.
func (f *freshness) set(asOf time.Time, age time.Duration) {
	until, untilMonotonic := int64(math.MaxInt64), int64(math.MaxInt64)
	if f.most > 0 {
		until = asOf.Add(f.most).UnixNano()
		untilMonotonic = int64(time.Since(f.started) - age + f.most)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asOf = asOf
	f.until.Store(until)
	f.untilMonotonic.Store(untilMonotonic)
}

func (f *freshness) get() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asOf
}

// due reports whether the time must be saved, and notes that it is.
func (f *freshness) due(asOf time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	interval := saveInterval
	if f.most > 0 {
		interval = min(interval, f.most/10)
	}
	if since := asOf.Sub(f.saved); since >= 0 && since < interval {
		return false
	}
	f.saved = asOf
	return true
}

// Stale implements tokenstore.Shared.
func (b *Backend) Stale() error {
	f := &b.fresh
	switch until := f.until.Load(); {
	case until == math.MaxInt64:
		return nil
	case b.options.Clock.Now().UnixNano() < until && int64(time.Since(f.started)) < f.untilMonotonic.Load():
		return nil
	}
	contact := b.Contact()
	asOf, problem := contact.AsOf, contact.Problem
	switch {
	case asOf.IsZero() && problem != nil:
		return fmt.Errorf("%w: it has never been reached: %w", tokenstore.ErrStale, problem)
	case asOf.IsZero():
		return fmt.Errorf("%w: %w for the first time", tokenstore.ErrStale, tokenstore.ErrReading)
	case problem != nil:
		return fmt.Errorf("%w: the last contact was at %s (max_staleness is %s): %w", tokenstore.ErrStale,
			asOf.Format(time.RFC3339), f.most, problem)
	}
	return fmt.Errorf("%w: the last contact was at %s (max_staleness is %s)", tokenstore.ErrStale,
		asOf.Format(time.RFC3339), f.most)
}

// keepFresh checks every second that the node has all changes.
func (b *Backend) keepFresh(ctx context.Context) {
	ticker := time.NewTicker(freshInterval)
	defer ticker.Stop()
	refusing := false
	for {
		select {
		case <-ticker.C:
		case <-b.contact.followed:
			// Following has just begun.
		case <-ctx.Done():
			return
		}
		if err := b.checkFresh(ctx); err != nil && ctx.Err() == nil {
			b.lost(err)
		}
		if err := b.Stale(); (err != nil) != refusing && !b.fresh.get().IsZero() {
			if refusing = err != nil; refusing {
				b.logger.Error("refusing all tokens until there is contact to the shared store", zap.Error(err))
			} else {
				b.logger.Info("accepting tokens again")
			}
		}
	}
}

// checkFresh reads the newest change's key, waits until its change is in force here, and then
// records that the node was complete when it sent the read.
func (b *Backend) checkFresh(ctx context.Context) error {
	began, sent := b.options.Clock.Now(), time.Now()
	newest, err := b.newest(ctx)
	if err != nil {
		return err
	}
	if b.repaired() {
		b.logger.Warn("the replica was damaged and rebuilt; reading the shared store again")
		b.listAgain(updateNothing, func(*note) {})
		return nil
	}
	if !b.contact.following() {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, stuckAfter)
	defer cancel()
	if err := newest.wait(waiting); err != nil {
		if ctx.Err() == nil && b.contact.restart() {
			b.logger.Warn("the shared store's watch is behind; starting a new one", zap.Error(err),
				zap.Int64("revision", b.seen.get()), zap.Int64("newest", newest.revision))
		}
		return nil
	}
	if !b.contact.following() {
		return nil
	}
	b.fresh.set(began, time.Since(sent))
	if b.contact.regained() {
		b.logger.Info("this gate has contact to the shared store again")
	}
	b.raiseSchema(ctx)
	if b.fresh.due(began) {
		b.writer.add(updateNothing, func(n *note) { n.AsOf = began })
	}
	return nil
}

// repaired reports whether the replica's file was rebuilt since the last call.
func (b *Backend) repaired() bool {
	repairs := len(b.replica.Health().Repairs)
	before := b.repairs
	b.repairs = repairs
	return repairs > before
}

// newest is the newest change of a token or a value in the generation that a node follows.
type newest struct {
	*Backend
	note note
	// revision is 0 if there is no change.
	revision int64
	last     []Record
}

// wait waits until the change is in force here.
func (n newest) wait(ctx context.Context) error { return n.catchUp(ctx, n.note, n.revision, n.last) }

// newest returns the newest change.
func (b *Backend) newest(ctx context.Context) (newest, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.RequestTimeout)
	defer cancel()
	n := b.writer.current()
	wanted := append([]string{storeKey, keysOf(n.Generation).change(), valuesKey}, n.lastKeys()...)
	records, err := b.engine.Read(ctx, wanted...)
	if err != nil {
		return newest{}, err
	}
	if err := b.checkFollowed(records[0], n); err != nil {
		return newest{}, err
	}
	return newest{b, n, max(records[1].Revision, records[2].Revision), records[3:]}, nil
}

// catchUp waits until the change with the given revision is in force here. The error is
// [ErrLostChanges] if the store lacks changes that this node knows: n is the note as of a time
// before the store was read, and last are the records under [note.lastKeys].
func (b *Backend) catchUp(ctx context.Context, n note, revision int64, last []Record) error {
	if n.lacks(last) && !b.contact.following() {
		return ErrLostChanges
	}
	if err := b.seen.wait(ctx, revision); err != nil {
		return fmt.Errorf("%w: %w", tokenstore.ErrBehind, err)
	}
	if n.lacks(last) && b.writer.current().LastChange == n.LastChange {
		return ErrLostChanges
	}
	return nil
}
