package tokenstore

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// Memory exports memory for tests that run backendtest, which imports this package.
type Memory = memory

// NewMemory returns an empty backend with its journal in dir.
func NewMemory(dir string) *Memory {
	m := newMemory()
	m.journal = filepath.Join(dir, "journal")
	return m
}

// Reopen opens a closed backend.
func (m *memory) Reopen() { m.reopen() }

// Kill returns a copy of the backend and the directory that contains the copy's journal.
func (m *memory) Kill(t testing.TB) (killed *Memory, dir string) {
	killed = m.copy(t)
	return killed, filepath.Dir(killed.journal)
}

// Damage makes a token's record or its usage record unreadable.
func (m *memory) Damage(id token.ID, usage bool) {
	records := m.tokens
	if usage {
		records = m.used
	}
	m.do(func() {
		records[id] = bytes.Clone(records[id])
		records[id][0] ^= 1
	})
}
