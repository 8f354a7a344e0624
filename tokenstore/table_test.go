package tokenstore

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestTable compares a table with a map, with numbers that lie close together and far
// apart.
func TestTable(t *testing.T) {
	t.Parallel()
	for _, apart := range []uint32{1, 7, shardCount, 1 << 12} {
		var table table[int]
		want := make(map[uint32]*int)
		random := rand.New(rand.NewPCG(1, uint64(apart)))
		for i := range 5000 {
			number := uint32(random.IntN(700)) * apart
			if random.IntN(3) > i/2000 {
				want[number] = &i
				table.set(number, &i)
			} else {
				table.remove(number)
				delete(want, number)
			}
		}
		length := 0
		for i := range table.shards {
			length += table.shards[i].length
		}
		if length != len(want) {
			t.Errorf("%d apart: length %d, want %d", apart, length, len(want))
		}
		for i := range uint32(700) {
			if number := i * apart; table.get(number) != want[number] {
				t.Fatalf("%d apart: %d is not what was set", apart, number)
			}
			table.remove(i * apart)
		}
		for i := range table.shards {
			if s := &table.shards[i]; s.length != 0 || s.buckets.Load() != nil && len(*s.buckets.Load()) > firstBuckets {
				t.Fatalf("%d apart: shard %d has %d and %d buckets", apart, i, s.length, len(*s.buckets.Load()))
			}
		}
	}
}

// TestNumberTable compares a table with a set, with hashes that collide a lot. Nobody
// can make those of ids collide: the index hashes with a seed of its own (DOS-03).
func TestNumberTable(t *testing.T) {
	t.Parallel()
	for _, spread := range []uint32{1, 7, 1 << 31} {
		var table numberTable
		hash := func(number uint32) uint32 { return number * 2654435761 % spread }
		has := func(number uint32) bool {
			return table.has(hash(number), number)
		}
		want := make(map[uint32]bool)
		random := rand.New(rand.NewPCG(1, uint64(spread)))
		for range 20_000 {
			number := uint32(random.IntN(300)) + 1
			if random.IntN(2) > 0 {
				table.add(hash(number), number)
				want[number] = true
			} else {
				table.remove(hash(number), number)
				delete(want, number)
			}
			if has(number) != want[number] {
				t.Fatalf("spread %d: %d", spread, number)
			}
		}
		for number := range uint32(301) {
			if number > 0 && has(number) != want[number] {
				t.Fatalf("spread %d: %d is not what was set", spread, number)
			}
		}
		if table.live != len(want) || table.used > len(*table.entries.Load())*3/4 || len(*table.entries.Load()) > 2048 {
			t.Errorf("spread %d: %d live, want %d; %d used of %d", spread, table.live, len(want), table.used, len(*table.entries.Load()))
		}
	}
}

// TestTableReaders reads numbers that stay while others come and go: none may be
// missed, whatever grows or is taken out beside it.
func TestTableReaders(t *testing.T) {
	t.Parallel()
	var values table[uint32]
	var numbers numberTable
	hash := func(number uint32) uint32 { return number / shardCount % 5 }
	const stays, apart = 50, shardCount
	for i := range uint32(stays) {
		number := (i + 1) * apart
		values.set(number, &number)
		numbers.add(hash(number), number)
	}
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				for i := range uint32(stays) {
					number := (i + 1) * apart
					if value := values.get(number); value == nil || *value != number {
						t.Errorf("%d was missed in the table of values", number)
						return
					}
					if !numbers.has(hash(number), number) {
						t.Errorf("%d was missed in the table of numbers", number)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range rounds {
		for _, change := range []func(uint32){
			func(number uint32) { values.set(number, &number); numbers.add(hash(number), number) },
			func(number uint32) { values.remove(number); numbers.remove(hash(number), number) },
		} {
			for j := range uint32(100) {
				change((stays + 1 + j) * apart)
			}
		}
		// One that stays is replaced.
		number := uint32(apart)
		values.set(number, &number)
	}
	close(done)
	readers.Wait()
}

func TestIDLocks(t *testing.T) {
	t.Parallel()
	var locks idLocks
	counts := make([]int, 3)
	var all sync.WaitGroup
	for i := range 3 {
		for range 50 {
			all.Go(func() {
				defer locks.lock(ID{byte(i)})()
				counts[i]++
			})
		}
	}
	all.Wait()
	for i, n := range counts {
		if n != 50 {
			t.Errorf("lock %d let %d of 50 through", i, n)
		}
	}
	if len(locks.held) != 0 {
		t.Errorf("%d locks are left", len(locks.held))
	}
	// One token's lock isn't another's.
	unlock := locks.lock(ID{1})
	locks.lock(ID{2})()
	unlock()
}
