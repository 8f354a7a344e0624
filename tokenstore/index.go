package tokenstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mollygate/mollygate/token"
)

// shardCount is how many parts each map of the index has, so that readers on different
// processors rarely share a lock, and the growing of a map is short.
const shardCount = 256

// index finds the entries of tokens in use: those that were used since the store was
// opened. Everything but finding is done with the lock of the token's id held, so that
// filling the index from the backend can't bring back what a change has just taken away.
type index struct {
	digests [shardCount]numbers[token.Digest]
	ids     [shardCount]numbers[token.ID]
	extras  [shardCount]extras
	entries entryList
	terms   termsList
	locks   idLocks
}

// numbers finds the numbers of entries.
type numbers[K comparable] struct {
	mu      sync.RWMutex
	numbers map[K]uint32
}

// get returns the number under a key, or 0.
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

// remove forgets a key, unless it leads to another entry.
func (n *numbers[K]) remove(key K, number uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.numbers[key] == number {
		delete(n.numbers, key)
	}
}

// extras has the extra of each entry whose number is in the shard, by number.
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

// setExtra keeps what is not in the entry, and reports whether there is something.
func (x *index) setExtra(number uint32, token *token.Token) bool {
	e := extra{token.PreviousDigest, token.PreviousValidUntil, newTokenName(token.Name).long}
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

// entryList is the entries, by numbers from 1 on. An entry stays where it is.
type entryList struct {
	// chunks grow at the end only.
	chunks atomic.Pointer[[]*entryChunk]

	mu   sync.Mutex
	next uint32
	free []uint32 // of deleted tokens
}

const chunkLength = 1 << 10

type entryChunk [chunkLength]entry

func (l *entryList) at(number uint32) *entry {
	return &(*l.chunks.Load())[number/chunkLength][number%chunkLength]
}

// take returns an unused entry. A reader that found the entry's previous token must
// compare the id.
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

// idShard is by the id's last characters: the first tell the time of creation.
func idShard(id token.ID) int { return (int(id[len(id)-1])*64 + int(id[len(id)-2])) % shardCount }

// byID returns the number of a token's entry, or 0.
func (x *index) byID(id token.ID) uint32 { return x.ids[idShard(id)].get(id) }

// match finds the token whose secret has the digest.
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
		m.Previous, m.PreviousValidUntil = true, more.previousUntil
	default:
		return false // it was rotated or deleted just now
	}
	m.Digest, m.number = d, number
	m.Token = Principal{
		ID: e.id, name: tokenName{e.name, e.nameLength, more.name},
		ExpiresAt: timeOfSeconds(e.expires), NotBefore: timeOfSeconds(e.notBefore), began: timeOfSeconds(e.began),
		Terms: x.terms.at(e.terms),
	}
	m.Status = e.status(now)
	if m.Previous && !now.Before(m.PreviousValidUntil) {
		m.Status = token.StatusRevoked
	}
	return true
}

// with calls f with the entry of a token and its lock held, if number still is that
// token's.
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

// add makes an entry for a token that has none. The id's lock is held.
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

// replace publishes what a token has become. The id's lock is held.
func (x *index) replace(number uint32, token *token.Token) {
	before := x.digestsOf(number)
	terms := x.terms.share(token)
	for _, d := range token.Digests() {
		x.digests[digestShard(d)].set(d, number)
	}
	e := x.entries.at(number)
	e.mu.Lock()
	known, oldTerms := e.state&stateKnown != 0, e.terms
	e.set(token, terms, x.setExtra(number, token))
	e.mu.Unlock()
	if known {
		x.terms.leave(oldTerms)
	}
	for _, d := range before {
		if _, kept := token.SecretOf(d); !kept {
			x.digests[digestShard(d)].remove(d, number)
		}
	}
}

// digestsOf returns the digests that an entry is found by.
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

// unload takes away a token whose record can't be read any more. Its limits stay. The
// id's lock is held.
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
	x.terms.leave(terms)
	for _, d := range digests {
		x.digests[digestShard(d)].remove(d, number)
	}
}

// remove takes away a token that is deleted. The id's lock is held.
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

// forgetQuotas makes the store recompute each token's quota from its usage.
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
