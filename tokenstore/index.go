package tokenstore

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// shardCount is how many tables each half of the index spreads over, so that the
// growing of one is short, whatever the number of tokens.
const shardCount = 256

// active is a token that has been used since the store was opened. It is as large
// as two cache lines.
type active struct {
	id ID
	// dirty is how soon the totals must be on their way to the backend.
	dirty atomic.Uint32
	// token is replaced whole by a change. It is nil once the token is deleted,
	// and while its record can't be read.
	token atomic.Pointer[Token]
	usage usage
	rate  rateState
	quota atomic.Pointer[quotaPeriod]
}

// index finds active tokens by the digests of their secrets and by their ids.
// Everything but finding is done with the lock of the token's id held, so that
// filling the index from the backend can't bring back what a change has just
// taken away.
type index struct {
	digests [shardCount]table[Digest]
	ids     [shardCount]table[ID]
	seed    maphash.Seed
	locks   idLocks
}

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

// A digest is evenly spread already: its first byte is the shard, others are the
// hash. That anybody can compute digests in one chain harms nobody: kept are only
// those of random secrets.
func hashDigest(d Digest) uint64 { return binary.LittleEndian.Uint64(d[8:]) }

func (x *index) hashID(id ID) uint64 { return maphash.Bytes(x.seed, id[:]) }

// The shard is taken from the end of the hash that the buckets aren't taken from.
func (x *index) idShard(hash uint64) *table[ID] { return &x.ids[hash>>56%shardCount] }

func (x *index) byDigest(d Digest) *active {
	return x.digests[d[0]].get(hashDigest(d), d)
}

func (x *index) byID(id ID) *active {
	hash := x.hashID(id)
	return x.idShard(hash).get(hash, id)
}

// replace publishes what a token, new in the index or not, has become. The id's
// lock is held, and nobody else has the token yet.
func (x *index) replace(a *active, token *Token) {
	interned.share(token)
	old := a.token.Swap(token)
	if old != nil {
		if old.Quota.Period != token.Quota.Period {
			a.quota.Store(nil) // it isn't told of the uses from here on
		}
		for _, digest := range old.Digests() {
			if _, kept := token.secretOf(digest); !kept {
				x.digests[digest[0]].remove(hashDigest(digest), digest)
			}
		}
	}
	x.idShard(x.hashID(a.id)).set(x.hashID, a.id, a)
	for _, digest := range token.Digests() {
		x.digests[digest[0]].set(hashDigest, digest, a)
	}
}

// unload takes away a token whose record can't be read any more. Its usage stays,
// so that none is lost if it can be read again. The id's lock is held.
func (x *index) unload(a *active) {
	old := a.token.Swap(nil)
	if old == nil {
		return
	}
	for _, digest := range old.Digests() {
		x.digests[digest[0]].remove(hashDigest(digest), digest)
	}
}

// remove takes away a token that is deleted. The id's lock is held.
func (x *index) remove(a *active) {
	x.unload(a)
	hash := x.hashID(a.id)
	x.idShard(hash).remove(hash, a.id)
}
