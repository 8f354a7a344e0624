package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/mollygate/mollygate/tokenstore"
)

// A counters file is a header and slots, all of one length and in the machine's byte
// order. A slot has a token's id with a checksum, its totals, and those of them that
// are in the store already.
//
// A checksum over numbers that many requests change at once can't be kept, so
// numbers are kept as multiples of one that no change of a single bit turns into
// another (an AN code; D. T. Brown, "Error detecting and correcting binary codes for
// arithmetic operations", 1960).
const (
	slotLength = 64

	countersMagic   = "mollygate counts"
	countersVersion = 1

	codeFactor = 251
	maxCoded   = (1<<64 - 1) / codeFactor
)

// slot is 64 bytes, a cache line, so that tokens don't hinder each other.
type slot struct {
	id  tokenstore.ID
	sum uint32

	allowed, denied           atomic.Uint64
	lastUse                   atomic.Uint64 // in microseconds since 1970
	savedAllowed, savedDenied atomic.Uint64
	savedLastUse              atomic.Uint64
}

func slotAt(memory []byte) *slot {
	return (*slot)(unsafe.Pointer(unsafe.SliceData(memory[:slotLength]))) //nolint:gosec // memory of its own, aligned
}

func slotSum(id tokenstore.ID) uint32 { return ^crc32.ChecksumIEEE(id[:]) }

func code(n uint64) uint64 { return min(n, maxCoded) * codeFactor }

func decode(coded uint64) (n uint64, ok bool) { return coded / codeFactor, coded%codeFactor == 0 }

// raiseCoded sets a coded number to n unless it is higher already.
func raiseCoded(number *atomic.Uint64, n uint64) {
	coded := code(n)
	for {
		old := number.Load()
		if coded <= old || number.CompareAndSwap(old, coded) {
			return
		}
	}
}

// begin makes the slot a token's. The checksum comes last: a slot without it is
// nobody's.
func (s *slot) begin(id tokenstore.ID, totals tokenstore.Usage) {
	s.id = id
	s.savedAllowed.Store(code(totals.Allowed))
	s.savedDenied.Store(code(totals.Denied))
	s.savedLastUse.Store(code(lastUse(totals)))
	s.lastUse.Store(code(lastUse(totals)))
	s.allowed.Store(code(totals.Allowed))
	s.denied.Store(code(totals.Denied))
	atomic.StoreUint32(&s.sum, slotSum(id))
}

func lastUse(u tokenstore.Usage) uint64 {
	if u.Last.Time.IsZero() {
		return 0
	}
	return uint64(max(u.Last.Time.UnixMicro(), 0))
}

func (s *slot) clear() { atomic.StoreUint32(&s.sum, 0) }

// Allowed implements tokenstore.Counters.
func (f *counterFile) Allowed(number uint32, total uint64, at int64) (noted bool) {
	if f.broken.Load() {
		return false
	}
	defer f.guard(debug.SetPanicOnFault(true))
	s := f.mappings.slot(number)
	raiseCoded(&s.allowed, total)
	raiseCoded(&s.lastUse, uint64(max(at, 0)))
	return true
}

// Denied implements tokenstore.Counters.
func (f *counterFile) Denied(number uint32, total uint64) {
	if f.broken.Load() {
		return
	}
	defer f.guard(debug.SetPanicOnFault(true))
	raiseCoded(&f.mappings.slot(number).denied, total)
}

// Saved implements tokenstore.Counters.
func (f *counterFile) Saved(number uint32, u tokenstore.Usage) {
	if f.broken.Load() {
		return
	}
	defer f.guard(debug.SetPanicOnFault(true))
	s := f.mappings.slot(number)
	raiseCoded(&s.savedAllowed, u.Allowed)
	raiseCoded(&s.savedDenied, u.Denied)
	raiseCoded(&s.savedLastUse, lastUse(u))
}

// guard is deferred where the mapped memory is written: what lies behind the end of
// a file that was cut off, or on a disk that is full after all, can't be.
func (f *counterFile) guard(old bool) {
	debug.SetPanicOnFault(old)
	if r := recover(); r != nil {
		f.broken.Store(true)
	}
}

func (f *counterFile) guarded(write func()) {
	defer f.guard(debug.SetPanicOnFault(true))
	write()
}

func countersHeader() []byte {
	header := make([]byte, slotLength)
	n := copy(header, countersMagic)
	binary.NativeEndian.PutUint32(header[n:], countersVersion)
	binary.NativeEndian.PutUint32(header[n+4:], slotLength)
	return header
}

// readCounters returns the totals in a file that aren't saved, and how many slots
// are damaged. A missing file has none.
func readCounters(path string) (left map[tokenstore.ID]tokenstore.Usage, damaged int, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, fmt.Errorf("the counters file %s is not a regular file: move it away", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	header := make([]byte, slotLength)
	if n, err := io.ReadFull(file, header); err != nil || !bytes.Equal(header, countersHeader()) {
		return nil, 0, fmt.Errorf("the counters file %s (%d bytes of its header) is damaged, or of another version or machine: "+
			"move it away, which loses what was counted in the seconds before Caddy was killed", path, n)
	}
	left = make(map[tokenstore.ID]tokenstore.Usage)
	memory := make([]uint64, partLength/8)                                              // for the alignment
	part := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(memory))), partLength) //nolint:gosec // the same memory
	for {
		n, err := io.ReadFull(file, part)
		for i := 0; i+slotLength <= n; i += slotLength {
			if !slotAt(part[i:]).unsaved(left) {
				damaged++
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return left, damaged, nil
		case err != nil:
			return nil, 0, fmt.Errorf("reading the counters file: %w", err)
		}
	}
}

// unsaved notes the slot's totals unless they are saved, and says whether they make
// sense. A token may have two slots.
func (s *slot) unsaved(left map[tokenstore.ID]tokenstore.Usage) bool {
	if s.sum == 0 {
		return true // nobody's
	}
	allowed, ok1 := decode(s.allowed.Load())
	denied, ok2 := decode(s.denied.Load())
	lastUse, ok3 := decode(s.lastUse.Load())
	if !ok1 || !ok2 || !ok3 || s.sum != slotSum(s.id) {
		return false
	}
	if s.allowed.Load() == s.savedAllowed.Load() && s.denied.Load() == s.savedDenied.Load() && s.lastUse.Load() == s.savedLastUse.Load() {
		return true
	}
	used := tokenstore.Usage{Allowed: allowed, Denied: denied}
	if lastUse > 0 {
		used.Last.Time = time.UnixMicro(int64(lastUse)).UTC()
	}
	left[s.id] = left[s.id].Larger(used)
	return true
}
