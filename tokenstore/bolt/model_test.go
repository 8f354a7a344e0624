package bolt

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
)

// modelStore returns a store for a model. Its clock is stopped, and it doesn't flush in the
// background.
func modelStore(b tokenstore.Backend, now time.Time) (*tokenstore.Store, error) {
	return tokenstore.Open(b, tokenstore.Options{
		Clock: tokenstore.ClockFunc(func() time.Time { return now }), FlushInterval: -1,
	})
}

// openModelStore opens the store at path for a model.
func openModelStore(path string, now time.Time) (*tokenstore.Store, error) {
	b, err := Open(path)
	if err != nil {
		return nil, err
	}
	s, err := modelStore(b, now)
	if err != nil {
		_ = b.Close()
	}
	return s, err
}

func cloneModel(t testing.TB, m *backendtest.Model) *backendtest.Model {
	t.Helper()
	clone := new(backendtest.Model)
	text, err := json.Marshal(m)
	check(t, errors.Join(err, json.Unmarshal(text, clone)))
	return clone
}

// TestModel tests the model itself: without faults, it finds no violations; in an older copy
// of the store, it finds violations of every kind.
func TestModel(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, err := openModelStore(path, testTime)
	check(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var m backendtest.Model
	for range 60 {
		m.Create(s, random)
	}
	older := saveBackup(t, s)
	found := append(m.Work(s, random, 300), m.Check(s)...)
	check(t, s.Close())
	m.Flushed()
	s, err = openModelStore(path, testTime)
	check(t, err)
	for _, violation := range append(append(found, m.Check(s)...), m.Work(s, random, 100)...) {
		t.Errorf("without a fault: got violation %+v", violation)
	}
	check(t, s.Close())

	raw, err := os.ReadFile(older)
	check(t, err)
	check(t, os.WriteFile(path, raw, fileMode))
	check(t, os.Remove(path+journalSuffix)) // the journal would reveal that the file is older
	s, err = openModelStore(path, testTime)
	check(t, err)
	kinds := make(map[backendtest.ViolationKind]int)
	for _, violation := range m.Check(s) {
		kinds[violation.Kind]++
	}
	check(t, s.Close())
	for _, kind := range []backendtest.ViolationKind{
		backendtest.DeadAlive, backendtest.LiveUnknown, backendtest.RevokedUnknown, backendtest.ChangeLost,
		backendtest.Unlisted, backendtest.UsageLost,
	} {
		if kinds[kind] == 0 {
			t.Errorf("older file: found no violation of kind %q", kind)
		}
	}
}

// TestModelUnknownOutcome verifies that a model accepts either outcome of a failed change
// until a result shows which one occurred.
func TestModelUnknownOutcome(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, err := openModelStore(path, testTime)
	check(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var m backendtest.Model
	m.Create(s, random)
	check(t, s.Close())
	if found := m.Revoke(s, m.Tokens[0]); len(found) != 1 || found[0].Kind != backendtest.Unavailable {
		t.Errorf("revoking in a closed store: got violations %v, want Unavailable", found)
	}
	s, err = openModelStore(path, testTime)
	check(t, err)
	defer s.Close()
	if found := m.Check(s); len(found) > 0 {
		t.Errorf("token not revoked: got violations %v, want none", found)
	}
	_, err = s.Revoke(token.ID([]byte(m.Tokens[0].ID)), token.AnyVersion, testActor)
	check(t, err)
	if found := m.Check(s); len(found) > 0 {
		t.Errorf("token revoked: got violations %v, want none", found)
	}
	if found := m.Toggle(s, m.Tokens[0]); len(found) > 0 {
		t.Errorf("disabling: got violations %v, want none", found)
	}
	if found := m.Rotate(s, m.Tokens[0], 0); len(found) > 0 || len(m.Tokens[0].States) != 1 {
		t.Errorf("after a conflict that shows the revocation: got violations %v and states %v", found,
			m.Tokens[0].States)
	}
}
