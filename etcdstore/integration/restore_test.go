package integration

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// contentOf returns the records and the usage of a store that one gate uses.
func contentOf(t testing.TB, path string) (records map[string]string, usage map[token.ID]uint64) {
	t.Helper()
	backend, err := bolt.Open(path)
	check(t, err)
	defer func() { check(t, backend.Close()) }()
	records, usage = tablesOf(t, backend), make(map[token.ID]uint64)
	check(t, backend.Scan(token.ID{}, func(tok *token.Token, u tokenstore.Usage) bool {
		usage[tok.ID] = u.Allowed
		return true
	}))
	return records, usage
}

func (n *node) restoreFrom(ctx context.Context, path string) error {
	_, err := n.backend.Restore(ctx, path, tokenstore.AuditEntry{Time: n.Now(), Actor: "me", Action: "restore"})
	return err
}

// withoutRestores returns the records except for the audit entries of restores.
func withoutRestores(records map[string]string) map[string]string {
	records = maps.Clone(records)
	maps.DeleteFunc(records, func(key, value string) bool {
		return key[0] == 'a' && strings.Contains(value, "restore")
	})
	return records
}

// TestRestore backs up a store of three nodes and restores it into a plain store and into the
// shared store.
func TestRestore(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	tok, secret := nodes[0].create(t)
	gone, goneSecret := nodes[1].create(t)
	_, err := nodes[1].Revoke(gone.ID, token.AnyVersion, testActor)
	check(t, err)
	text := "f81d4fae-7dec-41d0-a765-000000000001"
	imported, _, err := nodes[2].Import(testPolicy, draft(), text, testActor)
	check(t, err)
	check(t, nodes[2].Delete(imported.ID, token.AnyVersion, testActor))
	for i, n := range nodes {
		n.sync(t)
		n.use(t, secret, 10*(i+1))
	}
	wantUsage(t, nodes, tok.ID, 60)
	before := sharedRecords(t, etcd, prefix)
	backup := nodes[0].backupFile(t)
	records, usage := contentOf(t, backup)
	compare(t, "the backup", records, before)
	if usage[tok.ID] != 60 {
		t.Errorf("the backup has %d requests", usage[tok.ID])
	}

	_, err = nodes[0].Disable(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	_, late := nodes[1].create(t)
	for _, n := range nodes {
		n.sync(t)
		wantVerdict(t, []*node{n}, late, active)
		n.use(t, secret, 5)
	}
	wantUsage(t, nodes, tok.ID, 75)
	check(t, nodes[2].restoreFrom(t.Context(), backup))
	wantEqual(t, etcd, prefix, nodes...)
	compare(t, "etcd", withoutRestores(sharedRecords(t, etcd, prefix)), before)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, goneSecret, revoked)
	wantVerdict(t, nodes, late, unknown)
	wantUsage(t, nodes, tok.ID, 60)
	for i, n := range nodes {
		n.use(t, secret, i+1)
		if _, _, err := n.Import(testPolicy, draft(), text, testActor); !errors.Is(err, tokenstore.ErrTaken) {
			t.Errorf("importing a secret that ended: %v", err)
		}
	}
	wantUsage(t, nodes, tok.ID, 66)
	wantTotals(t, nodes, 66)
	nodes[1] = nodes[1].restartWith(t)
	wantUsage(t, nodes, tok.ID, 66)

	// Again, to a plain store and back.
	backup = nodes[1].backupFile(t)
	records, _ = contentOf(t, backup)
	check(t, nodes[0].restoreFrom(t.Context(), backup))
	wantEqual(t, etcd, prefix, nodes...)
	wantUsage(t, nodes, tok.ID, 66)
	again, usage := contentOf(t, nodes[2].backupFile(t))
	compare(t, "the second backup", withoutRestores(again), withoutRestores(records))
	if usage[tok.ID] != 66 {
		t.Errorf("the second backup has %d requests", usage[tok.ID])
	}
}

// TestRestoreRaces restores at two nodes at the same time, while a third one makes changes, and
// cancels a restore.
func TestRestoreRaces(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	for range 200 {
		nodes[0].create(t)
	}
	_, secret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	before, backup := sharedRecords(t, etcd, prefix), nodes[0].backupFile(t)

	// Canceled after some batches.
	ctx, cancel := context.WithCancel(t.Context())
	var batches atomic.Int32
	nodes[0].link.setCommitting(func(_ []cluster.Condition, writes []cluster.Write) error {
		if len(writes) > 50 && batches.Add(1) == 3 {
			cancel()
		}
		return nil
	})
	if err := nodes[0].restoreFrom(ctx, backup); err == nil {
		t.Error("a canceled restore succeeded")
	}
	nodes[0].link.setCommitting(nil)
	wantEqual(t, etcd, prefix, nodes...)
	compare(t, "etcd", sharedRecords(t, etcd, prefix), before)
	wantVerdict(t, nodes, secret, active)

	var won atomic.Int32
	var made sync.Map
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if tok, _, err := nodes[2].Create(testPolicy, draft(), testActor); err == nil {
				made.Store(tok.ID, true)
			} else if !errors.Is(err, tokenstore.ErrUnavailable) {
				t.Errorf("Create: %v", err)
			}
		}
	})
	atOnce(nodes[:2], func(i int, n *node) {
		path := n.backupFile(t)
		if err := n.restoreFrom(t.Context(), path); err == nil {
			won.Add(1)
		} else if !errors.Is(err, tokenstore.ErrUnavailable) {
			t.Errorf("node %d: %v", i, err)
		}
	})
	close(done)
	changing.Wait()
	if won.Load() == 0 {
		t.Error("no restore succeeded")
	}
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
	_, err := nodes[1].Revoke(firstID(t, nodes[1]), token.AnyVersion, testActor)
	check(t, err)
	wantEqual(t, etcd, prefix, nodes...)
}

func firstID(t testing.TB, n *node) token.ID {
	t.Helper()
	all, _, err := n.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1})
	check(t, err)
	return all[0].Token.ID
}

// TestOldGenerations deletes the generations before a restore, a day later.
func TestOldGenerations(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	clock := new(testClock)
	nodes, prefix, client := startAll(t, etcd, clocked(clock)), prefixOf(t.Name()), etcd.Client()
	_, secret := nodes[0].create(t)
	backup := nodes[0].backupFile(t)
	count := func() int {
		seen := make(map[string]bool)
		got, err := client.Get(t.Context(), prefix+"g/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		check(t, err)
		for _, kv := range got.Kvs {
			generation, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix+"g/"), "/")
			seen[generation] = true
		}
		return len(seen)
	}
	for i := range 3 {
		check(t, nodes[i].restoreFrom(t.Context(), backup))
		wantEqual(t, etcd, prefix, nodes...)
	}
	atOnce(nodes, func(_ int, n *node) { n.prune(t, tokenstore.Retention{}) })
	if n := count(); n != 4 {
		t.Errorf("%d generations at once", n)
	}
	clock.pass(25 * time.Hour)
	for range 2 {
		atOnce(nodes, func(_ int, n *node) { n.prune(t, tokenstore.Retention{}) })
	}
	if n := count(); n != 1 {
		t.Errorf("%d generations after a day", n)
	}
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
}
