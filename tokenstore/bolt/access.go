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

// bbolt maps the file into memory and trusts what it reads. The file is verified when it is
// opened, but it can later be truncated or overwritten, or the disk can return wrong data.
// Reading past the end of a truncated file causes a memory fault, and damage makes bbolt
// panic; the functions below turn both into errors. If bbolt panics while it begins or ends a
// transaction, it leaves a lock held, and the next call would deadlock. The functions
// therefore check the file's size first, and once bbolt has left a lock held, they never call
// it again.

// errDamage is wrapped by the errors of calls that find damage.
var errDamage = errors.New("the file is damaged")

// view runs fn in a read transaction that sees only data already on disk.
func (b *Backend) view(fn func(*bbolt.Tx) error) error {
	if h := b.current.Load(); h.uncertain.Load() {
		if err := b.resync(); err != nil {
			return err
		}
	}
	return b.viewNow(fn)
}

// viewNow runs fn in a read transaction that may see a change whose commit failed. It doesn't
// wait for the disk.
func (b *Backend) viewNow(fn func(*bbolt.Tx) error) error {
	for {
		h := b.current.Load()
		err := b.viewOf(h, fn)
		if b.current.Load() != h && (errors.Is(err, tokenstore.ErrClosed) || errors.Is(err, errDamage)) &&
			!b.closed.Load() {
			continue // the file was rebuilt in the meantime
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
	// The transaction being committed may already be visible.
	if id := uint64(tx.ID()); id < before || id > h.transaction.Load()+1 {
		return b.overwritten(h, before, id)
	}
	return fn(tx)
}

// update makes sure that the last transaction is on disk, and then runs fn in a write
// transaction. After an error, the outcome is uncertain, and update writes nothing more until
// the outcome is known. If the file has to be rebuilt, update calls fn again.
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
	if err := b.checkPath(h); err != nil {
		return err
	}
	if h.uncertain.Load() {
		if err := h.resync(); err != nil {
			return err
		}
	}
	var tx *bbolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = h.damaged(tx, r)
		}
		if err != nil {
			h.markUncertain()
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
	return h.readMeta()
}

// markUncertain sets uncertain unless the failed transaction certainly didn't reach the file.
func (h *handle) markUncertain() {
	size, err := fileSize(h.file, h.fd)
	if err == nil {
		var meta boltfile.Meta
		if meta, err = boltfile.ReadMeta(h.file, size); err == nil && meta == h.meta {
			return
		}
	}
	h.uncertain.Store(true)
}

// resync makes sure that the last change is either on disk or not visible.
func (b *Backend) resync() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	h := b.current.Load()
	if !h.uncertain.Load() {
		return nil
	}
	if err := b.check(h); err != nil {
		return err
	}
	return h.resync()
}

// resync rewrites the newest meta page and syncs the file. A transaction syncs its other pages
// before it writes its meta page, so after resync, all readable data is on disk. Without this
// step, the next transaction could overwrite pages that the meta page on disk still refers to.
func (h *handle) resync() error {
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
	h.uncertain.Store(false)
	return h.readMeta()
}

// check returns an error if bbolt must not be called.
func (b *Backend) check(h *handle) error {
	used := h.size.Load() // loaded first, because a commit can extend the file at any time
	size, err := fileSize(h.file, h.fd)
	switch replaced := h.replaced.Load(); {
	case b.closed.Load() || b.current.Load() != h:
		return tokenstore.ErrClosed // the size may belong to another file
	case replaced != nil:
		return *replaced
	case h.stuck.Load():
		return fmt.Errorf("%w: %w and could not be rebuilt: %s; %s",
			tokenstore.ErrUnavailable, errDamage, b.path, b.format.replaceAdvice())
	case err != nil:
		return fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	case size < used:
		return fmt.Errorf(
			"%w: the file %s was truncated while in use, to %d of %d bytes; %s",
			tokenstore.ErrReplaced, b.path, size, used, b.format.replaceAdvice())
	}
	return nil
}

// checkPath returns an error unless the file is still at the store's path and still has the
// content last written. Changes to a file that was moved away would be lost at the next start.
func (b *Backend) checkPath(h *handle) error {
	if now, err := os.Stat(b.path); err != nil || !os.SameFile(now, h.identity) {
		return fmt.Errorf(
			"%w: the file at %s was moved away or replaced while in use; "+
				"put it back, or restart Caddy to use the new one",
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
	case meta != h.meta && (!h.uncertain.Load() || meta.Transaction() != h.meta.Transaction()+1):
		return b.overwritten(h, h.transaction.Load(), meta.Transaction())
	}
	return nil
}

// replaceAdvice returns advice on replacing a file that can no longer be used.
func (f format) replaceAdvice() string {
	if f == replicaFormat {
		return "stop Caddy, move the file and its journal away, and start Caddy, which copies the shared store again"
	}
	return "stop Caddy, restore a backup with caddy api-token restore, and start Caddy"
}

// overwritten records that the file's content was replaced. It returns the error for this and
// all later calls, because the data that bbolt holds in memory no longer matches the file.
func (b *Backend) overwritten(h *handle, want, got uint64) error {
	found := "can't be read"
	if got != 0 {
		found = fmt.Sprintf("is from transaction %d", got)
	}
	err := fmt.Errorf(
		"%w: the file %s was overwritten while in use: its content should be from transaction %d but %s; %s",
		tokenstore.ErrReplaced, b.path, want, found, b.format.replaceAdvice())
	h.replaced.CompareAndSwap(nil, &err)
	return *h.replaced.Load()
}

// damaged returns the error for a panic in a transaction. It sets stuck if bbolt didn't end
// the transaction.
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
