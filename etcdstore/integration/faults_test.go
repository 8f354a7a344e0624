package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// slack is how much longer than its timeout a call may take when other tests use all CPUs.
const slack = 10 * time.Second

// TestReadSeesCommits checks that a read from one member sees what was committed through
// another.
func TestReadSeesCommits(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3)
	var engines []*etcdstore.Engine
	for _, endpoint := range c.Endpoints() {
		engines = append(engines, newEngine(t, c, func(config *etcdstore.Config) {
			config.Endpoints = []string{endpoint}
		}))
	}
	for i := range 60 {
		revision := put(t, engines[i%3], "a", fmt.Sprint(i))
		if got := read(t, engines[(i+1)%3], "a"); got.Revision != revision {
			t.Fatalf("got revision %d, want %d", got.Revision, revision)
		}
	}
}

// TestMajorityLost checks that calls return soon when most members are stopped, that they
// succeed again afterwards, and that they succeed when one member is stopped.
func TestMajorityLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3)
	const timeout = 2 * time.Second
	engine := newEngine(t, c, func(config *etcdstore.Config) { config.RequestTimeout = timeout })
	patient := newEngine(t, c)
	put(t, engine, "a", "1")
	leader := c.Leader()
	c.Stop(leader)
	eventually(t, func() error { // what was proposed to the old leader may be lost
		_, err := patient.Commit(t.Context(), nil, []cluster.Write{{Key: "a", Value: []byte("2")}})
		return err
	})
	c.Stop((leader + 1) % 3)
	for name, call := range map[string]func() error{
		"Commit": func() error {
			_, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "b", Value: []byte("1")}})
			return err
		},
		"Commit with a TTL": func() error {
			_, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "b", Value: []byte("1"), TTL: time.Hour}})
			if !errors.Is(err, cluster.ErrNotCommitted) {
				t.Errorf("commit without a lease: got %v, want ErrNotCommitted", err)
			}
			return err
		},
		"Read":     func() error { _, err := engine.Read(t.Context(), "a"); return err },
		"Snapshot": func() error { _, err := engine.Snapshot(t.Context(), "", nil); return err },
		"Hold":     func() error { _, err := engine.Hold(t.Context(), "n", nil, time.Hour); return err },
		"Watch":    func() error { return engine.Watch(t.Context(), 0, func(cluster.Commit) error { return nil }) },
	} {
		start := time.Now()
		err := call()
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), c.Endpoints()[0]) ||
			took > timeout*2+slack {
			t.Errorf("%s: after %v: %v", name, took, err)
		}
	}
	c.Start(leader)
	put(t, patient, "a", "3")
}

// TestUnknownOutcome checks that a transaction whose answer is lost is not repeated, and that
// the error doesn't claim that it had no effect.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	direct := newEngine(t, c)
	const timeout = 2 * time.Second
	proxy, engine := proxied(t, c, timeout)
	first := put(t, engine, "a", "1")
	commits, _ := watch(t, direct, first)
	for name, lose := range map[string]func(){
		"held back": func() {},
		"cut":       proxy.Cut,
	} {
		proxy.Block(false, true)
		failed := make(chan error, 1)
		start := time.Now()
		go func() {
			_, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "a", Value: []byte(name)}})
			failed <- err
		}()
		if got := receive(t, commits); describe(got) != "a="+name {
			t.Errorf("%s: got %+v", name, got)
		}
		lose()
		err := receive(t, failed)
		if took := time.Since(start); err == nil || errors.Is(err, cluster.ErrNotCommitted) || took > timeout+slack {
			t.Errorf("%s: after %v: %v", name, took, err)
		}
		proxy.Block(false, false)
		put(t, engine, "b", name)
		if got := receive(t, commits); describe(got) != "b="+name {
			t.Errorf("%s: unexpected commit %+v", name, got)
		}
	}
}

// TestUnreachable checks that an engine can be made without a server, and that its errors name
// the server and the cause.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	engine, err := etcdstore.NewEngine(etcdstore.Config{
		Endpoints: []string{"http://127.0.0.1:1"}, RequestTimeout: time.Second,
		Username: "gate", Password: "confidential",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	_, err = engine.Commit(t.Context(), nil, []cluster.Write{{Key: "a", Value: []byte("1")}})
	if !errors.Is(err, cluster.ErrNotCommitted) {
		t.Errorf("Commit: got %v, want ErrNotCommitted", err)
	}
	_, readErr := engine.Read(t.Context(), "a")
	watchErr := engine.Watch(t.Context(), 0, func(cluster.Commit) error { return nil })
	for _, err := range []error{err, readErr, watchErr} {
		if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1") ||
			!strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "confidential") ||
			!errors.Is(err, tokenstore.ErrNoContact) {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = engine.Commit(ctx, nil, []cluster.Write{{Key: "a", Value: []byte("1")}})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cluster.ErrNotCommitted) {
		t.Errorf("canceled before: got %v", err)
	}
}

// TestSilentMember checks that calls avoid a member that doesn't answer, although its
// connections stay open.
func TestSilentMember(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3)
	proxy, url := c.Proxy((c.Leader() + 1) % 3)
	const timeout = 3 * time.Second
	engine := newEngine(t, c, func(config *etcdstore.Config) {
		config.Endpoints = []string{url, c.Endpoints()[c.Leader()], c.Endpoints()[(c.Leader()+2)%3]}
		config.RequestTimeout = timeout
	})
	put(t, engine, "a", "1")
	proxy.Block(true, true)
	for i := range 20 {
		if _, err := engine.Read(t.Context(), "a"); err != nil {
			t.Errorf("read %d: %v", i, err)
		}
	}
	// Reads have closed the connection to the silent member.
	for i := range 20 {
		put(t, engine, "a", fmt.Sprint(i))
	}
}

// TestLimits checks that transactions beyond etcd's limits are known not to have taken effect.
func TestLimits(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, etcdtest.Start(t, 1))
	many := make([]cluster.Write, 129)
	for i := range many {
		many[i] = cluster.Write{Key: fmt.Sprint(i), Value: []byte("1")}
	}
	large := []cluster.Write{{Key: "a", Value: make([]byte, 1<<20)}, {Key: "b", Value: make([]byte, 1<<20-1000)}}
	for name, writes := range map[string][]cluster.Write{
		"many": many, "large": large, "larger": append(large, large[0]),
		"twice": {{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
	} {
		if _, err := engine.Commit(t.Context(), nil, writes); !errors.Is(err, cluster.ErrNotCommitted) {
			t.Errorf("%s: got %v, want ErrNotCommitted", name, err)
		}
	}
	if _, err := engine.Snapshot(t.Context(), "", func(record cluster.Record) error {
		return fmt.Errorf("unexpected record %s", record.Key)
	}); err != nil {
		t.Error(err)
	}
}

// TestOutOfSpace checks that an error says what to do when etcd's database is full.
func TestOutOfSpace(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1, etcdtest.Quota(4<<20))
	engine := newEngine(t, c)
	value := make([]byte, 512<<10)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = engine.Commit(t.Context(), nil, []cluster.Write{{Key: fmt.Sprint("k", i%10), Value: value}})
	}
	if !errors.Is(err, tokenstore.ErrFull) || !strings.Contains(err.Error(),
		"is out of space (NOSPACE alarm): compact and defragment it, then disarm the alarm") {
		t.Errorf("got %v", err)
	}
	if _, err := engine.Read(t.Context(), "k0"); err != nil {
		t.Errorf("reading: %v", err)
	}
	_, err = engine.Commit(t.Context(), nil, []cluster.Write{{Key: "ttl", Value: value, TTL: time.Hour}})
	if err == nil || !strings.Contains(err.Error(), "NOSPACE") || !errors.Is(err, cluster.ErrNotCommitted) {
		t.Errorf("commit without a lease: got %v", err)
	}
	if result, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "k0"}}); err != nil || !result.Committed {
		t.Errorf("deleting: %+v, %v", result, err)
	}
}
