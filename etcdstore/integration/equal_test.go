package integration

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/etcdstore"
	"github.com/mollygate/mollygate/etcdstore/integration/etcdtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// sharedTables maps the replica's tables to the parts of keys in etcd.
var sharedTables = map[bolt.Table]string{
	bolt.TokensTable: "t", bolt.EndedTable: "e", bolt.AuditTable: "a", bolt.RequestsTable: "r",
}

// tablesOf returns all records of the shared tables, by part and key.
func tablesOf(t testing.TB, backend interface {
	Records(bolt.Table, []byte, func(key, value []byte) bool) error
}) map[string]string {
	t.Helper()
	records := make(map[string]string)
	for table, part := range sharedTables {
		check(t, backend.Records(table, nil, func(key, value []byte) bool {
			name := hex.EncodeToString(key)
			if part == "t" {
				name = string(key)
			}
			records[part+"/"+name] = string(value)
			return true
		}))
	}
	return records
}

// sealLength is the length of the code that follows a signed record.
const sealLength = 32

// sharedRecords returns the same records from etcd.
func sharedRecords(t testing.TB, etcd *etcdtest.Cluster, prefix string) map[string]string {
	t.Helper()
	engine := newEngine(t, etcd, func(c *etcdstore.Config) { c.Prefix = prefix })
	var store struct {
		Generation uint64
		Sealed     bool
	}
	// A signed description is followed by its code.
	check(t, json.NewDecoder(strings.NewReader(string(read(t, engine, "store").Value))).Decode(&store))
	records := make(map[string]string)
	generation := fmt.Sprintf("g/%d/", store.Generation)
	_, err := engine.Snapshot(t.Context(), generation, func(r cluster.Record) error {
		key := strings.TrimPrefix(r.Key, generation)
		part, _, _ := strings.Cut(key, "/")
		if slices.Contains(slices.Collect(maps.Values(sharedTables)), part) {
			value := string(r.Value)
			if store.Sealed {
				value = value[:len(value)-sealLength]
			}
			records[key] = value
		}
		return nil
	})
	check(t, err)
	return records
}

// wantEqual waits until all nodes have all changes, and fails the test unless their replicas have
// exactly the records that etcd has.
func wantEqual(t testing.TB, etcd *etcdtest.Cluster, prefix string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.sync(t)
	}
	want := sharedRecords(t, etcd, prefix)
	if len(want) == 0 {
		t.Error("etcd has no records")
	}
	for i, n := range nodes {
		compare(t, fmt.Sprintf("the replica of node %d", i), tablesOf(t, n.replica), want)
	}
}

// compare fails the test unless both maps are equal.
func compare(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for key := range want {
		if value, ok := got[key]; !ok || value != want[key] {
			t.Errorf("%s: %s has %d bytes (found: %v), which differ from the %d bytes in etcd", what, key,
				len(value), ok, len(want[key]))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s has %s, which etcd does not have", what, key)
		}
	}
}
