package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mollygate/mollygate/admin"
	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// adminOf serves a node's admin API as Caddy's admin endpoint does, and returns a client for it.
func adminOf(t testing.TB, n *node) *client.Client {
	t.Helper()
	sessions := new(admin.Sessions)
	server := httptest.NewServer(admin.New(admin.Config{
		Store:            func(context.Context) (*tokenstore.Store, error) { return n.Store, nil },
		Policy:           testPolicy,
		OperatorSessions: func() *admin.Sessions { return sessions },
		Authenticate:     func(*http.Request) (tokenstore.Actor, *admin.Refusal) { return testActor, nil },
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.Client(), server.URL)
	check(t, err)
	return c
}

// listed returns the names of all tokens that a node's admin API lists.
func listed(t testing.TB, c *client.Client) (names []string) {
	t.Helper()
	page, err := c.List(t.Context(), client.ListQuery{Sort: "name"})
	check(t, err)
	for _, tok := range page.Tokens {
		names = append(names, tok.Name+" "+tok.Status)
	}
	return names
}

// wantConfirmed fails the test unless the gates that haven't confirmed changes are the given ones.
func wantConfirmed(t testing.TB, c *client.Client, gates int, missing ...*node) {
	t.Helper()
	got, err := c.Confirm(t.Context())
	check(t, err)
	var names, want []string
	for _, n := range got.Missing {
		names = append(names, n.Name)
	}
	for _, n := range missing {
		want = append(want, filepath.Base(n.dir))
	}
	if got.Gates != gates || !slices.Equal(names, want) {
		t.Errorf("%d gates, %q missing; want %d, %q", got.Gates, names, gates, want)
	}
}

// TestAdmin restores a backup, accepts an older store and confirms changes through the admin APIs
// of three nodes.
func TestAdmin(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	var apis []*client.Client
	for _, n := range nodes {
		apis = append(apis, adminOf(t, n))
	}
	named := func(name string) func(*token.Draft) { return func(d *token.Draft) { d.Name = name } }
	kept, keptSecret := nodes[0].create(t, named("a"))
	nodes[1].create(t, named("b"))
	backup, err := apis[0].Backup(t.Context())
	check(t, err)
	content, err := io.ReadAll(backup)
	check(t, errors.Join(err, backup.Close()))

	_, newerSecret := nodes[2].create(t, named("c"))
	_, err = apis[1].Revoke(t.Context(), kept.ID.String())
	check(t, err)
	wantConfirmed(t, apis[1], 3)
	wantVerdict(t, nodes, keptSecret, revoked)

	_, err = apis[2].Restore(t.Context(), bytes.NewReader(content[:len(content)-4096]))
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Code != "invalid_backup" {
		t.Errorf("a truncated backup: %v", err)
	}
	wantVerdict(t, nodes, keptSecret, revoked)

	restored, err := apis[2].Restore(t.Context(), bytes.NewReader(content))
	check(t, err)
	if want := (client.Restored{Tokens: 2, AuditEntries: 2}); restored != want {
		t.Errorf("restored %+v, want %+v", restored, want)
	}
	wantConfirmed(t, apis[0], 3) // even though all nodes are reading the store
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, keptSecret, active)
	wantVerdict(t, nodes, newerSecret, unknown)
	for _, api := range apis {
		if got := listed(t, api); !slices.Equal(got, []string{"a active", "b active"}) {
			t.Errorf("tokens %q", got)
		}
		for page, err := range api.AuditPages(t.Context(), client.AuditQuery{Limit: 1}) {
			check(t, err)
			if len(page.Entries) != 1 || page.Entries[0].Action != "restore" {
				t.Errorf("audit log %+v", page.Entries)
			}
			break
		}
	}
	_, madeSecret := nodes[0].create(t, named("d"))
	wantConfirmed(t, apis[0], 3)
	wantVerdict(t, nodes, madeSecret, active)

	snapshot := etcd.Snapshot(0)
	_, err = apis[0].Revoke(t.Context(), kept.ID.String())
	check(t, err)
	wantConfirmed(t, apis[0], 3)
	etcd.Restore(snapshot)
	wantLost(t, kept.ID, nodes...)
	_, err = apis[0].Disable(t.Context(), kept.ID.String())
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("a change of a store that has lost changes: %v", err)
	} else {
		t.Log(refused.Detail)
	}
	check(t, apis[1].AcceptShared(t.Context()))
	wantEqual(t, etcd, prefix, nodes...)
	wantVerdict(t, nodes, keptSecret, active)
	wantConfirmed(t, apis[2], 3)

	check(t, nodes[1].Close()) // a node that is stopped serves nothing
	eventually(t, func() error {
		for _, n := range nodes[0].Nodes() {
			if n.Name == filepath.Base(nodes[1].dir) && (n.Live || !n.Stopped) {
				return fmt.Errorf("the node is not known to be stopped: %+v", n)
			}
		}
		return nil
	})
	wantConfirmed(t, apis[0], 2)
	nodes[2].link.kill() // a node without contact may still serve tokens
	began := time.Now()
	wantConfirmed(t, apis[0], 2, nodes[2])
	if waited := time.Since(began); waited < 8*time.Second {
		t.Errorf("waited only %v for a node that may answer", waited)
	}
	eventually(t, func() error {
		for _, n := range nodes[0].Nodes() {
			if n.Name == filepath.Base(nodes[2].dir) && n.Live {
				return errors.New("the node is live")
			}
		}
		return nil
	})
	began = time.Now()
	wantConfirmed(t, apis[0], 2, nodes[2])
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("waited %v for a node without contact", waited)
	}
}
