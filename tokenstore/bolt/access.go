package bolt

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// bbolt maps the file into memory and believes what it reads. The file was verified when
// it was opened, but it can be truncated or overwritten later, or its disk can return
// something else. Where it has been truncated the processor faults, and where it is
// damaged bbolt panics. Both become errors here. A panic while bbolt begins or ends a
// transaction leaves a lock of its own held, on which the next call would wait
// permanently, so the file's size is looked at first, and after such a panic bbolt isn't
// called again.

// errDamage is in the error of a call that met damage.
var errDamage = errors.New("the file is damaged")

// view runs fn in a read transaction, of what is on disk.
func (b *Backend) view(fn func(*bbolt.Tx) error) error {
	if h := b.current.Load(); h.unsettled.Load() {
		if err := b.settle(); err != nil {
			return err
		}
	}
	return b.viewNow(fn)
}

// viewNow runs fn in a read transaction. The last change that failed may be visible.
func (b *Backend) viewNow(fn func(*bbolt.Tx) error) error {
	for {
		h := b.current.Load()
		err := b.viewOf(h, fn)
		if b.current.Load() != h && (errors.Is(err, tokenstore.ErrClosed) || errors.Is(err, errDamage)) &&
			!b.closed.Load() {
			continue // the file was rebuilt meanwhile
		}
		if errors.Is(err, errDamage) {
			b.repairLater(h, err)
		}
		return err
	}
}

func (b *Backend) viewOf(h *handle, fn func(*bbolt.Tx) error) (err error) {
	if err := b.check(h); err != nil {
		return err
	}
	var tx *bbolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = h.damaged(tx, r)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	before := h.transaction.Load()
	if tx, err = h.db.Begin(false); err != nil {
		return openError(err)
	}
	defer func() { _ = tx.Rollback() }()
	// A transaction that is being committed may be visible already.
	if id := uint64(tx.ID()); id < before || id > h.transaction.Load()+1 {
		return b.overwritten(h, before, id)
	}
	return fn(tx)
}

// update runs fn in a write transaction, in a file that is on disk as far as it can be
// read. After an error the file may hold what fn did or not; then nothing more is written
// until that is known. fn may be called again, if the file had to be rebuilt.
func (b *Backend) update(fn func(*bbolt.Tx) error) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	h := b.current.Load()
	err := b.updateOf(h, fn)
	if errors.Is(err, errDamage) && b.repairNow(h, err) {
		err = b.updateOf(b.current.Load(), fn)
	}
	if !errors.Is(err, tokenstore.ErrClosed) {
		b.health.setWrite(err)
	}
	return err
}

func (b *Backend) updateOf(h *handle, fn func(*bbolt.Tx) error) (err error) {
	if err := b.check(h); err != nil {
		return err
	}
	if err := b.checkPlace(h); err != nil {
		return err
	}
	if h.unsettled.Load() {
		if err := h.settle(); err != nil {
			return err
		}
	}
	var tx *bbolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = h.damaged(tx, r)
		}
		if err != nil {
			h.unsettle()
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var sequence uint64
	err = h.db.Update(func(t *bbolt.Tx) error {
		tx = t
		if id := uint64(t.ID()); id != h.transaction.Load()+1 {
			return b.overwritten(h, h.transaction.Load(), id-1)
		}
		if err := fn(t); err != nil {
			return err
		}
		if sequence, err = t.Bucket(metaBucket).NextSequence(); err != nil {
			return err
		}
		return putTransaction(t)
	})
	if err != nil {
		return openError(err)
	}
	b.sequence.Store(sequence)
	return h.measure()
}

// unsettle notes whether a change that failed may have reached the file.
func (h *handle) unsettle() {
	size, err := fileSize(h.file, h.fd)
	if err == nil {
		var meta boltfile.Meta
		if meta, err = boltfile.ReadMeta(h.file, size); err == nil && meta == h.meta {
			return
		}
	}
	h.unsettled.Store(true)
}

// settle makes sure that the last change is on disk or not visible.
func (b *Backend) settle() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	h := b.current.Load()
	if !h.unsettled.Load() {
		return nil
	}
	if err := b.check(h); err != nil {
		return err
	}
	return h.settle()
}

// settle writes the newest meta page again and waits for the disk. What a transaction
// wrote before its meta page was on disk then; so the file is on disk as it can be read.
// Without this, the next transaction could overwrite pages that the meta page on disk
// still needs.
func (h *handle) settle() error {
	size, err := fileSize(h.file, h.fd)
	if err != nil {
		return err
	}
	meta, err := boltfile.ReadMeta(h.file, size)
	if err != nil {
		return fileError(err)
	}
	if err := errors.Join(meta.Rewrite(h.file), h.file.Sync()); err != nil {
		return fmt.Errorf("%w: the last change could not be written to disk: %w", tokenstore.ErrUnavailable, err)
	}
	h.unsettled.Store(false)
	return h.measure()
}

// check returns why bbolt must not be called.
func (b *Backend) check(h *handle) error {
	used := h.size.Load() // first: a commit may make the file longer at any moment
	size, err := fileSize(h.file, h.fd)
	switch replaced := h.replaced.Load(); {
	case b.closed.Load() || b.current.Load() != h:
		return tokenstore.ErrClosed // the size may be another file's
	case replaced != nil:
		return *replaced
	case h.stuck.Load():
		return fmt.Errorf("%w: %w and could not be rebuilt; restore a backup of %s and restart Caddy",
			tokenstore.ErrUnavailable, errDamage, b.path)
	case err != nil:
		return fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	case size < used:
		return fmt.Errorf(
			"%w: the file %s was truncated while in use, to %d of %d bytes; stop Caddy, restore a backup with caddy api-token restore, and start Caddy",
			tokenstore.ErrReplaced, b.path, size, used)
	}
	return nil
}

// checkPlace reports an error unless the file is still the one at its path, with the content
// that was last written: what is written into a file that was moved away would be lost at
// the next start.
func (b *Backend) checkPlace(h *handle) error {
	if now, err := os.Stat(b.path); err != nil || !os.SameFile(now, h.identity) {
		return fmt.Errorf(
			"%w: the file at %s was moved away or replaced while in use; put it back, or restart Caddy to use the new one",
			tokenstore.ErrReplaced, b.path)
	}
	size, err := fileSize(h.file, h.fd)
	if err != nil {
		return fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	}
	meta, err := boltfile.ReadMeta(h.file, size)
	switch {
	case err != nil:
		return b.overwritten(h, h.transaction.Load(), 0)
	case meta != h.meta && (!h.unsettled.Load() || meta.Transaction() != h.meta.Transaction()+1):
		return b.overwritten(h, h.transaction.Load(), meta.Transaction())
	}
	return nil
}

// overwritten notes that the file has another content than was written to it, and returns
// the error for this and every later call: what bbolt knows of the file no longer holds.
func (b *Backend) overwritten(h *handle, want, got uint64) error {
	found := "its content can't be read"
	if got != 0 {
		found = fmt.Sprintf("its content is that of transaction %d", got)
	}
	err := fmt.Errorf(
		"%w: the file %s was overwritten while in use: the content of transaction %d was expected, and %s; stop Caddy, restore a backup with caddy api-token restore, and start Caddy",
		tokenstore.ErrReplaced, b.path, want, found)
	h.replaced.CompareAndSwap(nil, &err)
	return *h.replaced.Load()
}

// damaged returns the error of a panic in a transaction, and notes if bbolt didn't
// come to the transaction's end.
func (h *handle) damaged(tx *bbolt.Tx, r any) error {
	if tx == nil || tx.DB() != nil {
		h.stuck.Store(true)
	}
	return damage(r)
}

func damage(r any) error {
	return fmt.Errorf("%w: %w (%v); restore a backup", tokenstore.ErrUnavailable, errDamage, r)
}

func openError(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return tokenstore.ErrClosed
	}
	return err
}
