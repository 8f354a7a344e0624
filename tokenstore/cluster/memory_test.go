package cluster_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// memory is an engine that keeps records in memory.
type memory struct {
	mu       sync.Mutex
	records  map[string]cluster.Record
	revision int64
	commits  []cluster.Commit
	changed  chan struct{} // closed by the next commit
}

func newMemory() *memory {
	return &memory{records: make(map[string]cluster.Record), changed: make(chan struct{})}
}

func (m *memory) Snapshot(_ context.Context, prefix string, yield func(cluster.Record) error) (int64, error) {
	m.mu.Lock()
	records, revision := maps.Clone(m.records), m.revision
	m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if strings.HasPrefix(key, prefix) {
			if err := yield(records[key]); err != nil {
				return 0, err
			}
		}
	}
	return revision, nil
}

func (m *memory) Watch(ctx context.Context, after int64, yield func(cluster.Commit) error) error {
	for {
		m.mu.Lock()
		commits, changed := m.commits[min(int(after), len(m.commits)):], m.changed
		m.mu.Unlock()
		for _, c := range commits {
			if err := yield(c); err != nil {
				return err
			}
			after = c.Revision
		}
		if len(commits) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Read(_ context.Context, keys ...string) ([]cluster.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read(keys), nil
}

func (m *memory) read(keys []string) (records []cluster.Record) {
	for _, key := range keys {
		record := m.records[key]
		record.Key = key
		records = append(records, record)
	}
	return records
}

func (m *memory) Commit(_ context.Context, conditions []cluster.Condition, writes []cluster.Write) (cluster.Result,
	error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	holds := true
	for _, c := range conditions {
		keys = append(keys, c.Key)
		holds = holds && m.records[c.Key].Revision == c.Revision
	}
	if !holds {
		return cluster.Result{Current: m.read(keys)}, nil
	}
	m.revision++
	for _, w := range writes {
		if w.Value == nil {
			delete(m.records, w.Key)
		} else {
			m.records[w.Key] = cluster.Record{Key: w.Key, Value: w.Value, Revision: m.revision}
		}
	}
	m.commits = append(m.commits, cluster.Commit{Revision: m.revision, Writes: writes})
	close(m.changed)
	m.changed = make(chan struct{})
	return cluster.Result{Committed: true, Revision: m.revision}, nil
}

func (m *memory) Hold(ctx context.Context, key string, value []byte, _ time.Duration) (cluster.Hold, error) {
	result, err := m.Commit(ctx, []cluster.Condition{{Key: key}}, []cluster.Write{{Key: key, Value: value}})
	if err == nil && !result.Committed {
		err = cluster.ErrHeld
	}
	return &held{m, key}, err
}

func (m *memory) Close() error { return nil }

// held is a record that the process holds.
type held struct {
	*memory
	key string
}

func (h *held) Update(context.Context, []byte) error { return nil }

func (h *held) Lost() <-chan struct{} { return nil }

func (h *held) Release(ctx context.Context) error {
	_, err := h.Commit(ctx, nil, []cluster.Write{{Key: h.key}})
	return errors.Join(err)
}
