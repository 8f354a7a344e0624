package tokenstore

import (
	"sync"
	"sync/atomic"
)

// numberTable finds the numbers of records by a hash: a table with linear probing,
// whose readers take no lock and write nothing, so that a flood of unknown tokens
// hinders nobody. What has the hash is for its user to compare. The zero table is
// empty.
type numberTable struct {
	// entries are a power of two of them: hash and number, or 0 of one that was never
	// used since the table last grew.
	entries atomic.Pointer[[]atomic.Uint64]

	mu   sync.Mutex // held by writers
	used int        // entries that aren't 0
	live int        // of them, those with a number
}

// firstEntries is how many entries a table begins with.
const firstEntries = 8

// removedEntry has no number.
const removedEntry = 1 << 32

func entryOf(hash, number uint32) uint64 { return uint64(hash)<<32 | uint64(number) }

// probe goes through the numbers under a hash.
type probe struct {
	entries []atomic.Uint64
	hash    uint32
	at      uint32
}

func (t *numberTable) probe(hash uint32) probe {
	p := probe{hash: hash, at: hash}
	if entries := t.entries.Load(); entries != nil {
		p.entries = *entries
	}
	return p
}

// next returns the next number, or 0 if there is none any more.
func (p *probe) next() uint32 {
	mask := uint32(len(p.entries) - 1)
	if len(p.entries) == 0 {
		return 0
	}
	for {
		entry := p.entries[p.at&mask].Load()
		if entry == 0 {
			return 0
		}
		p.at++
		if number := uint32(entry); uint32(entry>>32) == p.hash && number != 0 {
			return number
		}
	}
}

func (t *numberTable) has(hash, number uint32) bool {
	for p := t.probe(hash); ; {
		if found := p.next(); found == 0 || found == number {
			return found != 0
		}
	}
}

// add puts a number under a hash, unless it is there.
func (t *numberTable) add(hash, number uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has(hash, number) {
		return
	}
	entries := t.grown()
	mask := uint32(len(entries) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		switch entry := entries[at].Load(); {
		case entry == 0:
			t.used++
		case uint32(entry) != 0:
			continue
		}
		entries[at].Store(entryOf(hash, number))
		t.live++
		return
	}
}

// remove takes a number away.
func (t *numberTable) remove(hash, number uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries := t.entries.Load()
	if entries == nil {
		return
	}
	mask := uint32(len(*entries) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		switch (*entries)[at].Load() {
		case 0:
			return
		case entryOf(hash, number):
			(*entries)[at].Store(removedEntry)
			t.live--
			return
		}
	}
}

// grown returns the entries with room for one more. The writers' lock is held.
func (t *numberTable) grown() []atomic.Uint64 {
	old := t.entries.Load()
	if old != nil && t.used < len(*old)*3/4 {
		return *old
	}
	length := firstEntries
	for length*3/8 < t.live { // so that it is full by half at most
		length *= 2
	}
	entries := make([]atomic.Uint64, length)
	mask := uint32(length - 1)
	if old != nil {
		for i := range *old {
			entry := (*old)[i].Load()
			if uint32(entry) == 0 {
				continue
			}
			at := uint32(entry>>32) & mask
			for entries[at].Load() != 0 {
				at = (at + 1) & mask
			}
			entries[at].Store(entry)
		}
	}
	t.used = t.live
	t.entries.Store(&entries)
	return entries
}
