package bolt

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mollygate/mollygate/tokenstore"
)

// bbolt maps the file into memory and believes what it reads. Where the file has
// been truncated the processor faults, and where it is damaged bbolt panics. Both
// become errors here. A panic while bbolt begins or ends a transaction leaves a
// lock of its own held, on which the next call would wait for ever, so the file's
// size is looked at first, and after such a panic bbolt isn't called again.

// view runs fn in a read transaction.
func (b *Backend) view(fn func(*bbolt.Tx) error) (err error) {
	if err := b.check(); err != nil {
		return err
	}
	var tx *bbolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = b.damaged(tx, r)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if tx, err = b.db.Begin(false); err != nil {
		return openError(err)
	}
	defer func() { _ = tx.Rollback() }()
	return fn(tx)
}

// update runs fn in a write transaction. After an error the file may hold what fn
// did or not.
func (b *Backend) update(fn func(*bbolt.Tx) error) (err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := b.check(); err != nil {
		return err
	}
	if err := b.checkPlace(); err != nil {
		return err
	}
	var tx *bbolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = b.damaged(tx, r)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	err = b.db.Update(func(t *bbolt.Tx) error {
		tx = t
		return fn(t)
	})
	if err != nil {
		return openError(err)
	}
	tx = nil // measure's is another
	return b.measure()
}

// measure notes how much of the file is in use.
func (b *Backend) measure() error {
	return openError(b.db.View(func(tx *bbolt.Tx) error {
		b.size.Store(tx.Size())
		return nil
	}))
}

// check says why bbolt must not be called.
func (b *Backend) check() error {
	used := b.size.Load() // first: a commit may make the file longer at any moment
	size, err := fileSize(b.file, b.fd)
	switch {
	case b.closed.Load():
		return tokenstore.ErrClosed // the size may be another file's
	case b.stuck.Load():
		return fmt.Errorf("%w: the file %s is damaged; restore a backup and restart Caddy", tokenstore.ErrUnavailable, b.path)
	case err != nil:
		return fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	case size < used:
		return fmt.Errorf("%w: the file %s was truncated while in use, to %d of %d bytes; restore a backup and restart Caddy",
			tokenstore.ErrUnavailable, b.path, size, used)
	}
	return nil
}

// checkPlace says whether the file is still the one at its path: what is written
// into one that was moved away would be lost at the next start.
func (b *Backend) checkPlace() error {
	if now, err := os.Stat(b.path); err != nil || !os.SameFile(now, b.identity) {
		return fmt.Errorf("%w: the file at %s was moved away or replaced while in use; put it back, or restart Caddy to use the new one",
			tokenstore.ErrUnavailable, b.path)
	}
	return nil
}

// damaged returns the error of a panic in a transaction, and notes if bbolt didn't
// come to the transaction's end.
func (b *Backend) damaged(tx *bbolt.Tx, r any) error {
	if tx == nil || tx.DB() != nil {
		b.stuck.Store(true)
	}
	return damage(r)
}

func damage(r any) error {
	return fmt.Errorf("%w: the file is damaged (%v); restore a backup", tokenstore.ErrUnavailable, r)
}

func openError(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return tokenstore.ErrClosed
	}
	return err
}
