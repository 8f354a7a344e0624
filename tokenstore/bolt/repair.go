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

// damagedSuffix is what the name of a damaged file that was rebuilt has more than the
// store's, before the time.
const damagedSuffix = ".damaged-"

// repairLater rebuilds the file that is served, after a call that only read has met damage.
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

// repairRecords rebuilds the file that is served, because records are damaged.
func (b *Backend) repairRecords(h *handle, faults []string) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.current.Load() == h && b.check(h) == nil {
		b.rebuildCurrent(h, faults, true)
	}
}

// repairNow rebuilds the file that is served, if a call that has failed met damage: if the
// file is damaged, or bbolt can't go on with it. writing is held.
func (b *Backend) repairNow(h *handle, cause error) bool {
	if h.repaired {
		return false
	}
	h.repaired = true
	return b.rebuildCurrent(h, []string{cause.Error()}, h.stuck.Load())
}

// rebuildCurrent puts a rebuilt file in the place of the one that is served, if its pages
// are damaged or anyway is set. writing is held.
func (b *Backend) rebuildCurrent(h *handle, faults []string, anyway bool) bool {
	structure, found, err := b.verifyCurrent(h)
	if err == nil && len(found) == 0 && !anyway {
		return false
	}
	if err == nil {
		var next *handle
		if next, err = b.replaceBy(structure, append(faults, found...), true); err == nil {
			b.serve(h, next)
			return true
		}
	}
	b.health.setUnrepaired(err)
	return false
}

// verifyCurrent reads all pages of the file that is served. writing is held.
func (b *Backend) verifyCurrent(h *handle) (*boltfile.Structure, []string, error) {
	if err := h.replaced.Load(); err != nil {
		return nil, nil, *err
	}
	if err := b.checkPlace(h); err != nil {
		return nil, nil, err
	}
	structure, err := verify(h.file)
	if err != nil {
		return nil, nil, err
	}
	return structure, structureFaults(structure), nil
}

// serve lets calls use another file from now on. writing is held.
func (b *Backend) serve(old, next *handle) {
	b.current.Store(next)
	// Readers that began before read on in the old file, and closing waits for them.
	b.background.start(func() { _ = old.close() })
}

// Compact implements tokenstore.Backend. It rebuilds the file, so that it is no longer than what it holds, and returns its
// length in bytes before and after. Changes wait meanwhile, which takes seconds for a
// million tokens; requests don't.
func (b *Backend) Compact() (before, after int64, err error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	h := b.current.Load()
	if err := b.check(h); err != nil {
		return 0, 0, err
	}
	if err := h.settle(); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", tokenstore.ErrUnavailable, err)
	}
	structure, faults, err := b.verifyCurrent(h)
	if err != nil {
		return 0, 0, err
	}
	next, err := b.replaceBy(structure, faults, len(faults) > 0)
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

// replaceBy rebuilds a file, opens the new one and puts it in the place of the store's. The
// old one is kept next to it if keep is set.
func (b *Backend) replaceBy(structure *boltfile.Structure, faults []string, keep bool) (h *handle, err error) {
	path, err := realPath(b.path)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	draft, lost, err := rebuildNextTo(path, structure)
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
	if keep {
		kept, err = keepAside(path, damagedSuffix, now)
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

// rebuildNextTo rebuilds a file into a new one next to the store's, with the owner and mode
// of the store's file.
func rebuildNextTo(path string, structure *boltfile.Structure) (draft string, lost Losses, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", Losses{}, err
	}
	draft = file.Name()
	if err = errors.Join(copyAccess(path, file), file.Close()); err == nil {
		lost, err = rebuild(structure, draft)
	}
	if err != nil {
		_ = os.Remove(draft)
		return "", Losses{}, err
	}
	return draft, lost, nil
}

// copyAccess gives a new file the owner and the mode of the one that it replaces.
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

// keepAside gives the file at path another name, next to it, and leaves it at path too, so
// that the store is never missing.
func keepAside(path, suffix string, now time.Time) (kept string, err error) {
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
			return kept, copyTo(path, kept) // a file system without links
		}
	}
}

// copyTo copies a file to a new one.
func copyTo(path, name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	return errors.Join(copyFile(file, path), file.Sync(), file.Close())
}
