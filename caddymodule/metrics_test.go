package caddymodule

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// gatherShared returns the metrics of a store that only shared stores have, and whether the store
// is up.
func gatherShared(t *testing.T, store *tokenstore.Store) map[string]float64 {
	t.Helper()
	app := new(App)
	app.store.opened.Store(&openStore{Store: store})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(storeCollector{app}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := make(map[string]float64)
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "caddy_api_tokens_")
		if name != "store_up" && name != "nodes" && name != "replica_age_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			key := name
			for _, label := range m.GetLabel() {
				key += " " + label.GetValue()
			}
			samples[key] = m.GetGauge().GetValue()
		}
	}
	return samples
}

// TestSharedMetrics checks the metrics that only shared stores have.
func TestSharedMetrics(t *testing.T) {
	t.Parallel()
	open := func(wrap func(tokenstore.Backend) tokenstore.Backend, now *time.Time) *tokenstore.Store {
		backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
		if err != nil {
			t.Fatal(err)
		}
		store, err := tokenstore.Open(wrap(backend), tokenstore.Options{FlushInterval: -1,
			Clock: tokenstore.ClockFunc(func() time.Time { return *now })})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	shared := new(backendtest.Shared)
	store := open(func(b tokenstore.Backend) tokenstore.Backend {
		shared.Backend = b
		return shared
	}, &now)
	shared.Now = store.Now
	check := func(want map[string]float64) {
		t.Helper()
		if got := gatherShared(t, store); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	check(map[string]float64{"store_up": 1, "nodes live": 0, "nodes gone": 0}) // never reached
	shared.Set(func(s *backendtest.SharedState) {
		s.AsOf, s.MaxStaleness = now.Add(-1500*time.Millisecond), time.Minute
		s.Nodes = []tokenstore.Node{{ID: "a", Live: true}, {ID: "b", Live: true}, {ID: "c"}}
	})
	check(map[string]float64{"store_up": 1, "nodes live": 2, "nodes gone": 1, "replica_age_seconds": 1.5})
	shared.Set(func(s *backendtest.SharedState) {
		s.AsOf, s.Problem = now.Add(-time.Minute), errors.New("connection refused")
	})
	check(map[string]float64{"store_up": 0, "nodes live": 2, "nodes gone": 1, "replica_age_seconds": 60})

	store = open(func(b tokenstore.Backend) tokenstore.Backend { return b }, &now)
	check(map[string]float64{"store_up": 1})
}
