package tokenstore

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
)

// shardCount is the number of shards in each of the index's maps. With many shards, readers on
// different processors rarely contend for a lock, and growing a single map is fast.
const shardCount = 256

// index holds the entries of tokens in use: those used since the store was opened. Every
// operation except finding an entry requires the token's ID lock, so that loading a token from
// the backend can't undo a concurrent change.
type index struct {
	digests [shardCount]numbers[token.Digest]
	ids     [shardCount]numbers[token.ID]
	extras  [shardCount]extras
	entries entryList
	terms   termsList
	locks   idLocks
}

// numbers maps keys to entry numbers.
type numbers[K comparable] struct {
	mu      sync.RWMutex
	numbers map[K]uint32
}

// get returns a key's number, or 0 if there is none.
func (n *numbers[K]) get(key K) uint32 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.numbers[key]
}

func (n *numbers[K]) set(key K, number uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.numbers == nil {
		n.numbers = make(map[K]uint32)
	}
	n.numbers[key] = number
}

// remove removes a key unless it now belongs to another entry.
func (n *numbers[K]) remove(key K, number uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.numbers[key] == number {
		delete(n.numbers, key)
	}
}

// extras maps the numbers of a shard's entries to their extras.
type extras struct {
	mu     sync.RWMutex
	extras map[uint32]extra
}

func (x *index) extra(number uint32) extra {
	s := &x.extras[number%shardCount]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.extras[number]
}

// setExtra stores the data that doesn't fit in the token's entry, and reports whether there is
// any.
func (x *index) setExtra(number uint32, token *token.Token) bool {
	_, _, longName := splitName(token.Name)
	e := extra{token.PreviousDigest, token.PreviousValidUntil, longName}
	s := &x.extras[number%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e == (extra{}) {
		delete(s.extras, number)
		return false
	}
	if s.extras == nil {
		s.extras = make(map[uint32]extra)
	}
	s.extras[number] = e
	return true
}

// entryList holds the entries, numbered from 1. An entry never moves.
type entryList struct {
	// chunks only ever grows at the end.
	chunks atomic.Pointer[[]*entryChunk]

	mu   sync.Mutex
	next uint32
	free []uint32 // numbers of deleted tokens' entries
}

const chunkLength = 1 << 10

type entryChunk [chunkLength]entry

func (l *entryList) at(number uint32) *entry {
	return &(*l.chunks.Load())[number/chunkLength][number%chunkLength]
}

// take returns the number of an unused entry. A reader may have found the entry while it
// belonged to another token, so readers must compare the ID.
func (l *entryList) take() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.free) - 1; last >= 0 {
		number := l.free[last]
		l.free = l.free[:last]
		return number
	}
	l.next++
	if chunk := l.next / chunkLength; chunk*chunkLength == l.next || l.next == 1 {
		var chunks []*entryChunk
		if old := l.chunks.Load(); old != nil {
			chunks = *old
		}
		chunks = append(chunks, new(entryChunk))
		l.chunks.Store(&chunks)
	}
	return l.next
}

func (l *entryList) giveBack(number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, number)
}

func digestShard(d token.Digest) int { return int(d[0]) }

// idShard uses the ID's last characters because the first ones encode the creation time.
func idShard(id token.ID) int { return (int(id[len(id)-1])*64 + int(id[len(id)-2])) % shardCount }

// byID returns the number of a token's entry, or 0 if there is none.
func (x *index) byID(id token.ID) uint32 { return x.ids[idShard(id)].get(id) }

// all returns the IDs of all entries.
func (x *index) all() (ids []token.ID) {
	for i := range x.ids {
		shard := &x.ids[i]
		shard.mu.RLock()
		ids = slices.AppendSeq(ids, maps.Keys(shard.numbers))
		shard.mu.RUnlock()
	}
	return ids
}

// match finds the token whose secret has the given digest and reports whether there is one.
func (x *index) match(d token.Digest, now time.Time, m *Match) bool {
	number := x.digests[digestShard(d)].get(d)
	if number == 0 {
		return false
	}
	e := x.entries.at(number)
	e.mu.Lock()
	defer e.mu.Unlock()
	var more extra
	if e.state&stateExtra != 0 {
		more = x.extra(number)
	}
	switch {
	case e.state&stateKnown == 0:
		return false
	case e.digest == d:
		m.Previous = false
	case more.previous == d:
		m.Previous, m.previousUntil = true, secondsOf(more.previousUntil)
	default:
		return false // the token was just rotated or deleted
	}
	m.Digest, m.number = d, number
	m.Token = Principal{
		ID: e.id, expires: e.expires, notBefore: e.notBefore, began: e.began, Terms: x.terms.at(e.terms),
	}
	m.Token.setName(&e.name, e.nameLength, more.name)
	m.Status = e.status(now)
	if m.Previous && secondsOf(now) >= m.previousUntil {
		m.Status = token.StatusRevoked
	}
	return true
}

// with calls f with the token's entry and holds the entry's lock during the call. It does
// nothing if number no longer belongs to the token.
func (x *index) with(number uint32, id token.ID, f func(*entry)) {
	if number == 0 {
		return
	}
	e := x.entries.at(number)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.id == id {
		f(e)
	}
}

// add creates an entry for a token that has none. The caller must hold the ID's lock.
func (x *index) add(id token.ID) (number uint32) {
	number = x.entries.take()
	e := x.entries.at(number)
	e.mu.Lock()
	e.id, e.state = id, 0
	e.rate, e.quota = rateState{}, quotaState{}
	e.mu.Unlock()
	x.ids[idShard(id)].set(id, number)
	return number
}

// replace updates a token's entry. The caller must hold the ID's lock.
func (x *index) replace(number uint32, token *token.Token) {
	before := x.digestsOf(number)
	terms := x.terms.acquire(token)
	for _, d := range token.Digests() {
		x.digests[digestShard(d)].set(d, number)
	}
	e := x.entries.at(number)
	e.mu.Lock()
	known, oldTerms := e.state&stateKnown != 0, e.terms
	e.set(token, terms, x.setExtra(number, token))
	e.mu.Unlock()
	if known {
		x.terms.release(oldTerms)
	}
	for _, d := range before {
		if _, kept := token.SecretOf(d); !kept {
			x.digests[digestShard(d)].remove(d, number)
		}
	}
}

// digestsOf returns the digests that map to an entry.
func (x *index) digestsOf(number uint32) (digests []token.Digest) {
	e := x.entries.at(number)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state&stateKnown == 0 {
		return nil
	}
	digests = append(digests, e.digest)
	if e.state&stateExtra != 0 {
		if previous := x.extra(number).previous; !previous.IsZero() {
			digests = append(digests, previous)
		}
	}
	return digests
}

// unload removes a token whose record can no longer be read, but keeps the state of its rate
// limit and quota. The caller must hold the ID's lock.
func (x *index) unload(number uint32) {
	digests := x.digestsOf(number)
	if len(digests) == 0 {
		return
	}
	e := x.entries.at(number)
	e.mu.Lock()
	terms := e.terms
	e.state = 0
	e.mu.Unlock()
	x.setExtra(number, new(token.Token))
	x.terms.release(terms)
	for _, d := range digests {
		x.digests[digestShard(d)].remove(d, number)
	}
}

// remove removes a deleted token. The caller must hold the ID's lock.
func (x *index) remove(number uint32) {
	x.unload(number)
	e := x.entries.at(number)
	e.mu.Lock()
	id := e.id
	e.id = token.ID{}
	e.mu.Unlock()
	x.ids[idShard(id)].remove(id, number)
	x.entries.giveBack(number)
}

// forgetQuotas makes the store recompute each token's used quota from its usage.
func (x *index) forgetQuotas() {
	x.entries.mu.Lock()
	last := x.entries.next
	x.entries.mu.Unlock()
	for number := uint32(1); number <= last; number++ {
		e := x.entries.at(number)
		e.mu.Lock()
		e.quota = quotaState{}
		e.mu.Unlock()
	}
}
