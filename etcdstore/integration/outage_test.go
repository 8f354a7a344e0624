package integration

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// clocked makes a node use a clock.
func clocked(clock tokenstore.Clock) func(*nodeOptions) {
	return func(o *nodeOptions) { o.Clock, o.store.Clock = clock, clock }
}

// quick makes requests to etcd time out soon.
func quick(o *nodeOptions) {
	o.RequestTimeout, o.etcd.RequestTimeout, o.etcd.DialTimeout = time.Second, time.Second, time.Second
}

// maxStaleness limits the age of a node's replica.
func maxStaleness(limit time.Duration) func(*nodeOptions) {
	return func(o *nodeOptions) { o.MaxStaleness = limit }
}

// wantStale fails the test unless the nodes refuse a secret because they are stale.
func wantStale(t testing.TB, c token.Credential, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if _, err := n.Authenticate(c, n.Now()); !errors.Is(err, tokenstore.ErrStale) {
			t.Errorf("%s: %v, want ErrStale", filepath.Base(n.dir), err)
		}
	}
}

// wantUnavailable fails the test unless changes fail soon.
func wantUnavailable(t testing.TB, n *node, id token.ID) {
	t.Helper()
	began := time.Now()
	_, err := n.Revoke(id, token.AnyVersion, testActor)
	if !errors.Is(err, tokenstore.ErrUnavailable) {
		t.Errorf("Revoke: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Revoke failed after %v", took)
	}
}

// TestOutage stops all members of etcd.
func TestOutage(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 3)
	clock := new(testClock)
	nodes := startAll(t, etcd, quick, clocked(clock), maxStaleness(time.Hour))
	unlimited := startNodes(t, etcd, prefixOf(t.Name()), 1, quick, clocked(clock))
	tok, secret := nodes[0].create(t)
	_, unused := nodes[0].create(t)
	for _, n := range append(nodes, unlimited...) {
		n.sync(t)
		wantVerdict(t, []*node{n}, secret, active)
	}
	for i := range 3 {
		etcd.Stop(i)
	}
	for _, n := range nodes {
		eventually(t, func() error {
			if n.problem() == nil {
				return errors.New("the node has contact")
			}
			return nil
		})
	}
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, unused, active)
	wantUnavailable(t, nodes[0], tok.ID)
	nodes[1] = nodes[1].restartAlone(t)
	wantVerdict(t, nodes, secret, active)
	wantVerdict(t, nodes, unused, active)
	wantUnavailable(t, nodes[1], tok.ID)
	fresh := startNodes(t, etcd, prefixOf(t.Name()), 1, quick, clocked(clock), func(o *nodeOptions) { o.alone = true })
	wantStale(t, secret, fresh...)

	clock.pass(59 * time.Minute)
	wantVerdict(t, nodes, secret, active)
	nodes[2] = nodes[2].restartAlone(t)
	wantVerdict(t, nodes, unused, active)
	clock.pass(time.Minute + time.Second)
	wantStale(t, secret, nodes...)
	wantStale(t, unused, nodes...)
	nodes[2] = nodes[2].restartAlone(t)
	wantStale(t, secret, nodes...)
	wantStale(t, secret, fresh...)
	wantVerdict(t, unlimited, secret, active)
	clock.pass(-2 * time.Hour)
	wantStale(t, secret, fresh...)
	unlimited[0] = unlimited[0].restartAlone(t)
	wantVerdict(t, unlimited, secret, active)
	clock.pass(2 * time.Hour)

	for i := range 3 {
		etcd.Start(i)
	}
	nodes = append(append(nodes, unlimited...), fresh...)
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
	for _, n := range nodes {
		n.fresh(t)
	}
	wantVerdict(t, nodes, secret, active)
	_, err := nodes[1].Revoke(tok.ID, token.AnyVersion, testActor)
	check(t, err)
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
	wantVerdict(t, nodes, secret, revoked)
}

// TestCutOff cuts one node off while the others make changes. In one case, etcd forgets the
// changes meanwhile. In another, the node restarts.
func TestCutOff(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	for _, test := range []struct {
		name             string
		compact, restart bool
	}{{"", false, false}, {"compacted", true, false}, {"closed", false, true}, {"closed and compacted", true, true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prefix, clock := prefixOf(t.Name()), new(testClock)
			nodes := startNodes(t, etcd, prefix, 3, quick, clocked(clock), maxStaleness(time.Hour))
			type made struct {
				id     token.ID
				secret token.Credential
			}
			var tokens []made
			for range 8 {
				tok, secret := nodes[0].create(t)
				tokens = append(tokens, made{tok.ID, secret})
			}
			for _, n := range nodes {
				n.sync(t)
			}
			for _, m := range tokens {
				wantVerdict(t, nodes, m.secret, active)
			}
			feed := nodes[2].Feed()
			defer feed.Close()
			var operations []*operation
			for _, m := range tokens {
				operations = append(operations, nodes[2].watchToken(t, m.secret))
			}
			nodes[2].link.cut()
			_, err := nodes[0].Revoke(tokens[0].id, token.AnyVersion, testActor)
			check(t, err)
			check(t, nodes[1].Delete(tokens[1].id, token.AnyVersion, testActor))
			_, rotated, err := nodes[0].Rotate(testPolicy, tokens[2].id, token.Rotation{}, testActor)
			check(t, err)
			_, graceful, err := nodes[0].Rotate(testPolicy, tokens[3].id, token.Rotation{Grace: time.Hour}, testActor)
			check(t, err)
			_, err = nodes[1].Disable(tokens[4].id, token.AnyVersion, testActor)
			check(t, err)
			_, secret := nodes[1].create(t)
			wantVerdict(t, nodes[2:], tokens[0].secret, active) // it can't know better
			wantUnavailable(t, nodes[2], tokens[5].id)
			if test.compact {
				a := &attacker{t, etcd.Client(), prefix}
				a.compact()
			}
			if test.restart {
				nodes[2] = nodes[2].restartAlone(t)
			} else {
				nodes[2].link.join()
			}
			wantEqual(t, etcd, prefix, nodes...)
			for i, want := range []string{revoked, unknown, unknown, active + ", previous secret", disabled, active,
				active, active} {
				wantVerdict(t, nodes, tokens[i].secret, want)
				if ended := operations[i].ended.Load() == 1; ended != (i < 5 && i != 3) && !test.restart {
					t.Errorf("token %d: the request in progress ended: %v", i, ended)
				}
			}
			for _, c := range []token.Credential{secret, parse(t, rotated), parse(t, graceful)} {
				wantVerdict(t, nodes, c, active)
			}
			if changes, many := feed.Changes(); !test.restart && !many && len(changes) != 6 {
				t.Errorf("feed: %v", changes)
			}
		})
	}
}

// TestClockSetBack cuts a node off and sets its clock back. The node must become stale
// nevertheless.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	clock := new(testClock)
	n := startNodes(t, etcd, prefixOf(t.Name()), 1, quick, clocked(clock), maxStaleness(3*time.Second))[0]
	_, secret := n.create(t)
	wantVerdict(t, []*node{n}, secret, active)
	n.link.cut()
	clock.pass(-time.Hour)
	cut := time.Now()
	eventually(t, func() error {
		if _, err := n.Authenticate(secret, n.Now()); err == nil {
			return errors.New("the node isn't stale")
		}
		return nil
	})
	if took := time.Since(cut); took > 10*time.Second {
		t.Errorf("the node was stale after %v", took)
	}
	wantStale(t, secret, n)
	n.link.join()
	n.sync(t)
	eventually(t, func() error { _, err := n.Authenticate(secret, n.Now()); return err })
}
