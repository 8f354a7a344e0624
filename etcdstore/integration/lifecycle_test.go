package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// goroutines returns the number of the package cluster's goroutines for this test's node.
func goroutines(of string) int {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte(of)) {
			n++
		}
	}
	return n
}

// TestClose closes nodes while they list the store, without contact and while they are changed.
func TestClose(t *testing.T) { // not parallel, because it counts goroutines
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startAll(t, etcd, quick), prefixOf(t.Name())
	tok, _ := nodes[0].create(t)
	closeSoon := func(when string, n *node) {
		t.Helper()
		began := time.Now()
		check(t, n.Close())
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: Close took %v", when, took)
		}
	}
	listing := make(chan struct{})
	late := startNodes(t, etcd, prefix, 1, quick, func(o *nodeOptions) { o.alone, o.cut = true, true })[0]
	released := make(chan struct{})
	late.link.slowList(func() { close(listing); <-released })
	late.link.join()
	<-listing
	go func() { time.Sleep(100 * time.Millisecond); close(released) }()
	closeSoon("during a list", late)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			name := fmt.Sprint("name", i)
			if _, err := nodes[1].Edit(testPolicy, tok.ID, token.Edit{Name: &name}, testActor); err != nil {
				if !errors.Is(err, tokenstore.ErrUnavailable) {
					t.Errorf("Edit: %v", err)
				}
				return
			}
		}
	}()
	closeSoon("during changes", nodes[1])
	<-done
	etcd.Stop(0)
	closeSoon("without contact", nodes[0])
	nodes[2] = nodes[2].restartAlone(t)
	closeSoon("after a start without contact", nodes[2])
	if _, err := nodes[2].Authenticate(token.Credential{}, nodes[2].Now()); !errors.Is(err, tokenstore.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	eventually(t, func() error {
		if n := goroutines("tokenstore/cluster.(*Backend)"); n > 0 {
			return fmt.Errorf("%d goroutines are left", n)
		}
		return nil
	})
}

// TestClone opens a copy of a running node's replica. The copy must take another ID, and requests
// must not count twice.
func TestClone(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes, prefix := startNodes(t, etcd, prefixOf(t.Name()), 2), prefixOf(t.Name())
	tok, secret := nodes[0].create(t)
	for _, n := range nodes {
		n.sync(t)
	}
	nodes[0].use(t, secret, 10)
	wantUsage(t, nodes, tok.ID, 10)
	dir := filepath.Join(t.TempDir(), "clone")
	copyDir(t, nodes[0], dir)
	clone := startNode(t, etcd, prefix, dir)
	clone.use(t, secret, 3)
	nodes[0].use(t, secret, 1)
	eventually(t, func() error {
		if clone.self() == nodes[0].self() {
			return errors.New("the clone has the node's ID")
		}
		return nil
	})
	clone.use(t, secret, 4)
	want := uint64(18)
	nodes = append(nodes, clone)
	wantUsage(t, nodes, tok.ID, want)
	wantTotals(t, nodes, want)
	nodes[2] = nodes[2].restartWith(t)
	wantUsage(t, nodes, tok.ID, want)
}

// TestWatchFaults delivers commits late and cuts the connection in the middle of changes.
func TestWatchFaults(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 3)
	nodes, prefix := startAll(t, etcd), prefixOf(t.Name())
	nodes[1].link.setEdit(func(c cluster.Commit, yield func(cluster.Commit) error) error {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		return yield(c)
	})
	var tokens []token.ID
	for range 5 {
		tok, _ := nodes[0].create(t)
		tokens = append(tokens, tok.ID)
	}
	var succeeded atomic.Int32
	stop := time.Now().Add(6 * time.Second)
	atOnce(append(nodes, nodes[2]), func(i int, n *node) {
		if i == 3 {
			for time.Now().Before(stop) {
				n.link.cut()
				time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
				n.link.join()
				time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
			}
			return
		}
		for j := 0; time.Now().Before(stop); j++ {
			name := fmt.Sprintf("%d at %d", j, i)
			_, err := n.Edit(testPolicy, tokens[rand.IntN(len(tokens))], token.Edit{Name: &name}, testActor)
			if err == nil {
				succeeded.Add(1)
			} else if !errors.Is(err, tokenstore.ErrUnavailable) {
				t.Errorf("Edit: %v", err)
			}
		}
	})
	if succeeded.Load() == 0 {
		t.Error("no change succeeded")
	}
	wantEqual(t, etcd, prefix, nodes...)
}

// TestExpiryEvents moves the clock past a token's expiry. One node publishes each event.
func TestExpiryEvents(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	clock := new(testClock)
	var expiring, expired atomic.Int32
	nodes := startAll(t, etcd, clocked(clock), func(o *nodeOptions) {
		o.store.FlushInterval = time.Second
		o.store.Events = func(e tokenstore.Event) {
			switch e.Kind {
			case tokenstore.EventExpiring:
				expiring.Add(1)
			case tokenstore.EventExpired:
				expired.Add(1)
			}
		}
	})
	nodes[0].create(t, func(d *token.Draft) { d.ExpiresIn = lifetime("30d") })
	restart := func() { // the check is due when a store opens
		atOnce(nodes, func(i int, n *node) { nodes[i] = n.restartWith(t) })
	}
	restart()
	clock.pass(24 * 24 * time.Hour)
	restart()
	eventually(t, func() error {
		if expiring.Load() == 0 {
			return errors.New("no event")
		}
		return nil
	})
	clock.pass(7 * 24 * time.Hour)
	restart()
	eventually(t, func() error {
		if expired.Load() == 0 {
			return errors.New("no event")
		}
		return nil
	})
	restart()
	for _, n := range nodes {
		check(t, n.Close())
	}
	if expiring.Load() != 1 || expired.Load() != 1 {
		t.Errorf("%d events before the expiry, %d at it", expiring.Load(), expired.Load())
	}
}
