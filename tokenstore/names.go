package tokenstore

import (
	"encoding/binary"
	"sync"
	"unsafe"
)

// nameArena keeps the names of the tokens in use, close together and without a pointer
// for each. A name that was read stays what it is, whatever becomes of its token.
type nameArena struct {
	chunks pointerList[nameChunk]

	mu      sync.Mutex
	free    []uint32 // numbers of chunks that there aren't any more
	next    uint32   // the first number that no chunk had
	current uint32
	used    int // bytes of the current chunk
}

// nameChunk is a row of names, each after its length and the number of its record.
type nameChunk struct {
	bytes [nameChunkLength]byte
	live  int // bytes of it that are some record's; nameArena.mu guards it
}

const (
	nameChunkLength = 1 << 16
	nameHeader      = 4 + 2
)

// nameHandle is where a name lies: its chunk, its offset in that, and its length. The
// zero handle is an empty name's.
type nameHandle uint64

func (h nameHandle) parts() (chunk uint32, offset, length int) {
	return uint32(h >> 32), int(h >> 16 & 0xffff), int(h & 0xffff)
}

// text returns the name at a handle. It is that of the record the handle was read
// from, unless that has been changed since.
func (a *nameArena) text(h nameHandle) string {
	number, offset, length := h.parts()
	if length == 0 {
		return ""
	}
	chunk := a.chunks.at(number)
	if chunk == nil || offset+length > nameChunkLength {
		return ""
	}
	return unsafe.String(&chunk.bytes[offset], length) //nolint:gosec // what was written there once is never written again
}

// set makes a name a record's, in place of the one it has. Nobody but the caller
// changes the record's name.
func (a *nameArena) set(records *slab, number uint32, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := records.at(number)
	if a.text(nameHandle(r.name.Load())) == name {
		return
	}
	h := a.put(records, number, name)
	old := nameHandle(r.name.Load()) // put may have moved it
	r.change(func() { r.name.Store(uint64(h)) })
	a.drop(records, old)
}

// put writes a name for a record. The lock is held.
func (a *nameArena) put(records *slab, number uint32, name string) nameHandle {
	name = name[:min(len(name), nameChunkLength/16)] // far more than a name may have
	if name == "" {
		return 0
	}
	if a.next == 0 || a.used+nameHeader+len(name) > nameChunkLength {
		a.begin(records)
	}
	chunk := a.chunks.at(a.current)
	entry := chunk.bytes[a.used : a.used+nameHeader+len(name)]
	binary.NativeEndian.PutUint32(entry, number)
	binary.NativeEndian.PutUint16(entry[4:], uint16(len(name)))
	copy(entry[nameHeader:], name)
	h := nameHandle(a.current)<<32 | nameHandle(a.used+nameHeader)<<16 | nameHandle(len(name))
	a.used += len(entry)
	chunk.live += len(entry)
	return h
}

// begin begins a new chunk. The lock is held.
func (a *nameArena) begin(records *slab) {
	full := a.current
	defer func() { a.sift(records, full) }()
	a.used = 0
	if last := len(a.free) - 1; last >= 0 {
		a.current, a.free = a.free[last], a.free[:last]
	} else {
		a.current = a.next
		a.next++
	}
	a.chunks.set(a.current, new(nameChunk))
}

// drop says that no record has the name any more. The lock is held.
func (a *nameArena) drop(records *slab, h nameHandle) {
	number, _, length := h.parts()
	if length == 0 {
		return
	}
	a.chunks.at(number).live -= nameHeader + length
	a.sift(records, number)
}

// sift gives a full chunk up if most of it is names that no record has any more: what is
// left in it moves. The lock is held.
func (a *nameArena) sift(records *slab, number uint32) {
	chunk := a.chunks.at(number)
	if number == a.current || chunk.live > nameChunkLength/4 {
		return
	}
	for offset := nameHeader; chunk.live > 0; {
		entry := chunk.bytes[offset-nameHeader:]
		owner, length := binary.NativeEndian.Uint32(entry), int(binary.NativeEndian.Uint16(entry[4:]))
		here := nameHandle(number)<<32 | nameHandle(offset)<<16 | nameHandle(length)
		if r := records.at(owner); nameHandle(r.name.Load()) == here {
			there := a.put(records, owner, a.text(here))
			r.change(func() { r.name.Store(uint64(there)) })
			chunk.live -= nameHeader + length
		}
		offset += nameHeader + length
	}
	a.chunks.set(number, nil)
	a.free = append(a.free, number)
}
