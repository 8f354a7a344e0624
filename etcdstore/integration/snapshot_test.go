package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// fill writes n records, named "t/" and a number with five digits.
func fill(t testing.TB, engine cluster.Engine, n int, value []byte) {
	t.Helper()
	for i := 0; i < n; {
		var writes []cluster.Write
		for ; i < n && len(writes) < 100; i++ {
			writes = append(writes, cluster.Write{Key: fmt.Sprintf("t/%05d", i), Value: value})
		}
		if result, err := engine.Commit(t.Context(), nil, writes); err != nil || !result.Committed {
			t.Fatalf("filling: %+v, %v", result, err)
		}
	}
}

// TestSnapshot checks that a snapshot contains all records as of one revision, in order, even
// if they are changed meanwhile and don't fit on one page.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	const n = 25_000
	engine := newEngine(t, etcdtest.Start(t, 1))
	fill(t, engine, n, []byte("old"))
	put(t, engine, "u/other", "x")
	before := put(t, engine, "s/other", "x")
	count := 0
	revision, err := engine.Snapshot(t.Context(), "t/", func(record cluster.Record) error {
		if count == 0 {
			put(t, engine, fmt.Sprintf("t/%05d", n-1), "new")
			put(t, engine, "t/99999", "new")
		}
		if want := fmt.Sprintf("t/%05d", count); record.Key != want || string(record.Value) != "old" ||
			record.Revision <= 0 || record.Revision > before {
			return fmt.Errorf("record %d: %+v", count, record)
		}
		count++
		return nil
	})
	if err != nil || count != n || revision != before {
		t.Errorf("%d records as of revision %d, want %d as of %d; %v", count, revision, n, before, err)
	}

	stop := errors.New("stop")
	if _, err := engine.Snapshot(t.Context(), "", func(cluster.Record) error { return stop }); err != stop {
		t.Errorf("error of yield: got %v", err)
	}
	revision, err = engine.Snapshot(t.Context(), "none/", func(cluster.Record) error { return stop })
	if err != nil || revision != before+2 {
		t.Errorf("empty snapshot: revision %d, %v", revision, err)
	}
}

// TestSnapshotOfLargeRecords checks that pages of large records fit into a response, even if they
// come after small ones.
func TestSnapshotOfLargeRecords(t *testing.T) {
	t.Parallel()
	const n = 160
	engine := newEngine(t, etcdtest.Start(t, 1))
	value := []byte(strings.Repeat("x", 1<<20))
	fill(t, engine, 100, []byte("x"))
	for i := range n {
		put(t, engine, fmt.Sprintf("u/%03d", i), string(value))
	}
	count := 0
	_, err := engine.Snapshot(t.Context(), "", func(record cluster.Record) error {
		if strings.HasPrefix(record.Key, "t/") {
			return nil
		}
		if len(record.Value) != len(value) {
			return fmt.Errorf("%s has %d bytes", record.Key, len(record.Value))
		}
		count++
		return nil
	})
	if err != nil || count != n {
		t.Errorf("%d records, want %d; %v", count, n, err)
	}
}

// TestSnapshotCompacted checks that a snapshot fails if its revision is compacted meanwhile.
func TestSnapshotCompacted(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	engine, client := newEngine(t, c), c.Client()
	fill(t, engine, 2500, []byte("x"))
	compacted := false
	_, err := engine.Snapshot(t.Context(), "", func(cluster.Record) error {
		if compacted {
			return nil
		}
		compacted = true
		_, err := client.Compact(t.Context(), put(t, engine, "t/00000", "y"))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "list them again") {
		t.Errorf("got %v", err)
	}
}

// TestPrefix checks that engines with different prefixes don't see each other's records, nor
// those of other programs.
func TestPrefix(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	one := newEngine(t, c, func(config *etcdstore.Config) { config.Prefix = "/one/" })
	two := newEngine(t, c, func(config *etcdstore.Config) { config.Prefix = "/two/" })
	put(t, one, "k", "1")
	put(t, two, "k", "2")
	for _, key := range []string{"/one", "/one0", "k", "/", "/zzz"} {
		if _, err := c.Client().Put(t.Context(), key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	last := put(t, one, "l", "3")
	var got []string
	collect := func(record cluster.Record) error {
		got = append(got, record.Key+"="+string(record.Value))
		return nil
	}
	if _, err := one.Snapshot(t.Context(), "", collect); err != nil || fmt.Sprint(got) != "[k=1 l=3]" {
		t.Errorf("snapshot: %q, %v", got, err)
	}
	if got := read(t, two, "k"); string(got.Value) != "2" {
		t.Errorf("read: %+v", got)
	}
	got = nil
	done := errors.New("done")
	err := one.Watch(t.Context(), 0, func(commit cluster.Commit) error {
		for _, write := range commit.Writes {
			got = append(got, write.Key+"="+string(write.Value))
		}
		if commit.Revision == last {
			return done
		}
		return nil
	})
	if err != done || fmt.Sprint(got) != "[k=1 l=3]" {
		t.Errorf("watch: %q, %v", got, err)
	}
	response, err := c.Client().Get(t.Context(), "/one/", clientv3.WithPrefix())
	if err != nil || response.Count != 2 {
		t.Errorf("keys: %v, %v", response, err)
	}
}
