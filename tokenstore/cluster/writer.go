package cluster

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// retryWrite is the pause after a failed write.
const retryWrite = time.Second

// writer writes to the replica's file what the node has learned. What arrives during a write
// shares the next one.
type writer struct {
	replica *bolt.Replica
	logger  *zap.Logger
	// wrote is called after each successful write with what was written.
	wrote func(note, bolt.Update)

	mu sync.Mutex
	// next is the update to write next, with the note. writing is the update being written.
	next, writing bolt.Update
	note          note
	// added is the number of calls of add.
	added  int64
	failed error // the last write's error
	// attempted is the number of calls of add that a write has included, even a failed one.
	attempted progress
	more      chan struct{} // receives a value if there is something to write
}

func newWriter(replica *bolt.Replica, n note, logger *zap.Logger, wrote func(note, bolt.Update)) *writer {
	return &writer{replica: replica, logger: logger, wrote: wrote, note: n, more: make(chan struct{}, 1)}
}

// add adds changes to the next update. edit changes the note that is written with them.
func (w *writer) add(u bolt.Update, edit func(*note)) {
	w.mu.Lock()
	w.next = merge(w.next, u)
	edit(&w.note)
	w.added++
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default: // already signaled
	}
}

// current returns the note that the next write stores.
func (w *writer) current() note {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.note
}

// recordKey identifies a record of the replica.
type recordKey struct {
	table bolt.Table
	key   string
}

// pending returns the records that the file may not have yet.
func (w *writer) pending() map[recordKey]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := make(map[recordKey]bool)
	for _, records := range [][]bolt.Record{w.writing.Records, w.next.Records} {
		for _, r := range records {
			keys[recordKey{r.Table, string(r.Key)}] = true
		}
	}
	return keys
}

// flush waits until everything added so far has been written, or a write of it has failed.
func (w *writer) flush(ctx context.Context) error {
	w.mu.Lock()
	added := w.added
	w.mu.Unlock()
	if err := w.attempted.wait(ctx, added); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// run writes updates until the context is done. Then it makes a last attempt.
func (w *writer) run(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if w.write() != nil {
			retry = time.After(retryWrite)
		}
		select {
		case <-w.more:
		case <-retry:
		case <-ctx.Done():
			_ = w.write() // already logged
			return
		}
	}
}

// write writes everything added so far.
func (w *writer) write() error {
	w.mu.Lock()
	update, n, added := w.next, w.note, w.added
	if added == w.attempted.get() && w.failed == nil {
		w.mu.Unlock()
		return nil
	}
	update.Note = n.encode()
	w.next, w.writing = bolt.Update{}, update
	w.mu.Unlock()
	err := w.replica.Follow(update)
	w.mu.Lock()
	w.writing = bolt.Update{}
	if err != nil {
		w.keep(update)
	}
	if (err == nil) != (w.failed == nil) {
		if err != nil {
			w.logger.Error("writing changes of the shared store to this gate's replica failed; "+
				"they are in force, and the gate will retry", zap.Error(err))
		} else {
			w.logger.Info("changes of the shared store are being written to the replica again")
		}
	}
	w.failed = err
	w.mu.Unlock()
	if err == nil {
		w.wrote(n, update)
	}
	w.attempted.reach(added)
	return err
}

// maxKeptUsage is the number of reports of tokens' usage to keep while the file can't be written.
// If there are more, the node drops them and reads the shared store again afterwards.
const maxKeptUsage = 100_000

// keep keeps an update that couldn't be written. The caller must hold w.mu.
func (w *writer) keep(update bolt.Update) {
	w.next = merge(update, w.next)
	if len(w.next.Usage) > maxKeptUsage {
		w.next.Usage, w.next.Totals, w.note.Revision = nil, nil, 0
	}
}

// merge returns an update that makes the changes of a and then those of b.
func merge(a, b bolt.Update) bolt.Update {
	a.Records = append(a.Records, b.Records...)
	a.Usage = append(a.Usage, b.Usage...)
	a.Totals = append(a.Totals, b.Totals...)
	a.ForgetNodes = append(a.ForgetNodes, b.ForgetNodes...)
	a.ForgetOwn = a.ForgetOwn || b.ForgetOwn
	a.Complete = a.Complete || b.Complete
	if b.Times.Recorded.After(a.Times.Recorded) {
		a.Times.Recorded = b.Times.Recorded
	}
	if !b.Times.Announced.IsZero() {
		a.Times.Announced = b.Times.Announced
	}
	if !b.Times.BackedUp.IsZero() {
		a.Times.BackedUp = b.Times.BackedUp
	}
	return a
}
