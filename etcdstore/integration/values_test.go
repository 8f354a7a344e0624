package integration

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
)

// TestValues checks that all nodes have the same values after a Sync, also after a restart, that
// only one node takes a value, and that values expire.
func TestValues(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startNodes(t, etcd, "/values/", 2)
	put := func(key string, ttl time.Duration) {
		t.Helper()
		check(t, nodes[0].Values().Put(t.Context(), key, []byte("value of "+key), ttl))
	}
	want := func(n *node, keys ...string) {
		t.Helper()
		check(t, n.Sync(t.Context()))
		var got []string
		n.Values().Each("", func(key string, value []byte) bool {
			if string(value) != "value of "+key {
				t.Errorf("value of %s: got %q", key, value)
			}
			got = append(got, key)
			return true
		})
		if slices.Sort(got); !slices.Equal(got, keys) {
			t.Errorf("got values %q, want %q", got, keys)
		}
	}
	put("a", time.Hour)
	put("b", time.Hour)
	want(nodes[1], "a", "b")
	check(t, nodes[1].Values().Delete(t.Context(), "b", "unknown"))
	want(nodes[0], "a")

	// After a restart, a Sync that succeeds includes the values, although nothing has changed.
	nodes[1] = nodes[1].restartWith(t, func(o *nodeOptions) { o.alone = true })
	eventually(t, func() error { return nodes[1].Sync(t.Context()) })
	if nodes[1].Values().Get("a") == nil {
		t.Error("the restarted node lacks a value")
	}

	var taken sync.Map
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			if value, err := n.Values().Take(t.Context(), "a"); err != nil {
				t.Error(err)
			} else if value != nil {
				taken.Store(i, true)
			}
		})
	}
	all.Wait()
	count := 0
	taken.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d nodes took the value, want 1", count)
	}
	put("short", time.Second)
	eventually(t, func() error {
		for _, n := range nodes {
			if n.Values().Get("short") != nil {
				return errors.New("the value has not expired")
			}
		}
		return nil
	})
}
