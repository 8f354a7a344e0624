package tokenstore

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"
)

// Values holds small values by key, such as the sessions of browsers. If the store is shared,
// all processes have the same values. Keys are printable ASCII without spaces, of at most 100
// bytes. All methods are safe for concurrent use.
type Values interface {
	// Put sets a value. It may disappear after ttl.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Get returns a value, or nil if there is none. It doesn't wait. After another process has
	// set a value, Get returns it at the latest after [Store.Sync]. The caller must not modify
	// the value.
	Get(key string) []byte
	// Take deletes a value and returns it, or nil if there is none. Of several calls, only one
	// gets the value.
	Take(ctx context.Context, key string) ([]byte, error)
	// Delete deletes values. It isn't an error if there are none.
	Delete(ctx context.Context, keys ...string) error
	// Each calls yield for each value whose key begins with prefix, in any order, until yield
	// returns false. yield may call the other methods.
	Each(prefix string, yield func(key string, value []byte) bool)
}

// MemoryValues are the values of a single process. The zero value is empty and ready to use.
type MemoryValues struct {
	mu     sync.RWMutex
	values map[string][]byte
}

// Put implements Values. The value stays until it is deleted.
func (m *MemoryValues) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	m.Set(key, bytes.Clone(value))
	return nil
}

// Set sets a value, or deletes it if value is nil.
func (m *MemoryValues) Set(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value == nil {
		delete(m.values, key)
		return
	}
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	m.values[key] = value
}

// Get implements Values.
func (m *MemoryValues) Get(key string) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.values[key]
}

// Take implements Values.
func (m *MemoryValues) Take(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := m.values[key]
	delete(m.values, key)
	return value, nil
}

// Delete implements Values.
func (m *MemoryValues) Delete(_ context.Context, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.values, key)
	}
	return nil
}

// Replace replaces all values. The caller must not use the map afterwards.
func (m *MemoryValues) Replace(values map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = values
}

// Each implements Values.
func (m *MemoryValues) Each(prefix string, yield func(key string, value []byte) bool) {
	m.mu.RLock()
	found := make(map[string][]byte)
	for key, value := range m.values {
		if strings.HasPrefix(key, prefix) {
			found[key] = value
		}
	}
	m.mu.RUnlock()
	for key, value := range found {
		if !yield(key, value) {
			return
		}
	}
}

// Values returns the store's values. They end with the process unless the store is shared.
func (s *Store) Values() Values {
	if s.shared != nil {
		return s.shared.Values()
	}
	return &s.values
}
