package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// prune deletes old records at a node.
func (n *node) prune(t testing.TB, keep tokenstore.Retention) {
	t.Helper()
	for more := true; more; {
		var err error
		more, err = n.backend.Prune(keep)
		check(t, err)
	}
}

// TestPrune deletes old audit entries and requests at one node. They must disappear everywhere,
// except for the newest entry.
func TestPrune(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	clock := new(testClock)
	nodes, prefix := startAll(t, etcd, clocked(clock)), prefixOf(t.Name())
	for i := range 200 {
		_, _, _, err := nodes[i%3].CreateOnce(testPolicy, draft(), testActor,
			tokenstore.Request{Key: fmt.Sprint(i), Body: []byte("body")})
		check(t, err)
	}
	clock.pass(48 * time.Hour)
	_, secret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	keep := tokenstore.Retention{Audit: clock.Now().Add(-time.Hour), Requests: clock.Now().Add(-24 * time.Hour)}
	atOnce(nodes, func(_ int, n *node) { n.prune(t, keep) })
	wantEqual(t, etcd, prefix, nodes...)
	for i, n := range nodes {
		if entries, _, err := n.Audit(tokenstore.AuditPage{Limit: 1000}); err != nil || len(entries) > 2 {
			t.Errorf("node %d: %d audit entries, %v", i, len(entries), err)
		}
	}
	requests := 0
	for key := range sharedRecords(t, etcd, prefix) {
		if key[0] == 'r' {
			requests++
		}
	}
	if requests != 0 {
		t.Errorf("%d requests are left", requests)
	}
	// The newest entry stays, however old it is.
	keep.Audit = clock.Now().Add(time.Hour)
	atOnce(nodes, func(_ int, n *node) { n.prune(t, keep) })
	wantEqual(t, etcd, prefix, nodes...)
	if entries, _, err := nodes[1].Audit(tokenstore.AuditPage{Limit: 1000}); err != nil || len(entries) != 1 {
		t.Errorf("%d audit entries, %v", len(entries), err)
	}
	for i, n := range nodes {
		nodes[i] = n.restartWith(t)
	}
	wantVerdict(t, nodes, secret, active)
}

// TestPruneWhileCutOff deletes old entries while a node is cut off for a short time. The node must
// follow again, although the newest change that it knows is among them.
func TestPruneWhileCutOff(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	clock := new(testClock)
	nodes, prefix := startAll(t, etcd, clocked(clock)), prefixOf(t.Name())
	tok, secret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	clock.pass(100 * 24 * time.Hour) // nothing changes for longer than audit entries are kept
	nodes[2].link.cut()
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	_, made := nodes[0].create(t)
	nodes[0].prune(t, tokenstore.Retention{Audit: clock.Now().Add(-90 * 24 * time.Hour)})
	nodes[2].link.join()
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	wantVerdict(t, nodes, made, active)
}
