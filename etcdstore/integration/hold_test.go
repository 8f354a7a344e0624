package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// isLost reports whether the hold is lost.
func isLost(hold cluster.Hold) bool {
	select {
	case <-hold.Lost():
		return true
	default:
		return false
	}
}

// mustHold holds a record.
func mustHold(t testing.TB, engine cluster.Engine, key string, ttl time.Duration) cluster.Hold {
	t.Helper()
	hold, err := engine.Hold(t.Context(), key, []byte("1"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

// TestTTL checks that a record with a TTL is deleted in a commit of its own, and that writing it
// without a TTL keeps it.
func TestTTL(t *testing.T) {
	t.Parallel()
	engine := newEngine(t, etcdtest.Start(t, 1))
	ttl := 500 * time.Millisecond // rounded up to a second
	result, err := engine.Commit(t.Context(), nil, []cluster.Write{
		{Key: "gone", Value: []byte("1"), TTL: ttl}, {Key: "gone too", Value: []byte("1"), TTL: ttl},
		{Key: "kept", Value: []byte("1"), TTL: ttl}, {Key: "late", Value: []byte("1"), TTL: time.Hour},
	})
	if err != nil || !result.Committed {
		t.Fatalf("%+v, %v", result, err)
	}
	kept := put(t, engine, "kept", "2")
	commits, _ := watch(t, engine, kept)
	if got := receive(t, commits); describe(got) != "-gone -gone too" {
		t.Errorf("got %+v", got)
	}
	if got := read(t, engine, "kept"); got.Revision != kept {
		t.Errorf("kept: %+v", got)
	}
	if got := read(t, engine, "late"); got.Revision != result.Revision {
		t.Errorf("late: %+v", got)
	}
}

// TestNoLeaseLeft checks that a commit that wasn't committed leaves no lease behind.
func TestNoLeaseLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine := newEngine(t, c)
	put(t, engine, "a", "1")
	result, err := engine.Commit(t.Context(), []cluster.Condition{{Key: "a"}},
		[]cluster.Write{{Key: "b", Value: []byte("1"), TTL: time.Hour}})
	if err != nil || result.Committed {
		t.Fatalf("%+v, %v", result, err)
	}
	if _, err := engine.Hold(t.Context(), "a", nil, time.Hour); !errors.Is(err, cluster.ErrHeld) {
		t.Fatalf("got %v, want ErrHeld", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		leases, err := c.Client().Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(leases.Leases) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d leases are left", len(leases.Leases))
		}
	}
}

// TestHold checks that only one process holds a record at a time, and for as long as it wants.
func TestHold(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine, other := newEngine(t, c), newEngine(t, c)
	hold := mustHold(t, engine, "n/a", 3*time.Second)
	first := read(t, other, "n/a")
	commits, _ := watch(t, other, first.Revision)
	if _, err := other.Hold(t.Context(), "n/a", []byte("2"), time.Second); !errors.Is(err, cluster.ErrHeld) {
		t.Errorf("second hold: got %v, want ErrHeld", err)
	}
	if err := hold.Update(t.Context(), []byte("2")); err != nil {
		t.Error(err)
	}
	if got := receive(t, commits); describe(got) != "n/a=2" {
		t.Errorf("update: %+v", got)
	}
	select { // keeping the record alive is what takes time here
	case <-hold.Lost():
		t.Fatal("the hold was lost")
	case got := <-commits:
		t.Fatalf("the record changed: %+v", got)
	case <-time.After(5 * time.Second):
	}
	if err := hold.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := receive(t, commits); describe(got) != "-n/a" || !isLost(hold) {
		t.Errorf("release: %+v, lost: %v", got, isLost(hold))
	}
	if err := hold.Update(t.Context(), []byte("3")); err == nil {
		t.Error("a released record was updated")
	}
	if err := hold.Release(t.Context()); err != nil {
		t.Errorf("second release: %v", err)
	}
	again := mustHold(t, other, "n/a", time.Minute)
	if err := hold.Update(t.Context(), []byte("4")); err == nil {
		t.Error("another process's record was updated")
	}
	if isLost(again) || string(read(t, engine, "n/a").Value) != "1" {
		t.Error("the second hold is not intact")
	}
}

// TestHoldRevoked checks that a hold is lost when its lease is revoked, and when its record is
// deleted and then updated.
func TestHoldRevoked(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine := newEngine(t, c)
	hold := mustHold(t, engine, "n/a", 2*time.Second)
	response, err := c.Client().Get(t.Context(), etcdstore.DefaultPrefix+"n/a")
	if err != nil || len(response.Kvs) != 1 {
		t.Fatalf("%+v, %v", response, err)
	}
	if _, err := c.Client().Revoke(t.Context(), clientv3.LeaseID(response.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	receive(t, hold.Lost())

	hold = mustHold(t, engine, "n/b", time.Hour)
	if _, err := engine.Commit(t.Context(), nil, []cluster.Write{{Key: "n/b"}}); err != nil {
		t.Fatal(err)
	}
	if err := hold.Update(t.Context(), []byte("2")); err == nil || !isLost(hold) {
		t.Errorf("updating a deleted record: %v, lost: %v", err, isLost(hold))
	}
}

// TestHoldCut checks that a hold whose connection is cut is lost before its record expires, and
// that one whose connection is cut only briefly isn't.
func TestHoldCut(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	direct := newEngine(t, c)
	proxy, engine := proxied(t, c, 2*time.Second)
	brief := mustHold(t, engine, "n/brief", time.Minute)
	proxy.Cut()
	read(t, engine, "a") // reconnects
	hold := mustHold(t, engine, "n/a", 4*time.Second)
	commits, _ := watch(t, direct, read(t, direct, "n/a").Revision)
	proxy.Block(true, true)
	for describe(receive(t, commits)) != "-n/a" {
	}
	if !isLost(hold) {
		t.Error("the record expired before the hold was lost")
	}
	if isLost(brief) {
		t.Error("the other hold was lost")
	}
	proxy.Block(false, false)
	mustHold(t, engine, "n/a", 4*time.Second)
}

// TestHoldEndsWithEngine checks that a hold is lost when its engine is closed.
func TestHoldEndsWithEngine(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine, err := etcdstore.NewEngine(etcdstore.Config{Endpoints: c.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	hold := mustHold(t, engine, "n/a", time.Second)
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
	if !isLost(hold) {
		t.Error("the hold isn't lost")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := hold.Release(ctx); err == nil {
		t.Error("releasing succeeded after the engine was closed")
	}
	commits, _ := watch(t, newEngine(t, c), 1)
	for describe(receive(t, commits)) != "-n/a" {
	}
}
