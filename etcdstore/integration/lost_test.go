package integration

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// wipe deletes all keys under a prefix.
func wipe(t testing.TB, client *clientv3.Client, prefix string) {
	t.Helper()
	_, err := client.Delete(t.Context(), prefix, clientv3.WithPrefix())
	check(t, err)
}

// copied is a key that was copied from etcd.
type copied struct {
	key, value string
}

// copyStore returns all keys under a prefix that don't expire.
func copyStore(t testing.TB, client *clientv3.Client, prefix string) (keys []copied) {
	t.Helper()
	got, err := client.Get(t.Context(), prefix, clientv3.WithPrefix())
	check(t, err)
	for _, kv := range got.Kvs {
		if kv.Lease == 0 {
			keys = append(keys, copied{key: string(kv.Key), value: string(kv.Value)})
		}
	}
	return keys
}

// putBack replaces all keys under a prefix by copies.
func putBack(t testing.TB, client *clientv3.Client, prefix string, copies []copied) {
	t.Helper()
	wipe(t, client, prefix)
	for _, key := range copies {
		_, err := client.Put(t.Context(), key.key, key.value)
		check(t, err)
	}
}

// wantLost waits until the nodes refuse to follow the store, and fails the test unless changes
// fail and the node can't say that it is up to date.
func wantLost(t testing.TB, id token.ID, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, func() error {
			if problem := n.problem(); !errors.Is(problem, cluster.ErrLostChanges) {
				return errors.Join(errors.New("the node follows"), problem)
			}
			return nil
		})
		before := n.Contact().AsOf
		name := "changed"
		_, err := n.Edit(testPolicy, id, token.Edit{Name: &name}, testActor)
		if !errors.Is(err, tokenstore.ErrUnavailable) || !errors.Is(err, cluster.ErrLostChanges) {
			t.Errorf("%s: Edit: %v, want ErrLostChanges", filepath.Base(n.dir), err)
		}
		if err := n.Sync(t.Context()); !errors.Is(err, tokenstore.ErrBehind) {
			t.Errorf("%s: Sync: %v, want ErrBehind", filepath.Base(n.dir), err)
		}
		if after := n.Contact().AsOf; !after.Equal(before) {
			t.Errorf("%s: it claims to be fresh", filepath.Base(n.dir))
		}
	}
}

// accept makes all nodes follow the store as it is.
func (n *node) accept(t testing.TB) {
	t.Helper()
	check(t, n.backend.Accept(t.Context(), tokenstore.AuditEntry{Time: n.Now(), Actor: "me", Action: "accept"}))
}

// TestStoreWiped deletes everything under the prefix while nodes follow it and while one is
// closed. They must go on serving their own state, until a backup is restored.
func TestStoreWiped(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	valid, secret := nodes[0].create(t)
	gone, goneSecret := nodes[1].create(t)
	_, err := nodes[1].Revoke(gone.ID, token.AnyVersion, testActor)
	check(t, err)
	for _, n := range nodes {
		n.sync(t)
	}
	backup := nodes[0].backupFile(t)
	wantVerdict(t, nodes[:1], secret, active)
	check(t, nodes[2].Close())
	wipe(t, etcd.Client(), prefix)
	nodes[2] = nodes[2].restartAlone(t)
	wantLost(t, valid.ID, nodes...)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, goneSecret, revoked)
	if err := nodes[0].backend.Accept(t.Context(), tokenstore.AuditEntry{Time: nodes[0].Now(),
		Action: "accept"}); err == nil {
		t.Error("an empty store was accepted")
	}
	_, err = nodes[0].Restore(t.Context(), backup, testActor)
	check(t, err)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, goneSecret, revoked)
	_, made := nodes[1].create(t)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, made, active)
}

// TestOlderStore puts back an older copy of the store's keys. The nodes must refuse to follow it
// until an admin accepts it.
func TestOlderStore(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix, client := startAll(t, etcd), prefixOf(t.Name()), etcd.Client()
	tok, secret := nodes[0].create(t)
	older := copyStore(t, client, prefix)
	_, err := nodes[0].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	late, lateSecret := nodes[1].create(t)
	for _, n := range nodes {
		n.sync(t)
		wantVerdict(t, []*node{n}, lateSecret, active)
	}
	for _, n := range nodes {
		n.link.cut()
	}
	putBack(t, client, prefix, older)
	for _, n := range nodes {
		n.link.join()
	}
	wantLost(t, tok.ID, nodes...)
	wantVerdict(t, nodes, secret, revoked)
	wantVerdict(t, nodes, lateSecret, active)
	nodes[2] = nodes[2].restartWith(t, func(o *nodeOptions) { o.alone = true })
	wantLost(t, tok.ID, nodes[2])
	wantVerdict(t, nodes, secret, revoked)

	nodes[1].accept(t)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, lateSecret, unknown)
	if _, err := nodes[0].Get(late.ID); !errors.Is(err, tokenstore.ErrNotFound) {
		t.Errorf("a token that the store lacks: %v", err)
	}
	_, err = nodes[2].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, secret, revoked)
}

// TestOtherStore opens a replica with the store under another prefix.
func TestOtherStore(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	one := startNodes(t, etcd, prefixOf(t.Name()), 1)[0]
	other := startNodes(t, etcd, prefixOf(t.Name()+"other"), 1)[0]
	_, secret := one.create(t)
	_, otherSecret := other.create(t)
	one.sync(t)
	one = one.restartWith(t, func(o *nodeOptions) { o.alone, o.etcd.Prefix = true, prefixOf(t.Name()+"other") })
	eventually(t, func() error {
		if problem := one.problem(); problem == nil || !strings.Contains(problem.Error(), "isn't the shared store") &&
			!strings.Contains(problem.Error(), "not the shared store") {
			return errors.Join(errors.New("the node follows another store"), problem)
		}
		return nil
	})
	wantVerdict(t, []*node{one}, secret, active)
	wantVerdict(t, []*node{one}, otherSecret, unknown)
	if _, _, err := one.Create(testPolicy, draft(), testActor); !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("a change of another store: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := one.Sync(ctx); !errors.Is(err, tokenstore.ErrBehind) {
		t.Errorf("Sync: %v", err)
	}
}
