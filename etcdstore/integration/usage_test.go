package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// wantUsage waits until all nodes know of the given number of allowed requests of a token, and
// checks that all ways to read usage agree.
func wantUsage(t testing.TB, nodes []*node, id token.ID, want uint64) {
	t.Helper()
	for _, n := range nodes {
		check(t, n.Flush())
	}
	for _, n := range nodes {
		name := filepath.Base(n.dir)
		eventually(t, func() error {
			if got := n.allowed(t, id); got != want {
				return fmt.Errorf("%s: Get: %d requests, want %d", name, got, want)
			}
			return nil
		})
		now := n.Now()
		for _, step := range []tokenstore.Step{tokenstore.StepHour, tokenstore.StepDay} {
			points, err := n.Series(id, step, now.Add(-48*time.Hour), now.Add(time.Hour))
			check(t, err)
			if got := sumOf(points); got != want {
				t.Errorf("%s: Series: %d requests, want %d", name, got, want)
			}
		}
		found := false
		check(t, n.Scan(t.Context(), func(u tokenstore.TokenUsage) bool {
			if u.Token.ID == id {
				if found = true; u.Usage.Allowed != want {
					t.Errorf("%s: Scan: %d requests, want %d", name, u.Usage.Allowed, want)
				}
			}
			return true
		}))
		if !found {
			t.Errorf("%s: Scan doesn't visit the token", name)
		}
		list, _, err := n.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 1000})
		check(t, err)
		for _, u := range list {
			if u.Token.ID == id && u.Usage.Allowed != want {
				t.Errorf("%s: List: %d requests, want %d", name, u.Usage.Allowed, want)
			}
		}
		byNode, err := n.UsageByNode(id)
		check(t, err)
		total := uint64(0)
		for _, usage := range byNode {
			total += usage.Allowed
		}
		if total != want {
			t.Errorf("%s: UsageByNode: %d requests, want %d: %v", name, total, want, byNode)
		}
	}
}

func sumOf(points []tokenstore.Point) (n uint64) {
	for _, p := range points {
		n += p.Count
	}
	return n
}

// wantTotals waits until all nodes know of the given number of requests of all tokens.
func wantTotals(t testing.TB, nodes []*node, want uint64) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, func() error {
			now := n.Now()
			points, err := n.Totals(tokenstore.StepDay, now.Add(-48*time.Hour), now.Add(time.Hour))
			if got := sumOf(points); err != nil || got != want {
				return fmt.Errorf("%s: Totals: %d requests, want %d; %v", filepath.Base(n.dir), got, want, err)
			}
			return nil
		})
	}
}

// copyDir copies the files of a node that doesn't count at the moment. If the node writes them
// meanwhile, it copies them again.
func copyDir(t testing.TB, n *node, to string) {
	t.Helper()
	check(t, mkdir(to))
	eventually(t, func() error {
		before := n.replica.Sequence()
		files, err := os.ReadDir(n.dir)
		check(t, err)
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(n.dir, file.Name()))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(to, file.Name()), content, 0o600))
		}
		if n.replica.Sequence() != before {
			return fmt.Errorf("the replica was written")
		}
		return nil
	})
}

// kill ends a node as a kill of its process does, and starts it again from its files.
func (n *node) kill(t testing.TB, etcd *etcdtest.Cluster, prefix string, edit ...func(*nodeOptions)) *node {
	t.Helper()
	dir := filepath.Join(t.TempDir(), filepath.Base(n.dir))
	copyDir(t, n, dir)
	id := n.self()
	n.link.kill()
	// The record of the killed process expires.
	_, err := etcd.Client().Delete(t.Context(), prefix+"node/"+id)
	check(t, err)
	go func() { _ = n.Close() }() // has no effect on the new node
	return startNode(t, etcd, prefix, dir, edit...)
}

// self returns the node's ID.
func (n *node) self() string {
	for _, other := range n.Nodes() {
		if other.Self {
			return other.ID
		}
	}
	return ""
}

// TestUsage counts requests at three nodes, of which one is killed several times.
func TestUsage(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	prefix := prefixOf(t.Name())
	often := func(o *nodeOptions) { o.store.FlushInterval = 50 * time.Millisecond }
	nodes := startAll(t, etcd, often)
	tok, secret := nodes[0].create(t)
	deleted, deletedSecret := nodes[0].create(t)
	_, other := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	want, all := 0, 0
	for round := range 4 {
		atOnce(nodes, func(i int, n *node) {
			n.use(t, secret, 100*(i+1)+round)
			n.use(t, other, 1)
			n.use(t, deletedSecret, 2)
		})
		want += 100*6 + 3*round
		all += 100*6 + 3*round + 9
		nodes[2] = nodes[2].kill(t, etcd, prefix, often)
	}
	wantUsage(t, nodes, tok.ID, uint64(want))
	wantTotals(t, nodes, uint64(all))
	check(t, nodes[1].Delete(deleted.ID, token.AnyVersion, testActor))
	wantTotals(t, nodes, uint64(all))
	for i, n := range nodes {
		nodes[i] = n.restartWith(t)
	}
	wantUsage(t, nodes, tok.ID, uint64(want))
	wantTotals(t, nodes, uint64(all))

	// A node whose disk is lost starts as a new node. What it had reported stays.
	check(t, nodes[2].Close())
	check(t, os.RemoveAll(nodes[2].dir))
	check(t, mkdir(nodes[2].dir))
	nodes[2] = nodes[2].restartWith(t)
	wantUsage(t, nodes, tok.ID, uint64(want))
	nodes[2].fresh(t)
	nodes[2].use(t, secret, 7)
	wantUsage(t, nodes, tok.ID, uint64(want+7))
	wantTotals(t, nodes, uint64(all+7))
}

// TestLateReport has etcd carry out a report whose outcome was unknown after a newer report. The newer
// one must stay.
func TestLateReport(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startNodes(t, etcd, prefixOf(t.Name()), 2)
	tok, secret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	var late func() (cluster.Result, error)
	delayed := make(chan struct{})
	nodes[0].link.setCommitting(func(conditions []cluster.Condition, writes []cluster.Write) error {
		report := slices.ContainsFunc(writes, func(w cluster.Write) bool { return strings.Contains(w.Key, "/totals/") })
		if !report || late != nil {
			return nil
		}
		late = func() (cluster.Result, error) {
			return nodes[0].link.engine.Commit(t.Context(), conditions, writes)
		}
		close(delayed)
		return errors.New("the outcome is unknown")
	})
	nodes[0].use(t, secret, 3)
	check(t, nodes[0].Flush())
	receive(t, delayed)
	nodes[0].use(t, secret, 5)
	wantUsage(t, nodes, tok.ID, 8)
	result, err := late()
	check(t, err)
	nodes[1].sync(t)
	if got := nodes[1].allowed(t, tok.ID); got != 8 || result.Committed {
		t.Errorf("after the late report: %d requests, want 8; committed: %v", got, result.Committed)
	}
}

// TestDamagedReplica damages a replica's file. The node must not count its usage twice after the
// file has been rebuilt.
func TestDamagedReplica(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startNodes(t, etcd, prefixOf(t.Name()), 2)
	tok, secret := nodes[0].create(t)
	var tokens []token.Credential
	var last token.ID
	for range 300 {
		made, c := nodes[0].create(t)
		tokens, last = append(tokens, c), made.ID
	}
	nodes[1].sync(t)
	nodes[0].use(t, secret, 10)
	nodes[1].use(t, secret, 5)
	for _, n := range nodes {
		check(t, n.Flush())
	}
	wantUsage(t, nodes, tok.ID, 15)
	check(t, nodes[1].Close())
	damageFile(t, filepath.Join(nodes[1].dir, "replica.db"), last.String())
	nodes[1] = nodes[1].restartWith(t)
	if len(nodes[1].backend.Health().Repairs) == 0 {
		t.Error("the replica was not repaired")
	}
	wantVerdict(t, nodes, secret, active)
	for _, c := range tokens {
		wantVerdict(t, nodes[1:], c, active)
	}
	nodes[1].use(t, secret, 1)
	wantUsage(t, nodes, tok.ID, 16)
	wantTotals(t, nodes, 16)
}

// damageFile alters all copies of a text in a file.
func damageFile(t testing.TB, path, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	check(t, err)
	found := bytes.Count(content, []byte(text))
	if found == 0 {
		t.Fatalf("%s isn't in the file", text)
	}
	content = bytes.ReplaceAll(content, []byte(text), []byte(strings.Repeat("\xff", len(text))))
	check(t, os.WriteFile(path, content, 0o600))
}
