package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openNode opens a node whose replica is in dir, and waits until it follows.
func openNode(t testing.TB, etcd *etcdtest.Cluster, prefix, dir string,
	edit ...func(*cluster.Options)) *cluster.Backend {
	t.Helper()
	logger := zaptest.NewLogger(t)
	engine, err := etcdstore.NewEngine(etcdstore.Config{Endpoints: etcd.Endpoints(), Prefix: prefix, Logger: logger})
	check(t, err)
	replica, err := bolt.OpenReplica(filepath.Join(dir, "replica.db"))
	check(t, err)
	options := cluster.Options{Engine: engine, Replica: replica, Name: filepath.Base(dir),
		Version: "test", Logger: logger}
	for _, f := range edit {
		f(&options)
	}
	b, err := cluster.Open(options)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for err := b.Sync(ctx); err != nil; err = b.Sync(ctx) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return b
}

// prefixOf returns a prefix for the store with a name.
func prefixOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "/" + hex.EncodeToString(sum[:8]) + "/"
}

func TestBackend(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	backendtest.Run(t, backendtest.Kind{
		Open: func(t testing.TB, dir string) tokenstore.Backend { return openNode(t, etcd, prefixOf(dir), dir) },
	})
}
