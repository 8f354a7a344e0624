package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt/boltfile"
)

// damagedSuffix and the time are appended to the store's name to form a damaged file's name.
const damagedSuffix = ".damaged-"

// repairLater starts a rebuild of the current file after a reader has found damage.
func (b *Backend) repairLater(h *handle, cause error) {
	if h.repairs.Swap(true) {
		return
	}
	b.background.start(func() {
		b.writing.Lock()
		defer b.writing.Unlock()
		if b.current.Load() == h && !b.closed.Load() {
			b.repairNow(h, cause)
		}
	})
}

// repairRecords rebuilds the current file because of damaged records.
func (b *Backend) repairRecords(h *handle, faults []string) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.current.Load() == h && b.check(h) == nil {
		b.rebuildCurrent(h, faults, true)
	}
}

// repairNow rebuilds the current file after a call has found damage, if its pages are damaged
// or bbolt can no longer use it. It reports whether it rebuilt the file. The caller must hold
// b.writing.
func (b *Backend) repairNow(h *handle, cause error) bool {
	if h.repaired {
		return false
	}
	h.repaired = true
	return b.rebuildCurrent(h, []string{cause.Error()}, h.stuck.Load())
}

// rebuildCurrent rebuilds and replaces the current file if its pages are damaged or force is
// set. It reports whether it rebuilt the file. The caller must hold b.writing.
func (b *Backend) rebuildCurrent(h *handle, faults []string, force bool) bool {
	structure, found, err := b.verifyCurrent(h)
	if err == nil && len(found) == 0 && !force {
		return false
	}
	if err == nil {
		var next *handle
		if next, err = b.replaceWith(structure, append(faults, found...), true); err == nil {
			b.serve(h, next)
			return true
		}
	}
	b.health.setUnrepaired(err)
	return false
}

// verifyCurrent verifies all pages of the current file. The caller must hold b.writing.
func (b *Backend) verifyCurrent(h *handle) (*boltfile.Structure, []string, error) {
	if err := h.replaced.Load(); err != nil {
		return nil, nil, *err
	}
	if err := b.checkPath(h); err != nil {
		return nil, nil, err
	}
	structure, err := verify(h.file)
	if err != nil {
		return nil, nil, err
	}
	return structure, b.format.structureFaults(structure), nil
}

// serve makes next the current file. The caller must hold b.writing.
func (b *Backend) serve(old, next *handle) {
	b.current.Store(next)
	// Current readers continue to use the old file, and close waits for them.
	b.background.start(func() { _ = old.close() })
}

// Compact implements tokenstore.Backend. It rebuilds the file without free pages and returns
// the file's size in bytes before and after. Changes wait until the rebuild is done, which
// takes seconds for a million tokens; requests don't wait.
func (b *Backend) Compact() (before, after int64, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	h := b.current.Load()
	if err := b.check(h); err != nil {
		return 0, 0, err
	}
	if err := h.resync(); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	}
	structure, faults, err := b.verifyCurrent(h)
	if err != nil {
		return 0, 0, err
	}
	next, err := b.replaceWith(structure, faults, len(faults) > 0)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: rebuilding the file: %w", tokenstore.ErrUnavailable, err)
	}
	before, after = fileLength(h.file), fileLength(next.file)
	b.serve(h, next)
	return before, after, nil
}

func fileLength(file *os.File) int64 {
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// replaceWith replaces the store's file with one rebuilt from structure, and opens it. If
// damaged is set, the old file is kept next to it.
func (b *Backend) replaceWith(structure *boltfile.Structure, faults []string, damaged bool) (h *handle, err error) {
	path, err := realPath(b.path)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	draft, lost, err := rebuildNextTo(path, structure, b.format, damaged)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(draft) }() // unless it has been renamed
	file, err := os.OpenFile(draft, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lockFile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if h, err = newHandle(file); err != nil {
		return nil, err
	}
	var kept string
	if damaged {
		kept, err = preserve(path, damagedSuffix, now)
	}
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	if len(faults) > 0 {
		b.health.addRepair(tokenstore.Repair{Time: now, Faults: faults, Lost: lost.Records, Kept: kept},
			len(lost.Tokens))
	}
	return h, nil
}

// rebuildNextTo rebuilds a file into a draft in the directory of the store's file at path,
// with that file's owner and mode. See rebuild.
func rebuildNextTo(path string, structure *boltfile.Structure, f format, damaged bool) (draft string, lost Losses,
	err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", Losses{}, err
	}
	draft = file.Name()
	if err = errors.Join(copyAccess(path, file), file.Close()); err == nil {
		lost, err = rebuild(structure, draft, f, damaged)
	}
	if err != nil {
		_ = os.Remove(draft)
		return "", Losses{}, err
	}
	return draft, lost, nil
}

// copyAccess gives a new file the same owner and mode as the file at path, if there is one.
func copyAccess(path string, to *os.File) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := to.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	return copyOwner(info, to)
}

// preserve gives the file at path a second name in the same directory. The file stays at path
// as well, so the store is never missing.
func preserve(path, suffix string, now time.Time) (kept string, err error) {
	name := path + suffix + now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		kept = name
		if n > 1 {
			kept = fmt.Sprintf("%s-%d", name, n)
		}
		err := os.Link(path, kept)
		switch {
		case err == nil:
			return kept, nil
		case !errors.Is(err, fs.ErrExist):
			return kept, copyTo(path, kept) // the file system has no hard links
		}
	}
}

// copyTo copies the file at path to a new file.
func copyTo(path, name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	return errors.Join(copyFile(file, path), file.Sync(), file.Close())
}
