package integration

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// operation is a watched operation that requires an active token.
type operation struct {
	tokenstore.Watch
	ended atomic.Int32
}

func (o *operation) StillAllowed(m *tokenstore.Match) bool {
	return m.Token.Known() && m.Status == token.StatusActive
}

func (o *operation) End() { o.ended.Add(1) }

// watchToken starts a watched operation at a node.
func (n *node) watchToken(t testing.TB, c token.Credential) *operation {
	t.Helper()
	m, err := n.Authenticate(c, n.Now())
	check(t, err)
	o := new(operation)
	n.Watch(&o.Watch, &m, o)
	t.Cleanup(o.Stop)
	return o
}

// TestChangesAtAllNodes makes each kind of change at one node. The change must be in force at all
// nodes, whose memory has the token, and each node must note it once.
func TestChangesAtAllNodes(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd)
	var created token.Credential
	uuid := func(i int) string { return fmt.Sprintf("f81d4fae-7dec-41d0-a765-0000000000%02d", i) }
	for i, test := range []struct {
		action string
		change func(n *node, id token.ID) error
		// old is the verdict on the secret after the change, and made the one on the secret that
		// the change makes.
		old, made string
		ends      bool // the change ends requests in progress
		disabled  bool // the token is disabled first
	}{
		{action: "create", change: func(n *node, _ token.ID) error {
			_, secret, err := n.Create(testPolicy, draft(), testActor)
			created = parse(t, secret)
			return err
		}, old: active, made: active},
		{action: "import", change: func(n *node, _ token.ID) error {
			_, _, err := n.Import(testPolicy, draft(), uuid(1), testActor)
			created, _ = testPolicy.Prefixes.Parse(uuid(1))
			return err
		}, old: active, made: active},
		{action: "edit", change: func(n *node, id token.ID) error {
			name := "other"
			_, err := n.Edit(testPolicy, id, token.Edit{Name: &name}, testActor)
			return err
		}, old: active},
		{action: "rotate", change: func(n *node, id token.ID) error {
			_, secret, err := n.Rotate(testPolicy, id, token.Rotation{}, testActor)
			created = parse(t, secret)
			return err
		}, old: unknown, made: active, ends: true},
		{action: "rotate", change: func(n *node, id token.ID) error {
			_, secret, err := n.Rotate(testPolicy, id, token.Rotation{Grace: time.Hour}, testActor)
			created = parse(t, secret)
			return err
		}, old: active + ", previous secret", made: active},
		{action: "disable", change: func(n *node, id token.ID) error {
			_, err := n.Disable(id, token.AnyVersion, testActor)
			return err
		}, old: disabled, ends: true},
		{action: "enable", change: func(n *node, id token.ID) error {
			_, err := n.Enable(id, token.AnyVersion, testActor)
			return err
		}, old: active, disabled: true},
		{action: "revoke", change: func(n *node, id token.ID) error {
			_, err := n.Revoke(id, token.AnyVersion, testActor)
			return err
		}, old: revoked, ends: true},
		{action: "delete", change: func(n *node, id token.ID) error {
			return n.Delete(id, token.AnyVersion, testActor)
		}, old: unknown, ends: true},
	} {
		t.Run(fmt.Sprint(test.action, i), func(t *testing.T) {
			origin := nodes[i%len(nodes)]
			tok, secret := nodes[0].create(t)
			before := active
			if test.disabled {
				_, err := nodes[0].Disable(tok.ID, token.AnyVersion, testActor)
				check(t, err)
				before = disabled
			}
			var feeds []*tokenstore.Feed
			var operations []*operation
			var counts []uint64
			for _, n := range nodes {
				n.sync(t)
				feed := n.Feed()
				defer feed.Close()
				feeds = append(feeds, feed)
				counts = append(counts, n.Changes())
				wantVerdict(t, []*node{n}, secret, before)
				if !test.disabled {
					operations = append(operations, n.watchToken(t, secret))
				}
			}
			check(t, test.change(origin, tok.ID))
			for i, n := range nodes {
				n.sync(t)
				wantVerdict(t, []*node{n}, secret, test.old)
				if test.made != "" {
					wantVerdict(t, []*node{n}, created, test.made)
				}
				if !test.disabled && operations[i].ended.Load() != map[bool]int32{true: 1}[test.ends] {
					t.Errorf("node %d: ended a request %d times", i, operations[i].ended.Load())
				}
				if got := n.Changes() - counts[i]; got != 1 {
					t.Errorf("node %d: counted %d changes", i, got)
				}
				changes, many := feeds[i].Changes()
				if many || len(changes) != 1 || changes[0].Action != test.action {
					t.Errorf("node %d: feed %v, %v", i, changes, many)
				}
			}
		})
	}
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
}

// atOnce calls f for each node, concurrently.
func atOnce(nodes []*node, f func(i int, n *node)) {
	var calls sync.WaitGroup
	for i, n := range nodes {
		calls.Go(func() { f(i, n) })
	}
	calls.Wait()
}

// TestCreateOnceAtAllNodes sends the same create request to three nodes at the same time.
func TestCreateOnceAtAllNodes(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd)
	for round := range 20 {
		request := tokenstore.Request{Key: fmt.Sprint("key", round), Body: []byte("body")}
		ids := make([]token.ID, len(nodes))
		var repeats atomic.Int32
		atOnce(nodes, func(i int, n *node) {
			tok, _, repeated, err := n.CreateOnce(testPolicy, draft(), testActor, request)
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if ids[i] = tok.ID; repeated {
				repeats.Add(1)
			}
		})
		if repeats.Load() != 2 || ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("round %d: %d repeats, tokens %v", round, repeats.Load(), ids)
		}
		request.Body = []byte("other")
		atOnce(nodes, func(i int, n *node) {
			if _, _, _, err := n.CreateOnce(testPolicy, draft(), testActor, request); !errors.Is(err,
				tokenstore.ErrRepeatDiffers) {
				t.Errorf("node %d: other body: %v", i, err)
			}
		})
	}
	for _, n := range nodes {
		n.sync(t)
		all, _, err := n.List(tokenstore.Page{Order: tokenstore.OrderCreated, Limit: 100})
		if err != nil || len(all) != 20 {
			t.Errorf("%d tokens, %v", len(all), err)
		}
	}
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
}

// TestVersionsAtAllNodes edits the same version of a token at three nodes at the same time. One
// edit must win.
func TestVersionsAtAllNodes(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd)
	tok, _ := nodes[0].create(t)
	for version := tok.Version; version < tok.Version+20; version++ {
		var won, lost atomic.Int32
		atOnce(nodes, func(i int, n *node) {
			name := fmt.Sprintf("version %d of node %d", version, i)
			edited, err := n.Edit(testPolicy, tok.ID, token.Edit{Name: &name, Version: version}, testActor)
			conflict, isConflict := errors.AsType[*token.VersionError](err)
			switch {
			case err == nil && edited.Version == version+1 && edited.Name == name:
				won.Add(1)
			case isConflict && conflict.Version == version+1:
				lost.Add(1)
			default:
				t.Errorf("node %d: %v", i, err)
			}
		})
		if won.Load() != 1 || lost.Load() != 2 {
			t.Errorf("%d edits of version %d succeeded", won.Load(), version)
		}
	}
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
}

// TestImportAtAllNodes imports the same secrets at three nodes at the same time.
func TestImportAtAllNodes(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, 1)
	nodes := startAll(t, etcd)
	for round := range 10 {
		text := fmt.Sprintf("f81d4fae-7dec-41d0-a765-0000000000%02d", round)
		secret, err := testPolicy.Prefixes.Parse(text)
		check(t, err)
		ids := make([]token.ID, len(nodes))
		var won atomic.Int32
		importAll := func(want func(error) bool) {
			atOnce(nodes, func(i int, n *node) {
				tok, _, err := n.Import(testPolicy, draft(), text, testActor)
				if err == nil {
					ids[0] = tok.ID
					won.Add(1)
				} else if !want(err) {
					t.Errorf("round %d, node %d: %v", round, i, err)
				}
			})
		}
		importAll(func(err error) bool {
			_, ended := errors.AsType[*tokenstore.EndedError](err)
			return errors.Is(err, tokenstore.ErrTaken) && !ended
		})
		if won.Load() != 1 {
			t.Fatalf("round %d: %d imports succeeded", round, won.Load())
		}
		n := nodes[round%3]
		switch round % 3 {
		case 0:
			_, err = n.Revoke(ids[0], token.AnyVersion, testActor)
		case 1:
			err = n.Delete(ids[0], token.AnyVersion, testActor)
		case 2:
			_, _, err = n.Rotate(testPolicy, ids[0], token.Rotation{}, testActor)
		}
		check(t, err)
		importAll(func(err error) bool {
			_, ended := errors.AsType[*tokenstore.EndedError](err)
			if round%3 == 0 { // a revoked token still has its secret
				return errors.Is(err, tokenstore.ErrTaken)
			}
			return ended
		})
		if won.Load() != 1 {
			t.Errorf("round %d: a secret that ended was imported again", round)
		}
		for _, n := range nodes {
			n.sync(t)
		}
		if round%3 == 0 {
			check(t, nodes[1].Delete(ids[0], token.AnyVersion, testActor))
			importAll(func(err error) bool {
				_, ended := errors.AsType[*tokenstore.EndedError](err)
				return ended
			})
			for _, n := range nodes {
				n.sync(t)
			}
		}
		wantVerdict(t, nodes, secret, unknown)
	}
	wantEqual(t, etcd, prefixOf(t.Name()), nodes...)
}
