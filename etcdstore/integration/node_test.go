package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

var testPolicy = token.Policy{
	Prefixes:    token.Prefixes{token.DefaultPrefix},
	MaxLifetime: lifetime("24mo"),
	Accounts:    []string{"default"},
	Catalog: token.Catalog{
		Scopes:  []token.CatalogScope{{Scope: token.Scope{Name: "unikernel:list"}}},
		Presets: map[string]token.Grants{"full": {"*"}},
	},
}

var testActor = tokenstore.Actor{Name: "caddy-admin", Address: "127.0.0.1"}

func lifetime(text string) token.Lifetime {
	l, err := token.ParseLifetime(text)
	if err != nil {
		panic(err)
	}
	return l
}

// nodeOptions configure a node of a test.
type nodeOptions struct {
	etcd etcdstore.Config
	cluster.Options
	store tokenstore.Options
	// alone is set if the node doesn't reach etcd when it starts.
	alone bool
	// cut is set if the connection to etcd is cut when the node starts.
	cut bool
}

// node is a gate's store, which is shared with other nodes.
type node struct {
	*tokenstore.Store
	backend *cluster.Backend
	replica *bolt.Replica
	link    *link
	dir     string
	// restartWith closes the node and opens its replica again.
	restartWith func(testing.TB, ...func(*nodeOptions)) *node
}

// startNode starts a node whose replica is in dir. It waits until the node follows. The node is
// closed when the test ends.
func startNode(t testing.TB, etcd *etcdtest.Cluster, prefix, dir string, edit ...func(*nodeOptions)) *node {
	t.Helper()
	logger := zaptest.NewLogger(t).Named(filepath.Base(dir))
	o := nodeOptions{
		etcd:    etcdstore.Config{Endpoints: etcd.Endpoints(), Prefix: prefix, Logger: logger},
		Options: cluster.Options{Name: filepath.Base(dir), Version: "test", Logger: logger},
		store:   tokenstore.Options{FlushInterval: -1, Logger: logger},
	}
	for _, f := range edit {
		f(&o)
	}
	engine, err := etcdstore.NewEngine(o.etcd)
	check(t, err)
	replica, err := bolt.OpenReplica(filepath.Join(dir, "replica.db"))
	check(t, err)
	n := &node{replica: replica, link: newLink(engine), dir: dir}
	if o.cut {
		n.link.cut()
	}
	o.Engine, o.Replica = n.link, replica
	n.backend, err = cluster.Open(o.Options)
	check(t, err)
	n.Store, err = tokenstore.Open(n.backend, o.store)
	check(t, err)
	t.Cleanup(func() { _ = n.Close() })
	n.restartWith = func(t testing.TB, more ...func(*nodeOptions)) *node {
		t.Helper()
		check(t, n.Close())
		return startNode(t, etcd, prefix, dir, append(slices.Clone(edit), more...)...)
	}
	if !o.alone {
		n.sync(t)
		n.fresh(t)
	}
	return n
}

// startNodes starts n nodes whose replicas are in directories of their own.
func startNodes(t testing.TB, etcd *etcdtest.Cluster, prefix string, n int, edit ...func(*nodeOptions)) []*node {
	t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("node", i))
		check(t, mkdir(dir))
		nodes[i] = startNode(t, etcd, prefix, dir, edit...)
	}
	return nodes
}

// startAll starts three nodes with a prefix of the test's own.
func startAll(t testing.TB, etcd *etcdtest.Cluster, edit ...func(*nodeOptions)) []*node {
	t.Helper()
	return startNodes(t, etcd, prefixOf(t.Name()), 3, edit...)
}

// sync waits until the node has all changes.
func (n *node) sync(t testing.TB) {
	t.Helper()
	eventually(t, func() error { return n.Sync(t.Context()) })
}

// fresh waits until the node serves tokens.
func (n *node) fresh(t testing.TB) {
	t.Helper()
	eventually(t, n.backend.Stale)
}

// problem returns why contact is lost.
func (n *node) problem() error {
	return n.Contact().Problem
}

// create creates a token that works for a year.
func (n *node) create(t testing.TB, edit ...func(*token.Draft)) (*token.Token, token.Credential) {
	t.Helper()
	tok, secret, err := n.Create(testPolicy, draft(edit...), testActor)
	check(t, err)
	return tok, parse(t, secret)
}

func draft(edit ...func(*token.Draft)) token.Draft {
	d := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "full",
		Expiry: token.Expiry{ExpiresIn: lifetime("12mo")}}
	for _, f := range edit {
		f(&d)
	}
	return d
}

func parse(t testing.TB, secret token.Secret) token.Credential {
	t.Helper()
	credential, err := testPolicy.Prefixes.Parse(secret.Reveal())
	check(t, err)
	return credential
}

// verdict returns what a request with the secret gets.
func (n *node) verdict(c token.Credential) string {
	m, err := n.Authenticate(c, n.Now())
	if err != nil {
		return err.Error()
	}
	if m.Previous {
		return fmt.Sprint(m.Status, ", previous secret")
	}
	return fmt.Sprint(m.Status)
}

// wantVerdict fails the test unless all nodes have the same verdict on a secret.
func wantVerdict(t testing.TB, nodes []*node, c token.Credential, want string) {
	t.Helper()
	for _, n := range nodes {
		if got := n.verdict(c); got != want {
			t.Errorf("%s: verdict %q, want %q", filepath.Base(n.dir), got, want)
		}
	}
}

// Verdicts.
var (
	active   = token.StatusActive.String()
	revoked  = token.StatusRevoked.String()
	disabled = token.StatusDisabled.String()
	unknown  = tokenstore.ErrNotFound.Error()
)

// use counts n allowed requests with a secret.
func (n *node) use(t testing.TB, c token.Credential, requests int) {
	t.Helper()
	m, err := n.Authenticate(c, n.Now())
	check(t, err)
	for range requests {
		n.CountAllowed(m, "unikernel:list", tokenstore.LastUse{Time: n.Now(), IP: "192.0.2.1"})
	}
}

// allowed returns the number of allowed requests that the node knows of.
func (n *node) allowed(t testing.TB, id token.ID) uint64 {
	t.Helper()
	got, err := n.Get(id)
	check(t, err)
	return got.Usage.Allowed
}

// eventually waits until f returns nil.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
	}
}

// testClock is a clock that a test moves.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) Now() time.Time {
	return time.Now().Add(time.Duration(c.offset.Load())).Round(0).UTC()
}

func (c *testClock) pass(d time.Duration) { c.offset.Add(int64(d)) }

// reached returns an error unless the node has received all commits up to a revision.
func (n *node) reached(revision int64) error {
	if seen := n.link.received.Load(); seen < revision {
		return fmt.Errorf("revision %d, want %d", seen, revision)
	}
	return nil
}

// restartAlone opens a closed node's replica again, without waiting.
func (n *node) restartAlone(t testing.TB) *node {
	t.Helper()
	return n.restartWith(t, func(o *nodeOptions) { o.alone = true })
}

// backupFile returns the path of a backup.
func (n *node) backupFile(t testing.TB) string {
	t.Helper()
	content, _, err := n.Backup()
	check(t, err)
	path := filepath.Join(t.TempDir(), "backup.db")
	file, err := os.Create(path)
	check(t, err)
	_, err = io.Copy(file, content)
	check(t, errors.Join(err, content.Close(), file.Close()))
	return path
}
