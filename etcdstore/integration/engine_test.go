// Package integration tests etcdstore with real etcd servers.
package integration

import (
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// newEngine returns an engine for the cluster, which is closed when the test ends.
func newEngine(t testing.TB, c *etcdtest.Cluster, change ...func(*etcdstore.Config)) *etcdstore.Engine {
	t.Helper()
	config := etcdstore.Config{Endpoints: c.Endpoints(), RequestTimeout: 20 * time.Second}
	for _, f := range change {
		f(&config)
	}
	engine, err := etcdstore.NewEngine(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("closing the engine: %v", err)
		}
	})
	return engine
}

// proxied returns an engine that reaches the first member only through a proxy.
func proxied(t testing.TB, c *etcdtest.Cluster, timeout time.Duration) (*etcdtest.Proxy, *etcdstore.Engine) {
	t.Helper()
	proxy, url := c.Proxy(0)
	return proxy, newEngine(t, c, func(config *etcdstore.Config) {
		config.Endpoints, config.RequestTimeout = []string{url}, timeout
	})
}

// put commits a record unconditionally and returns the revision.
func put(t testing.TB, engine cluster.Engine, key, value string) int64 {
	t.Helper()
	result, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: key, Value: []byte(value)}})
	if err != nil || !result.Committed {
		t.Fatalf("writing %s: %+v, %v", key, result, err)
	}
	return result.Revision
}

// read returns the current record with the given key.
func read(t testing.TB, engine cluster.Engine, key string) cluster.Record {
	t.Helper()
	records, err := engine.Read(t.Context(), key)
	if err != nil || len(records) != 1 || records[0].Key != key {
		t.Fatalf("reading %s: %+v, %v", key, records, err)
	}
	return records[0]
}

// TestCommit checks that a commit takes effect exactly if its conditions hold, and that its
// result describes the conflict otherwise.
func TestCommit(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, etcdtest.Start(t, 1))
	if got := read(t, engine, "a"); got.Revision != 0 || got.Value != nil {
		t.Fatalf("missing record: %+v", got)
	}
	created, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "a"}, {Key: "b"}},
		[]cluster.Write{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{}}})
	if err != nil || !created.Committed || created.Revision == 0 {
		t.Fatalf("creating: %+v, %v", created, err)
	}
	if got := read(t, engine, "a"); got.Revision != created.Revision || string(got.Value) != "1" {
		t.Errorf("created record: %+v", got)
	}
	if got := read(t, engine, "b"); got.Revision != created.Revision || got.Value == nil {
		t.Errorf("empty record: %+v", got)
	}
	conflict, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "c"}, {Key: "a"}},
		[]cluster.Write{{Key: "a", Value: []byte("2")}})
	if err != nil || conflict.Committed || len(conflict.Current) != 2 || conflict.Current[0].Revision != 0 ||
		conflict.Current[0].Key != "c" || string(conflict.Current[1].Value) != "1" ||
		conflict.Current[1].Revision != created.Revision {
		t.Errorf("conflict: %+v, %v", conflict, err)
	}
	deleted, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "a", Revision: created.Revision}},
		[]cluster.Write{{Key: "a"}})
	if err != nil || !deleted.Committed || deleted.Revision <= created.Revision {
		t.Errorf("deleting: %+v, %v", deleted, err)
	}
	if got := read(t, engine, "a"); got.Revision != 0 {
		t.Errorf("deleted record: %+v", got)
	}
}
