package integration

import (
	"testing"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestJoin starts a new node whose store deletes old records before the node has read the shared
// store.
func TestJoin(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	_, secret := nodes[0].create(t)
	late := startNodes(t, etcd, prefix, 1, func(o *nodeOptions) {
		o.alone, o.cut = true, true
	})[0]
	late.link.slowList(func() {
		if _, err := late.backend.Prune(tokenstore.Retention{}); err != nil {
			t.Logf("Prune: %v", err)
		}
	})
	late.link.join()
	nodes = append(nodes, late)
	wantEqual(t, etcd, prefix, nodes...)
	late.fresh(t)
	wantVerdict(t, nodes, secret, active)
}
