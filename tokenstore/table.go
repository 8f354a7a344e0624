package tokenstore

import (
	"sync"
	"sync/atomic"
)

// table is a hash table of active tokens for many readers and few writers:
// get takes no lock and writes nothing, so that a flood of unknown tokens
// hinders nobody. The zero table is empty.
type table[K comparable] struct {
	buckets atomic.Pointer[[]bucket[K]] // a power of two of them

	mu     sync.Mutex // held by writers
	length int
}

// bucket begins a chain of nodes. A node's key and token never change. One that
// is taken out of its chain goes on pointing into it for readers that stand on
// it.
type bucket[K comparable] struct {
	atomic.Pointer[node[K]]
}

type node[K comparable] struct {
	key    K
	active *active
	next   bucket[K]
}

// firstBuckets is how many buckets a table begins with.
const firstBuckets = 8

// get returns what is kept under key, whose hash is given, or nil.
func (t *table[K]) get(hash uint64, key K) *active {
	buckets := t.buckets.Load()
	if buckets == nil {
		return nil
	}
	for n := bucketOf(*buckets, hash).Load(); n != nil; n = n.next.Load() {
		if n.key == key {
			return n.active
		}
	}
	return nil
}

// set keeps a under key; hash gives the hash of any key. A key keeps its first
// token until it is removed.
func (t *table[K]) set(hash func(K) uint64, key K, a *active) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.get(hash(key), key) != nil {
		return
	}
	buckets := t.grown(hash)
	insert(bucketOf(buckets, hash(key)), key, a)
	t.length++
}

// remove forgets a key.
func (t *table[K]) remove(hash uint64, key K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	buckets := t.buckets.Load()
	if buckets == nil {
		return
	}
	for link := bucketOf(*buckets, hash); ; {
		n := link.Load()
		if n == nil {
			return
		}
		if n.key == key {
			link.Store(n.next.Load())
			t.length--
			return
		}
		link = &n.next
	}
}

// grown returns the buckets with room for one key more. The writers' lock is
// held.
func (t *table[K]) grown(hash func(K) uint64) []bucket[K] {
	old := t.buckets.Load()
	switch {
	case old == nil:
		buckets := make([]bucket[K], firstBuckets)
		t.buckets.Store(&buckets)
		return buckets
	case t.length < len(*old):
		return *old
	}
	// The new table has nodes of its own: readers may be in the old chains.
	buckets := make([]bucket[K], 2*len(*old))
	for i := range *old {
		for n := (*old)[i].Load(); n != nil; n = n.next.Load() {
			insert(bucketOf(buckets, hash(n.key)), n.key, n.active)
		}
	}
	t.buckets.Store(&buckets)
	return buckets
}

func bucketOf[K comparable](buckets []bucket[K], hash uint64) *bucket[K] {
	return &buckets[hash&uint64(len(buckets)-1)]
}

func insert[K comparable](b *bucket[K], key K, a *active) {
	n := &node[K]{key: key, active: a}
	n.next.Store(b.Load())
	b.Store(n)
}
