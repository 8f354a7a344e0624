package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// patience limits the time for something that must happen soon. Other tests may use all CPUs.
const patience = time.Minute

// watch returns a channel with all commits after a revision, and one with Watch's error.
func watch(t testing.TB, engine cluster.Engine, after int64) (<-chan cluster.Commit, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	commits, failed := make(chan cluster.Commit), make(chan error, 1)
	go func() {
		failed <- engine.Watch(ctx, after, func(commit cluster.Commit) error {
			select {
			case commits <- commit:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return commits, failed
}

// receive returns the next value.
func receive[T any](t testing.TB, values <-chan T) T {
	t.Helper()
	select {
	case value := <-values:
		return value
	case <-time.After(patience):
		t.Fatalf("nothing received within %v", patience)
		panic("unreachable")
	}
}

// describe returns a commit's writes in the order of their keys.
func describe(commit cluster.Commit) string {
	var writes []string
	for _, write := range commit.Writes {
		if write.Value == nil {
			writes = append(writes, "-"+write.Key)
		} else {
			writes = append(writes, write.Key+"="+string(write.Value))
		}
	}
	slices.Sort(writes)
	return strings.Join(writes, " ")
}

// TestWatch checks that a watch yields each commit once, whole and in order, without waiting
// for the next one.
func TestWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine := newEngine(t, c)
	first := put(t, engine, "a", "0")
	old := put(t, engine, "a", "1")
	commits, failed := watch(t, engine, first)
	if got := receive(t, commits); got.Revision != old || describe(got) != "a=1" {
		t.Errorf("old commit: %+v", got)
	}
	for i := range 100 {
		if _, err := c.Client().Put(t.Context(), "/elsewhere", "x"); err != nil {
			t.Fatal(err)
		}
		result, err := engine.Commit(t.Context(), nil, []cluster.Write{
			{Key: "a"}, {Key: fmt.Sprint("b", i), Value: []byte("x")}, {Key: "c", Value: []byte{}}})
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("b%d=x c=", i)
		if i == 0 {
			want = "-a " + want // it exists only the first time
		}
		if got := receive(t, commits); got.Revision != result.Revision || describe(got) != want {
			t.Errorf("commit %d: got %+v, want %s", i, got, want)
		}
	}
	c.Stop(0)
	if err := receive(t, failed); err == nil || !strings.Contains(err.Error(), c.Endpoints()[0]) {
		t.Errorf("after the server stopped: %v", err)
	}
}

// TestWatchFragments checks that commits are whole even if etcd splits its responses.
func TestWatchFragments(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, etcdtest.Start(t, 1))
	const commits, keys = 20, 7
	value := []byte(strings.Repeat("x", 60_000))
	var last int64
	for range commits {
		var writes []cluster.Write
		for i := range keys {
			writes = append(writes, cluster.Write{Key: fmt.Sprint("k", i), Value: value})
		}
		result, err := engine.Commit(t.Context(), nil, writes)
		if err != nil {
			t.Fatal(err)
		}
		last = result.Revision
	}
	done := errors.New("done")
	previous, count := int64(0), 0
	err := engine.Watch(t.Context(), 0, func(commit cluster.Commit) error {
		if commit.Revision <= previous || len(commit.Writes) != keys {
			return fmt.Errorf("revision %d after %d with %d writes", commit.Revision, previous, len(commit.Writes))
		}
		previous = commit.Revision
		if count++; commit.Revision == last {
			return done
		}
		return nil
	})
	if err != done || count != commits {
		t.Errorf("%d commits, %v", count, err)
	}
}

// TestWatchCompacted checks that a watch fails if etcd no longer has all commits.
func TestWatchCompacted(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine := newEngine(t, c)
	first := put(t, engine, "a", "0")
	put(t, engine, "a", "1")
	third := put(t, engine, "a", "2")
	fourth := put(t, engine, "a", "3")
	if _, err := c.Client().Compact(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	_, failed := watch(t, engine, first)
	if err := receive(t, failed); !errors.Is(err, cluster.ErrCompacted) {
		t.Errorf("got %v, want ErrCompacted", err)
	}
	commits, _ := watch(t, engine, third)
	if got := receive(t, commits); got.Revision != fourth {
		t.Errorf("got %+v, want revision %d", got, fourth)
	}
}

// TestWatchEnds checks how a watch ends.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	closing, err := etcdstore.NewEngine(etcdstore.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	first := put(t, closing, "a", "0")
	commits, failed := watch(t, closing, first-1)
	receive(t, commits)
	if err := closing.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, failed); err == nil {
		t.Error("the watch ended without an error after Close")
	}

	engine := newEngine(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	err = engine.Watch(ctx, first-1, func(cluster.Commit) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestWatchSilent checks that a watch ends soon if the member stops answering, but not if there
// are no commits.
func TestWatchSilent(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	direct := newEngine(t, c)
	proxy, engine := proxied(t, c, 2*time.Second)
	first := put(t, direct, "a", "0")
	_, failed := watch(t, engine, first) // nothing to receive
	select {
	case err := <-failed:
		t.Fatalf("an idle watch ended: %v", err)
	case <-time.After(5 * time.Second): // more than twice the request timeout
	}
	start := time.Now()
	proxy.Block(true, true)
	err := receive(t, failed)
	if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "did not answer") ||
		took > 20*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	proxy.Block(false, false)
	second := put(t, engine, "a", "1")
	commits, _ := watch(t, engine, first)
	if got := receive(t, commits); got.Revision != second {
		t.Errorf("after reconnecting: %+v", got)
	}
}
