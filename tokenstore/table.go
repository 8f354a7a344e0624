package tokenstore

import (
	"sync"
	"sync/atomic"
)

// table keeps what few records have, by their numbers, for many readers and few
// writers: get takes no lock. The zero table is empty.
type table[V any] struct{ shards [shardCount]tableShard[V] }

func (t *table[V]) shard(number uint32) (s *tableShard[V], hash uint32) {
	return &t.shards[number%shardCount], number / shardCount
}

type tableShard[V any] struct {
	buckets atomic.Pointer[[]bucket[V]] // a power of two of them

	mu     sync.Mutex // held by writers
	length int
}

// bucket begins a chain of nodes. A node never changes but for the next. One that is
// taken out of its chain goes on pointing into it for readers that stand on it.
type bucket[V any] struct {
	atomic.Pointer[node[V]]
}

type node[V any] struct {
	number uint32
	value  *V
	next   bucket[V]
}

// firstBuckets is how many buckets a shard begins with, and shrinks to.
const firstBuckets = 8

// get returns what is kept under a number, or nil.
func (t *table[V]) get(number uint32) *V {
	s, hash := t.shard(number)
	buckets := s.buckets.Load()
	if buckets == nil {
		return nil
	}
	for n := bucketOf(*buckets, hash).Load(); n != nil; n = n.next.Load() {
		if n.number == number {
			return n.value
		}
	}
	return nil
}

// set keeps a value under a number, in place of the one that is there.
func (t *table[V]) set(number uint32, value *V) {
	s, hash := t.shard(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Before the old one, which is then taken out: no reader misses both.
	insert(bucketOf(s.sized(), hash), number, value)
	s.length++
	s.remove(&bucketOf(*s.buckets.Load(), hash).Load().next, number)
}

// remove forgets a number.
func (t *table[V]) remove(number uint32) {
	s, hash := t.shard(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if buckets := s.buckets.Load(); buckets != nil {
		s.remove(bucketOf(*buckets, hash), number)
		s.sized()
	}
}

// remove takes a number out of the rest of a chain. The lock is held.
func (s *tableShard[V]) remove(link *bucket[V], number uint32) {
	for n := link.Load(); n != nil; link, n = &n.next, n.next.Load() {
		if n.number == number {
			link.Store(n.next.Load())
			s.length--
			return
		}
	}
}

// sized returns buckets that are neither too few for one number more nor far too
// many. The lock is held.
func (s *tableShard[V]) sized() []bucket[V] {
	old := s.buckets.Load()
	length := firstBuckets
	switch {
	case old == nil:
	case s.length >= len(*old):
		length = 2 * len(*old)
	case len(*old) > firstBuckets && s.length < len(*old)/8:
		length = len(*old) / 4
	default:
		return *old
	}
	// The new chains have nodes of their own: readers may be in the old ones.
	buckets := make([]bucket[V], max(length, firstBuckets))
	if old != nil {
		for i := range *old {
			for n := (*old)[i].Load(); n != nil; n = n.next.Load() {
				insert(bucketOf(buckets, n.number/shardCount), n.number, n.value)
			}
		}
	}
	s.buckets.Store(&buckets)
	return buckets
}

func bucketOf[V any](buckets []bucket[V], hash uint32) *bucket[V] {
	return &buckets[hash&uint32(len(buckets)-1)]
}

func insert[V any](b *bucket[V], number uint32, value *V) {
	n := &node[V]{number: number, value: value}
	n.next.Store(b.Load())
	b.Store(n)
}
