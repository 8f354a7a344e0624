package faults

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestMemberFaults checks that each fault of the etcd cluster has the intended effect, and
// that the cluster works after it.
func TestMemberFaults(t *testing.T) {
	random := newRandom(t)
	c := newCluster(t, 3)
	x := c.newChaos(forever)
	ctx := t.Context()
	put := func(key, value string) error {
		t.Helper()
		client, err := c.etcdClient(c.members...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err = client.Put(ctx, key, value)
		return err
	}
	for _, f := range memberFaults {
		before, err := c.leader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = f.run(x, random, func() {
			if f.name == "cut off the leader" {
				c.eventually(time.Minute, "another member leads", func() bool {
					// The member that is cut off still believes for a while that it leads.
					for _, m := range c.members {
						if m != before && c.leads(ctx, m) {
							return true
						}
					}
					return false
				})
			}
			c.eventually(time.Minute, "a write succeeds during the fault", func() bool {
				return put("test", f.name) == nil
			})
		})
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if err := put("test", "after "+f.name); err != nil {
			t.Errorf("after %s: %v", f.name, err)
		}
	}
	t.Run("compaction", func(t *testing.T) { testCompaction(t, c) })
	t.Run("restore", func(t *testing.T) { testRestore(t, c) })
	t.Run("outage", func(t *testing.T) {
		for _, m := range c.members {
			m.kill()
		}
		if put("test", "outage") == nil {
			t.Error("a write succeeded without members")
		}
		if err := c.recover(ctx); err != nil {
			t.Error(err)
		}
	})
}

// leads reports whether the member believes that it leads.
func (c *cluster) leads(ctx context.Context, m *member) bool {
	client, err := c.etcdClient(m)
	if err != nil {
		return false
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := client.Status(ctx, m.clientURL())
	return err == nil && status.Leader == status.Header.MemberId
}

func testCompaction(t *testing.T, c *cluster) {
	client, err := c.etcdClient(c.members...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := c.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	response, ok := <-client.Watch(ctx, "test", clientv3.WithRev(2))
	if err := response.Err(); !ok || !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("watching from revision 2: got %v, want %v", err, rpctypes.ErrCompacted)
	}
}

func testRestore(t *testing.T, c *cluster) {
	client, err := c.etcdClient(c.members...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	value := func() string {
		t.Helper()
		response, err := client.Get(t.Context(), "restored")
		if err != nil || len(response.Kvs) != 1 {
			t.Fatalf("got %v, %v", response, err)
		}
		return string(response.Kvs[0].Value)
	}
	file := filepath.Join(c.dir, "snapshot")
	if _, err := client.Put(t.Context(), "restored", "old"); err != nil {
		t.Fatal(err)
	}
	if err := c.snapshot(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "restored", "new"); err != nil {
		t.Fatal(err)
	}
	if got := value(); got != "new" {
		t.Errorf("before: got %q", got)
	}
	if err := c.restore(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if got := value(); got != "old" {
		t.Errorf("after restoring: got %q, want the older value", got)
	}
}
