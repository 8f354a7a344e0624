package tokenstore

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// shardCount is how many tables each half of the index spreads over, so that the
// growing of one is short, whatever the number of tokens.
const shardCount = 256

// index finds the records of active tokens, those that have been used since the store
// was opened, by the digests of their secrets and by their ids. Everything but finding
// is done with the lock of the token's id held, so that filling the index from the
// backend can't bring back what a change has just taken away.
type index struct {
	records slab
	digests [shardCount]numberTable
	ids     [shardCount]numberTable
	terms   termsList
	names   nameArena
	// extras and histories are what few tokens have, by the number of the record.
	extras    table[extra]
	histories table[history]
	// reading is held to bring a history into memory.
	reading [shardCount]sync.Mutex
	seed    maphash.Seed
	locks   idLocks
}

// extra is what a token has that has a quota or was rotated.
type extra struct {
	// previous is the secret from before the rotation, good until the time.
	previous      Digest
	previousUntil time.Time
	// quota is of the period. It is kept when the extra is replaced by one of the same
	// period: it isn't told of the uses of a token that has another, or none.
	quota  *atomic.Pointer[quotaPeriod]
	period Period
}

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed()}
	x.records.rest = recordRest
	return x
}

// A digest is evenly spread already: its first byte is the shard, others are the
// hash. That anybody can compute digests in one chain harms nobody: kept are only
// those of random secrets.
func (x *index) digestTable(d *Digest) (t *numberTable, hash uint32) {
	return &x.digests[d[0]], binary.LittleEndian.Uint32(d[8:])
}

func (x *index) idTable(id ID) (t *numberTable, hash uint32) {
	h := maphash.Bytes(x.seed, id[:])
	return &x.ids[h>>56%shardCount], uint32(h)
}

// byID returns the number of a token's record, or 0.
func (x *index) byID(id ID) uint32 {
	t, hash := x.idTable(id)
	for probe := t.probe(hash); ; {
		if number := probe.next(); number == 0 || x.records.at(number).tokenID() == id {
			return number
		}
	}
}

// match finds the token whose secret has the digest.
func (x *index) match(d *Digest, now time.Time, m *Match) bool {
	t, hash := x.digestTable(d)
	for probe := t.probe(hash); ; {
		number := probe.next()
		if number == 0 {
			return false
		}
		if x.read(number, d, now, m) {
			return true
		}
	}
}

// read tells what a record says, if its token has the digest.
func (x *index) read(number uint32, d *Digest, now time.Time, m *Match) bool {
	r := x.records.at(number)
	for {
		version := r.version.Load()
		state := r.state.Load()
		found := r.hasDigest(d)
		if found {
			m.Previous = false
		} else if state&statePrevious != 0 {
			if e := x.extras.get(number); e != nil && e.previous == *d {
				m.Previous, m.PreviousValidUntil = true, e.previousUntil
				found = true
			}
		}
		if found {
			moments := r.moments.seconds()
			m.Token.ID = r.tokenID()
			m.Token.Name = x.names.text(nameHandle(r.name.Load()))
			m.Token.ExpiresAt, m.Token.NotBefore = timeOfSeconds(moments[momentExpires]), timeOfSeconds(moments[momentNotBefore])
			m.Token.began = timeOfSeconds(moments[momentBegan])
			m.Token.Terms = x.terms.at(r.terms.Load())
			m.Status = statusOf(state, &moments, secondsOf(now))
			m.number, m.generation = number, state>>generationShift
		}
		if r.version.Load() == version && version%2 == 0 {
			if found = found && state&stateKnown != 0; found {
				m.Digest = *d
				if m.Previous && !now.Before(m.PreviousValidUntil) {
					m.Status = StatusRevoked
				}
			}
			return found
		}
		runtime.Gosched()
	}
}

// statusOf is [Token.Status] of a record. now is in seconds since the year 1.
func statusOf(state uint32, moments *[momentsEnd]int64, now int64) Status {
	expires := moments[momentExpires]
	switch {
	case state&stateRevoked != 0:
		return StatusRevoked
	case state&stateDisabled != 0:
		return StatusDisabled
	case now < moments[momentNotBefore]:
		return StatusNotYetValid
	case expires != 0 && now >= expires:
		return StatusExpired
	}
	return StatusActive
}

// record returns that of a matched token, or nil if the token was deleted since.
func (x *index) record(m *Match) *record {
	if m.number == 0 {
		return nil
	}
	if r := x.records.at(m.number); r.generation() == m.generation {
		return r
	}
	return nil
}

// add makes a record for a token that has none. The id's lock is held.
func (x *index) add(id ID) (number uint32, r *record) {
	number, r = x.records.take()
	r.manner.Store(0)
	r.rate.arrival.Store(0)
	r.change(func() { r.setID(id) })
	t, hash := x.idTable(id)
	t.add(hash, number)
	return number, r
}

// replace publishes what a token has become. The id's lock is held.
func (x *index) replace(number uint32, token *Token) {
	r := x.records.at(number)
	before := x.digestsOf(number, r)
	oldTerms, hadTerms := r.terms.Load(), r.state.Load()&stateKnown != 0
	x.names.set(&x.records, number, token.Name)
	terms := x.terms.share(token)
	state := r.state.Load()&^stateBits | stateKnown
	for _, bit := range []struct {
		set bool
		bit uint32
	}{{!token.RevokedAt.IsZero(), stateRevoked}, {!token.DisabledAt.IsZero(), stateDisabled}, {!token.PreviousDigest.IsZero(), statePrevious}} {
		if bit.set {
			state |= bit.bit
		}
	}
	x.setExtra(number, token)
	r.change(func() {
		r.terms.Store(terms)
		r.setDigest(token.Digest)
		r.moments.set([momentsEnd]time.Time{momentExpires: token.ExpiresAt, momentNotBefore: token.NotBefore, momentBegan: token.began()})
		r.state.Store(state)
	})
	if hadTerms {
		x.terms.leave(oldTerms)
	}
	for _, d := range before {
		if _, kept := token.secretOf(d); !kept {
			t, hash := x.digestTable(&d)
			t.remove(hash, number)
		}
	}
	for _, d := range token.Digests() {
		t, hash := x.digestTable(&d)
		t.add(hash, number)
	}
}

// setExtra keeps what isn't in the record. The id's lock is held.
func (x *index) setExtra(number uint32, token *Token) {
	if token.PreviousDigest.IsZero() && token.Quota == (Quota{}) {
		x.extras.remove(number)
		return
	}
	e := &extra{previous: token.PreviousDigest, previousUntil: token.PreviousValidUntil, period: token.Quota.Period}
	if old := x.extras.get(number); old != nil && old.period == e.period {
		e.quota = old.quota
	} else {
		e.quota = new(atomic.Pointer[quotaPeriod])
	}
	x.extras.set(number, e)
}

// digestsOf returns the digests that a record is found by.
func (x *index) digestsOf(number uint32, r *record) (digests []Digest) {
	state := r.state.Load()
	if state&stateKnown != 0 {
		digests = append(digests, r.currentDigest())
		if e := x.extras.get(number); state&statePrevious != 0 && e != nil {
			digests = append(digests, e.previous)
		}
	}
	return digests
}

// unload takes away a token whose record can't be read any more. Its usage stays,
// so that none is lost if it can be read again. The id's lock is held.
func (x *index) unload(number uint32) {
	r := x.records.at(number)
	digests, terms := x.digestsOf(number, r), r.terms.Load()
	if len(digests) == 0 {
		return
	}
	r.change(func() { r.state.Store(r.state.Load() &^ stateBits) })
	x.terms.leave(terms)
	for _, d := range digests {
		t, hash := x.digestTable(&d)
		t.remove(hash, number)
	}
}

// remove takes away a token that is deleted. The id's lock is held.
func (x *index) remove(number uint32) {
	x.unload(number)
	r := x.records.at(number)
	t, hash := x.idTable(r.tokenID())
	t.remove(hash, number)
	x.names.set(&x.records, number, "")
	reading := &x.reading[number%shardCount]
	reading.Lock()
	defer reading.Unlock()
	r.change(func() {
		r.state.Store((r.generation() + 1) << generationShift)
		r.setID(ID{})
		r.setDigest(Digest{})
	})
	x.extras.remove(number)
	if h := x.histories.get(number); h != nil {
		h.mu.Lock()
		h.over = true
		h.mu.Unlock()
		x.histories.remove(number)
	}
	r.setTotals(Usage{}) // without historyBit
	x.records.free(number)
}

// manner is a hash of how a token was used: from where, with what, for what, and in
// which hour. It is never 0.
func (x *index) manner(use *LastUse, at int64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hash := uint64(hourOf(at))
	for _, text := range [...]string{use.IP, use.UserAgent, use.Route, use.Scope} {
		high, low := bits.Mul64(hash^odd, maphash.String(x.seed, text)|1)
		hash = high ^ low
	}
	return hash | 1
}
