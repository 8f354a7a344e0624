package integration

import (
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// TestUsageBeforeWatch checks that requests count for a token whose creation the watch hasn't
// delivered yet, for example because etcd's leader is cut off.
func TestUsageBeforeWatch(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	n := startNodes(t, etcd, "/ahead/", 1, func(o *nodeOptions) { o.RequestTimeout = time.Second })[0]
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	n.link.setEdit(func(c cluster.Commit, yield func(cluster.Commit) error) error {
		<-held
		return yield(c)
	})
	tok, c := n.create(t)
	m, err := n.Authenticate(c, n.Now())
	check(t, err)
	for range 3 {
		n.CountAllowed(m, "unikernel:list", tokenstore.LastUse{Time: n.Now()})
		_ = n.Flush() // may fail until the token is in the replica's file
	}
	release()
	eventually(t, n.Flush)
	n.sync(t)
	found, err := n.Get(tok.ID)
	check(t, err)
	if found.Usage.Allowed != 3 {
		t.Errorf("the token has %d requests, want 3", found.Usage.Allowed)
	}
}
