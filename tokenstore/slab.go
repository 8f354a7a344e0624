package tokenstore

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// record is what a request needs of a token in use, in two cache lines and without a
// pointer, so that a million of them cost the garbage collector nothing. What every
// use writes is on the second line.
//
// The rest is read under a sequence lock: whoever reads while something is changed
// reads again.
type record struct {
	// version is odd while something is being changed.
	version atomic.Uint32
	terms   atomic.Uint32
	digest  [4]atomic.Uint64
	moments moments
	// state is stateBits, and above them how often the record has been another token's.
	state atomic.Uint32
	// dirty is how soon the totals must be on their way to the backend.
	dirty atomic.Uint32

	id   [3]atomic.Uint32
	slot atomic.Uint32 // of the Counters
	name atomic.Uint64 // a nameHandle
	// allowed and denied are the totals. The former has historyBit if there is a
	// history in memory.
	allowed, denied atomic.Uint64
	// lastTime is of the newest allowed request, in microseconds since 1970, and never
	// goes back.
	lastTime atomic.Int64
	// manner is that of the newest use; see [index.manner].
	manner atomic.Uint64
	rate   rateState
}

const (
	// stateKnown: the token can be found by its secrets.
	stateKnown uint32 = 1 << iota
	stateRevoked
	stateDisabled
	// statePrevious: there is a secret from before a rotation; see extra.
	statePrevious

	generationShift = 8
	stateBits       = 1<<generationShift - 1

	noTime = -1 << 63 // of a time that is none
)

// change changes the record for its readers at once. Two that change it wait for each
// other.
func (r *record) change(change func()) {
	for {
		version := r.version.Load()
		if version%2 == 0 && r.version.CompareAndSwap(version, version+1) {
			change()
			r.version.Store(version + 2)
			return
		}
		runtime.Gosched()
	}
}

func (r *record) generation() uint32 { return r.state.Load() >> generationShift }

func (r *record) tokenID() (id ID) {
	for i := range r.id {
		binary.LittleEndian.PutUint32(id[4*i:], r.id[i].Load())
	}
	return id
}

func (r *record) setID(id ID) {
	for i := range r.id {
		r.id[i].Store(binary.LittleEndian.Uint32(id[4*i:]))
	}
}

func (r *record) hasDigest(d *Digest) bool {
	return r.digest[0].Load() == binary.LittleEndian.Uint64(d[0:]) && r.digest[1].Load() == binary.LittleEndian.Uint64(d[8:]) &&
		r.digest[2].Load() == binary.LittleEndian.Uint64(d[16:]) && r.digest[3].Load() == binary.LittleEndian.Uint64(d[24:])
}

func (r *record) currentDigest() (d Digest) {
	for i := range r.digest {
		binary.LittleEndian.PutUint64(d[8*i:], r.digest[i].Load())
	}
	return d
}

func (r *record) setDigest(d Digest) {
	for i := range r.digest {
		r.digest[i].Store(binary.LittleEndian.Uint64(d[8*i:]))
	}
}

func microsOf(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == noTime {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// slab is the records, by numbers from 1 on. A record stays where it is.
type slab struct {
	chunks pointerList[slabChunk]

	mu   sync.Mutex
	next uint32
	// freed are the records that are no token's any more, in the order in which they
	// were freed.
	freed []freedRecord
	rest  time.Duration
}

type slabChunk [slabChunkLength]record

const (
	slabChunkLength = 1 << 11

	// recordRest is how long a freed record is nobody's. Who has found the token before
	// looks at its generation before it counts, so the moment between the two is all
	// that this has to be longer than.
	recordRest = time.Minute
)

type freedRecord struct {
	number uint32
	at     time.Time // with its monotonic part
}

func (s *slab) at(number uint32) *record {
	return &s.chunks.at(number / slabChunkLength)[number%slabChunkLength]
}

// take returns a record that is no token's. It may have the slot of the one before.
func (s *slab) take() (number uint32, r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.freed) > 0 && time.Since(s.freed[0].at) >= s.rest {
		number = s.freed[0].number
		s.freed = s.freed[1:]
		return number, s.at(number)
	}
	s.next++
	number = s.next
	if chunk := number / slabChunkLength; s.chunks.at(chunk) == nil {
		s.chunks.set(chunk, new(slabChunk))
	}
	return number, s.at(number)
}

// free gives a record back.
func (s *slab) free(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed = append(s.freed, freedRecord{number, time.Now()})
}
