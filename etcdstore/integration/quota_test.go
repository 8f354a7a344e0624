package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// withQuota gives a token a quota per month.
func withQuota(requests int64) func(*token.Draft) {
	return func(d *token.Draft) { d.Quota = &token.Quota{Requests: requests, Period: token.PeriodMonth} }
}

// take sends requests of a token to a node until the quota is exhausted or n requests passed, and
// returns how many passed.
func (n *node) take(t testing.TB, c token.Credential, most int) (allowed int) {
	t.Helper()
	for allowed < most {
		m, err := n.Authenticate(c, n.Now())
		if err != nil {
			t.Error(err)
			return allowed
		}
		_, standing, err := n.TakeQuota(m, n.Now())
		switch {
		case err != nil:
			t.Error(err)
			return allowed
		case standing.Exceeded:
			return allowed
		}
		n.CountAllowed(m, "unikernel:list", tokenstore.LastUse{Time: n.Now()})
		allowed++
	}
	return allowed
}

// TestQuota checks that nodes together allow exactly as many requests as a quota has, no matter
// how the requests are spread, and that a restarted node and an idle one don't change that.
func TestQuota(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startNodes(t, etcd, "/quota/", 3)
	for _, quota := range []int64{1, 2, 10, 1000} {
		_, c := nodes[0].create(t, withQuota(quota))
		nodes[1].sync(t)
		nodes[2].sync(t)
		var allowed atomic.Int64
		var users sync.WaitGroup
		for range 4 {
			for _, n := range nodes {
				users.Go(func() { allowed.Add(int64(n.take(t, c, 1000))) })
			}
		}
		users.Wait()
		// What a node doesn't use, the others get once it has given it back.
		eventually(t, func() error {
			for _, n := range nodes {
				allowed.Add(int64(n.take(t, c, 1000)))
			}
			if allowed.Load() < quota {
				return fmt.Errorf("%d of %d requests allowed", allowed.Load(), quota)
			}
			return nil
		})
		if n := allowed.Load(); n != quota {
			t.Errorf("a quota of %d allowed %d requests", quota, n)
		}
	}
}

// TestQuotaAfterRestart checks that what a node allowed before a restart still counts.
func TestQuotaAfterRestart(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startNodes(t, etcd, "/quota/", 2)
	_, c := nodes[0].create(t, withQuota(100))
	nodes[1].sync(t)
	if n := nodes[0].take(t, c, 40); n != 40 {
		t.Fatalf("allowed %d requests, want 40", n)
	}
	nodes[0] = nodes[0].restartWith(t)
	deadline := time.Now().Add(30 * time.Second)
	total := 40
	for total < 100 && time.Now().Before(deadline) {
		total += nodes[1].take(t, c, 1000) + nodes[0].take(t, c, 1000)
	}
	total += nodes[1].take(t, c, 1000) + nodes[0].take(t, c, 1000)
	if total != 100 {
		t.Errorf("a quota of 100 allowed %d requests", total)
	}
}
