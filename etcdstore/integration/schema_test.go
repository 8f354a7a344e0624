package integration

import (
	"errors"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
)

// TestRollingUpgrade checks that the schema version is raised only once all live nodes know it,
// that tokens work before, during and after that, and that an old node doesn't follow then.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	version := func(schema int) func(*nodeOptions) { return func(o *nodeOptions) { o.Schema = schema } }
	nodes := startNodes(t, etcd, "/upgrade/", 2, version(1))
	_, c := nodes[0].create(t)
	nodes[1].sync(t)
	schema := func() string {
		response, err := etcd.Client().Get(t.Context(), "/upgrade/store")
		check(t, err)
		return string(response.Kvs[0].Value)
	}
	works := func() {
		t.Helper()
		for i, n := range nodes {
			if _, err := n.Authenticate(c, n.Now()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		}
	}
	nodes[0] = nodes[0].restartWith(t, version(2))
	works()
	for range 3 { // more checks than raising would take
		before := nodes[0].Contact().AsOf
		eventually(t, func() error {
			if !nodes[0].Contact().AsOf.After(before) {
				return errors.New("no check yet")
			}
			return nil
		})
	}
	if !strings.Contains(schema(), `"schema":1`) {
		t.Errorf("the schema was raised although a node doesn't know it: %s", schema())
	}
	works()
	nodes[1] = nodes[1].restartWith(t, version(2))
	eventually(t, func() error {
		if !strings.Contains(schema(), `"schema":2`) {
			return errors.New(schema())
		}
		return nil
	})
	works()
	_, c = nodes[0].create(t)
	nodes[1].sync(t)
	works()
	old := startNode(t, etcd, "/upgrade/", t.TempDir(), version(1), func(o *nodeOptions) { o.alone = true })
	eventually(t, func() error {
		if problem := old.Contact().Problem; problem == nil || !strings.Contains(problem.Error(), "schema version 2") {
			return errors.Join(errors.New("the old node doesn't refuse the store"), problem)
		}
		return nil
	})
	if _, err := old.Authenticate(c, old.Now()); !errors.Is(err, tokenstore.ErrStale) {
		t.Errorf("an old node with a new replica: got error %v, want ErrStale", err)
	}
}
