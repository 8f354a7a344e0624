package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// counterFile keeps the totals of the tokens in use where they outlive the process:
// in a file that is mapped into memory, so that the system keeps what a killed
// process has counted, and no request waits for a disk.
//
// Each process makes a file of its own, which takes the place of the one before
// once what is left in that is saved. The file is written before it is mapped: on a
// full disk a hole in it would end the process.
type counterFile struct {
	path string
	// leftover is what a killed process has counted and not saved, if it can't be
	// saved now.
	leftover atomic.Pointer[map[tokenstore.ID]tokenstore.Usage]
	// unread says that there is a file whose totals are missing in what is counted.
	unread atomic.Bool
	// room says that there may be free slots.
	room atomic.Bool
	// broken says that the mapped memory can't be written.
	broken atomic.Bool

	mu       sync.Mutex
	file     *os.File // nil until it is made
	identity fs.FileInfo
	length   int64
	free     []uint32
	mappings *mappings
	// untold is an error that tend has returned to nobody who tells it.
	untold error
	closed bool
}

// mappings are the parts of the file that are mapped.
type mappings struct{ parts atomic.Pointer[[][]byte] }

// slotsPerPart is how many slots a part has.
const slotsPerPart = partLength / slotLength

// slot returns a slot by its number; the first is the file's header.
func (m *mappings) slot(number uint32) *slot {
	part := (*m.parts.Load())[number/slotsPerPart]
	return slotAt(part[number%slotsPerPart*slotLength:])
}

// openCounters saves what a killed process has left and makes a new file. If it
// can't, the store does without until tend can.
func openCounters(b *Backend, path string) *counterFile {
	f := &counterFile{path: path, mappings: new(mappings)}
	// Who counts may do so after the store was closed: the memory is given back when
	// nobody can any more.
	runtime.AddCleanup(f, (*mappings).unmap, f.mappings)
	f.untold = f.tend(b)
	return f
}

// TendCounters implements tokenstore.Backend.
func (b *Backend) TendCounters() error {
	f := b.counters
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.untold; err != nil {
		f.untold = nil
		return err
	}
	return f.tend(b)
}

// tend makes the file, or more room in it, if that is needed. The lock is held.
func (f *counterFile) tend(b *Backend) error {
	switch {
	case !canMap || f.closed:
		return nil
	case f.broken.Load():
		return fmt.Errorf("the counters file %s can't be written: something has cut it off or its disk has failed; reload Caddy with another store, or restart it, when that is mended", f.path)
	case f.file == nil:
		return f.begin(b)
	}
	if f.moved() {
		return fmt.Errorf("the counters file %s was moved away or replaced while in use; restart Caddy", f.path)
	}
	if len(f.free) > 0 {
		return nil
	}
	return f.grow()
}

// moved says whether the file is no longer at its path.
func (f *counterFile) moved() bool {
	now, err := os.Stat(f.path)
	return err != nil || !os.SameFile(now, f.identity)
}

// begin saves what a killed process has left and makes a new file.
func (f *counterFile) begin(b *Backend) error {
	left, damaged, err := readCounters(f.path)
	if err != nil {
		f.unread.Store(true)
		return unreadError(f.path, err)
	}
	if f.unread.Load() && len(left)+damaged > 0 {
		// What has been counted since is in memory, without it.
		return fmt.Errorf("%w: the counters file %s can be read now; restart Caddy, which then adds what it holds", tokenstore.ErrCountsUnread, f.path)
	}
	if err := b.saveLeftover(left); err != nil {
		if kept, keptErr := b.hasUnread(); kept || keptErr != nil {
			f.unread.Store(true)
		} else {
			f.leftover.Store(&left)
		}
		return fmt.Errorf("what the process before has counted can't be saved yet: %w", err)
	}
	f.leftover.Store(nil)
	f.unread.Store(false)
	if err := f.create(); err != nil {
		return fmt.Errorf("making the counters file: %w", err)
	}
	if damaged > 0 {
		return fmt.Errorf("%d totals in the counters file of the process before were damaged: what it counted for them in its last seconds is lost", damaged)
	}
	return nil
}

// leftoverChunk is how many tokens' totals one transaction saves.
const leftoverChunk = 1000

func (b *Backend) saveLeftover(left map[tokenstore.ID]tokenstore.Usage) error {
	ids := make([]tokenstore.ID, 0, len(left))
	for id := range left {
		ids = append(ids, id)
	}
	for len(ids) > 0 {
		chunk := ids[:min(leftoverChunk, len(ids))]
		err := b.update(func(tx *bbolt.Tx) error {
			for _, id := range chunk {
				if err := saveLeft(tx, id, left[id]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ids = ids[len(chunk):]
	}
	return b.forgetUnread()
}

// withLeftover adds what a killed process has counted and couldn't be saved yet.
func (f *counterFile) withLeftover(used tokenstore.UsageOf) tokenstore.UsageOf {
	if left := f.leftover.Load(); left != nil {
		return used.Beyond((*left)[used.ID])
	}
	return used
}

// partLength is how much the file grows by, in bytes. A page of any system divides
// it.
const partLength = 1 << 18

// create makes the file anew, in place of the one before.
func (f *counterFile) create() error {
	// The store's file is locked, so nobody else is making one.
	drafts, _ := filepath.Glob(f.path + ".new-*") // no bad pattern: what is in doubt is left
	for _, draft := range drafts {
		_ = os.Remove(draft)
	}
	file, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".new-*") // with mode 0600
	if err != nil {
		return err
	}
	part := make([]byte, partLength)
	copy(part, countersHeader())
	_, err = file.Write(part)
	if err == nil {
		// A file without content after a power cut would have to be looked into.
		err = file.Sync()
	}
	if err == nil {
		err = f.mapPart(file, 0, 1)
	}
	if err == nil {
		err = os.Rename(file.Name(), f.path)
	}
	if err == nil {
		f.identity, err = file.Stat()
	}
	if err != nil {
		_ = os.Remove(file.Name())
		f.free = nil
		return errors.Join(err, file.Close())
	}
	f.file, f.length = file, partLength
	f.room.Store(true)
	return syncDir(filepath.Dir(f.path))
}

// grow makes room at the end of the file. What it writes waits for no disk. The lock
// is held.
func (f *counterFile) grow() error {
	_, err := f.file.WriteAt(make([]byte, partLength), f.length)
	if err == nil {
		err = f.mapPart(f.file, f.length, 0)
	}
	f.room.Store(err == nil)
	if err != nil {
		return fmt.Errorf("making room in the counters file: %w", err)
	}
	f.length += partLength
	return nil
}

// mapPart maps a part of the file and makes its slots free, but for the first ones.
func (f *counterFile) mapPart(file *os.File, offset int64, first uint32) error {
	part, err := mapFile(file, offset, partLength)
	if err != nil {
		return err
	}
	var parts [][]byte
	if mapped := f.mappings.parts.Load(); mapped != nil {
		parts = *mapped
	}
	parts = append(slices.Clip(parts), part)
	f.mappings.parts.Store(&parts)
	begin := uint32(len(parts)-1) * slotsPerPart
	for i := uint32(slotsPerPart); i > first; i-- {
		f.free = append(f.free, begin+i-1)
	}
	return nil
}

// Counters implements tokenstore.Backend.
func (b *Backend) Counters() tokenstore.Counters {
	if !canMap {
		return nil
	}
	return b.counters
}

// Take implements tokenstore.Counters.
func (f *counterFile) Take(id tokenstore.ID, totals tokenstore.Usage) uint32 {
	if f.broken.Load() || !f.room.Load() {
		return 0
	}
	number := f.takeFree()
	if number != 0 {
		f.guarded(func() { f.mappings.slot(number).begin(id, totals) })
	}
	return number
}

func (f *counterFile) takeFree() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.free) == 0 && (f.closed || f.file == nil || f.grow() != nil) {
		return 0 // tend tells why
	}
	last := len(f.free) - 1
	number := f.free[last]
	f.free = f.free[:last]
	return number
}

// Free implements tokenstore.Counters.
func (f *counterFile) Free(number uint32) {
	f.guarded(f.mappings.slot(number).clear)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, number)
}

// close removes the file unless something in it isn't saved. The store's file is
// still locked.
func (f *counterFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.room.Store(false)
	if f.file == nil {
		return nil
	}
	if f.moved() {
		return f.file.Close()
	}
	left, damaged, err := readCounters(f.path)
	if err == nil && len(left) == 0 && damaged == 0 {
		err = os.Remove(f.path)
	}
	return errors.Join(err, f.file.Close())
}
