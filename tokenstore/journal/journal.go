// Package journal keeps the newest entries of a stream in memory and in a file. The file
// preserves them if the process is killed.
//
// An entry is a byte slice that only its writer and its reader interpret. A [Journal] consists
// of a fixed number of rings. A writer may append to any ring, so entries in different rings
// are unordered. An entry is in the file once [Writer.End] returns: the file is mapped into
// memory, so the operating system preserves everything a process has written, even if the
// process is then killed. No call waits for a disk, so a power failure may lose entries that
// were not yet written to disk.
//
// The owner reads each entry once with [Journal.Read], stores the result together with the
// [Position] up to which it has read, and then calls [Journal.Saved]. After a crash, [Replay]
// returns the entries after the stored position.
//
// The file can fail or disappear at any time. In that case entries exist only in memory, and
// [Journal.Problem] returns the reason; [Journal.Keep] creates a new file.
package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	// Rings is the number of rings. Writers on different processors rarely share one.
	Rings = 4
	// ringSize is the size of a ring in bytes.
	ringSize = 2 << 20

	// MaxEntry is the maximum length of an entry in bytes.
	MaxEntry = 4096
)

// Position records how far each ring has been written or read, in bytes since the journal was
// created.
type Position [Rings]uint64

// Journal holds entries until they are saved. All methods are safe for concurrent use,
// except that one goroutine at a time may call Read.
type Journal struct {
	rings [Rings]ring
	full  chan struct{}

	mu   sync.Mutex // guards the fields below
	file *file      // nil if there is none; every ring refers to the same file
	err  error      // from the last attempt to create the file
	mark uint64
}

// ring holds the newest entries from some of the writers. written, read and saved are counted
// in bytes since the journal was created; byte n is at index n modulo ringSize.
type ring struct {
	mu     sync.Mutex
	memory []byte
	file   *file // nil if there is none
	// offset is the ring's offset in the file.
	offset int64
	// overrun is set if unsaved entries have been overwritten in the file.
	overrun bool

	written, read, saved atomic.Uint64

	_ [64]byte // avoids false sharing
}

// An entry begins with a header: the CRC-32C of everything after the checksum, the length of
// the content, and the entry's position. The position distinguishes an entry from older
// entries that were at the same place in the ring. Entries begin at multiples of alignment, so
// there is always room for a header at the end of a ring.
const (
	headerSize = 16
	alignment  = 16

	// skipLength is the length stored in the header of an entry that only fills the rest of
	// the ring.
	skipLength = 1<<32 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// New returns an empty journal without a file.
func New() *Journal {
	j := &Journal{full: make(chan struct{}, 1), err: errNoFile}
	for i := range j.rings {
		j.rings[i].memory = make([]byte, ringSize)
		j.rings[i].offset = fileHeaderSize + int64(i)*ringSize
	}
	return j
}

var errNoFile = errors.New("the journal has no file")

// Full returns a channel that receives a value when a ring becomes half full of unsaved
// entries.
func (j *Journal) Full() <-chan struct{} { return j.full }

// Writer is an entry being written. Its ring is locked until End is called.
type Writer struct {
	// Bytes is the content of the entry. The caller must fill it before calling End.
	Bytes []byte

	journal *Journal
	ring    *ring
	at      uint64
}

// Begin reserves space for an entry of the given length, which must not exceed MaxEntry. It
// returns false if the ring is full of unread entries. In that case the caller must read the
// entries and try again.
func (j *Journal) Begin(length int) (Writer, bool) {
	r := &j.rings[rand.Uint32()%Rings] //nolint:gosec // spreads load
	size := entrySize(length)
	r.mu.Lock()
	at := r.written.Load()
	rest := ringSize - at%ringSize
	if rest >= size {
		rest = 0
	}
	if at+rest+size-r.read.Load() > ringSize {
		r.mu.Unlock()
		return Writer{}, false
	}
	if rest > 0 {
		r.putHeader(at, skipLength)
		r.commit(at, headerSize)
		at += rest
	}
	r.putHeader(at, uint32(length))
	begin := at%ringSize + headerSize
	return Writer{Bytes: r.memory[begin : begin+uint64(length)], journal: j, ring: r, at: at}, true
}

// End appends the entry.
func (w *Writer) End() {
	r := w.ring
	r.commit(w.at, headerSize+len(w.Bytes))
	saved, end := r.saved.Load(), w.at+entrySize(len(w.Bytes))
	half := r.written.Load()-saved <= ringSize/2 && end-saved > ringSize/2
	r.overrun = r.overrun || end-saved > ringSize
	r.written.Store(end)
	r.mu.Unlock()
	if half {
		select {
		case w.journal.full <- struct{}{}:
		default:
		}
	}
}

func entrySize(length int) uint64 {
	return (headerSize + uint64(length) + alignment - 1) / alignment * alignment
}

// putHeader writes an entry's header, except for the checksum. The caller must hold r.mu.
func (r *ring) putHeader(at uint64, length uint32) {
	b := r.memory[at%ringSize:]
	binary.LittleEndian.PutUint32(b[4:], length)
	binary.LittleEndian.PutUint64(b[8:], at)
}

// commit writes an entry's checksum and copies the entry to the file. length includes the
// header. The caller must hold r.mu.
func (r *ring) commit(at uint64, length int) {
	b := r.memory[at%ringSize:][:length]
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	if r.file != nil {
		r.file.write(b, r.offset+int64(at%ringSize))
	}
}

// Read calls each for every entry that has been appended but not yet read. The entry is valid
// only during the call.
func (j *Journal) Read(each func(entry []byte)) {
	for i := range j.rings {
		r := &j.rings[i]
		at, end := r.read.Load(), r.written.Load()
		for at < end {
			b := r.memory[at%ringSize:]
			length := binary.LittleEndian.Uint32(b[4:])
			if length == skipLength {
				at += uint64(len(b))
				continue
			}
			each(b[headerSize : headerSize+int(length)])
			at += entrySize(int(length))
		}
		r.read.Store(end)
	}
}

// Position returns the position up to which the journal has been read.
func (j *Journal) Position() (p Position) {
	for i := range j.rings {
		p[i] = j.rings[i].read.Load()
	}
	return p
}

// Saved records that the entries up to p have been stored elsewhere.
func (j *Journal) Saved(p Position) {
	for i := range j.rings {
		r := &j.rings[i]
		r.mu.Lock()
		r.saved.Store(p[i])
		r.overrun = r.written.Load()-p[i] > ringSize
		r.mu.Unlock()
	}
}

// Problem returns the reason why unsaved entries would be lost if the process were killed, or
// nil.
func (j *Journal) Problem() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return j.err
	}
	if err := j.file.problem(); err != nil {
		return err
	}
	for i := range j.rings {
		r := &j.rings[i]
		r.mu.Lock()
		overrun := r.overrun
		r.mu.Unlock()
		if overrun {
			return errOverrun
		}
	}
	return nil
}

var errOverrun = errors.New("the journal is full of entries that could not be saved, and is overwriting the oldest")

// Mark stores n in the file as the number of the last change in the store that the entries
// belong to. It ignores numbers lower than the stored one.
func (j *Journal) Mark(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n <= j.mark {
		return
	}
	j.mark = n
	if j.file != nil {
		j.file.write(binary.LittleEndian.AppendUint64(nil, n), fileMarkOffset)
	}
}

// Keep creates a file at path with all entries in memory, replacing any existing file. The
// caller must store id first, because [Replay] recognizes the file by its ID. store is the
// identity of the store that the entries belong to; see [Inspect].
func (j *Journal) Keep(path string, id, store uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.detach(); err != nil {
		return err
	}
	j.file, j.err = create(path, id, store, j.mark)
	if j.err != nil {
		return j.err
	}
	for i := range j.rings {
		r := &j.rings[i]
		r.mu.Lock()
		r.file = j.file
		r.file.write(r.memory, r.offset)
		r.mu.Unlock()
	}
	return nil
}

// detach closes the file, if there is one, and reports whether all entries are saved. The
// caller must hold j.mu.
func (j *Journal) detach() (saved bool, err error) {
	saved = true
	for i := range j.rings {
		r := &j.rings[i]
		r.mu.Lock()
		r.file = nil
		saved = saved && r.saved.Load() == r.written.Load()
		r.mu.Unlock()
	}
	if j.file != nil {
		err = j.file.close()
	}
	j.file, j.err = nil, errNoFile
	return saved, err
}

// Close closes the file and leaves it in place for [Replay]. If all entries are saved, it
// truncates the file to the header, which contains the mark. Entries appended later exist only
// in memory.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	file := j.file
	saved, err := j.detach()
	if file != nil && saved {
		err = errors.Join(err, file.truncate())
	}
	return err
}
