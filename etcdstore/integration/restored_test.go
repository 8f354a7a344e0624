package integration

import (
	"fmt"
	"testing"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
)

// TestEtcdRestored restores etcd from a snapshot that lacks a revocation. The nodes must refuse to
// follow it until an admin accepts it.
func TestEtcdRestored(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 3)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	tok, secret := nodes[0].create(t)
	snapshot := etcd.Snapshot(0)
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	for _, n := range nodes {
		n.sync(t)
	}
	etcd.Restore(snapshot)
	wantLost(t, tok.ID, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	nodes[2] = nodes[2].restartAlone(t)
	wantLost(t, tok.ID, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	nodes[1].accept(t)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
	_, err = nodes[2].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, revoked)
}

// TestEtcdRestoredWithoutLoss restores etcd from a snapshot that has all changes of tokens, but
// not the newest revisions. The nodes must follow it, and must not miss changes whose revisions
// they have seen before.
func TestEtcdRestoredWithoutLoss(t *testing.T) {
	t.Parallel()
	for _, late := range []int{0, 1, 30} { // commits before a node that was away comes back
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			t.Parallel()
			etcd := etcdtest.Start(t, 1)
			nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
			tok, secret := nodes[0].create(t)
			nodes[1].create(t) // so that the token's change is not the newest
			for _, n := range nodes {
				n.sync(t)
				wantVerdict(t, []*node{n}, secret, active)
			}
			snapshot := etcd.Snapshot(0)
			client := etcd.Client()
			for range 10 { // usage, for example
				_, err := client.Put(t.Context(), prefix+"g/1/u/other/totals/aa", "")
				check(t, err)
			}
			for _, n := range nodes {
				last := newEngine(t, etcd, func(c *etcdstore.Config) { c.Prefix = prefix })
				revision := put(t, last, "other", "value")
				eventually(t, func() error { return n.reached(revision) })
			}
			nodes[2].link.cut()
			etcd.Restore(snapshot)
			for _, n := range nodes[:2] {
				eventually(t, n.problem)
				n.sync(t)
			}
			_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
			check(t, err)
			for i := range late {
				_, err := client.Put(t.Context(), prefix+"other", fmt.Sprint("value ", i))
				check(t, err)
			}
			nodes[2].link.join()
			eventually(t, nodes[2].problem)
			wantEqual(t, etcd, prefix, nodes...)
			wantVerdict(t, nodes, secret, revoked)
		})
	}
}
