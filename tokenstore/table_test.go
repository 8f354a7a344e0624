package tokenstore

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestTable compares a table with a map, with hashes that collide a lot. Nobody can
// make them collide: the index hashes with a seed of its own (DOS-03).
func TestTable(t *testing.T) {
	t.Parallel()
	for _, spread := range []uint64{1, 7, 1 << 40} {
		var table table[ID]
		hash := func(id ID) uint64 { return (uint64(id[0]) | uint64(id[1])<<8) % spread }
		key := func(i int) ID { return ID{byte(i), byte(i >> 8)} }
		want := make(map[ID]*active)
		random := rand.New(rand.NewPCG(1, spread))
		for range 5000 {
			id := key(random.IntN(700))
			if random.IntN(3) > 0 {
				a := &active{id: id}
				table.set(hash, id, a)
				if want[id] == nil {
					want[id] = a // a key keeps its first
				}
			} else {
				table.remove(hash(id), id)
				delete(want, id)
			}
		}
		for i := range 700 {
			if id := key(i); table.get(hash(id), id) != want[id] {
				t.Fatalf("spread %d: %v is not what was set", spread, id)
			}
		}
		if table.length != len(want) {
			t.Errorf("spread %d: length %d, want %d", spread, table.length, len(want))
		}
	}
}

// TestTableReaders reads keys that stay while others come and go: none may be
// missed, whatever grows or is taken out beside it.
func TestTableReaders(t *testing.T) {
	t.Parallel()
	var table table[ID]
	hash := func(id ID) uint64 { return uint64(id[0]) % 5 }
	stays := make([]*active, 50)
	for i := range stays {
		stays[i] = &active{id: ID{byte(i), 1}}
		table.set(hash, stays[i].id, stays[i])
	}
	rounds := 2000
	if testing.Short() {
		rounds = 300
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				for _, a := range stays {
					if table.get(hash(a.id), a.id) != a {
						t.Errorf("%v was missed", a.id)
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
	for i := range rounds {
		for j := range 20 {
			id := ID{byte(j), 2, byte(i)}
			table.set(hash, id, &active{id: id})
		}
		for j := range 20 {
			id := ID{byte(j), 2, byte(i)}
			table.remove(hash(id), id)
		}
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
