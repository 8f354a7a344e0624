package tokenstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// TestStateChanges verifies, for each change to each state, the new state and whether the
// change is written. The change must be in effect when the call returns.
func TestStateChanges(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*testStore, token.ID) (*token.Token, error){
		"revoke": func(s *testStore, id token.ID) (*token.Token, error) {
			return s.Revoke(id, token.AnyVersion, testActor)
		},
		"disable": func(s *testStore, id token.ID) (*token.Token, error) {
			return s.Disable(id, token.AnyVersion, testActor)
		},
		"enable": func(s *testStore, id token.ID) (*token.Token, error) {
			return s.Enable(id, token.AnyVersion, testActor)
		},
	}
	for _, test := range []struct {
		before, change, after string
		changed               bool
	}{
		{"", "revoke", "revoked", true},
		{"", "disable", "disabled", true},
		{"", "enable", "active", false},
		{"revoke", "revoke", "revoked", false},
		{"revoke", "disable", "revoked", false},
		{"revoke", "enable", "conflict", false},
		{"disable", "revoke", "revoked", true},
		{"disable", "disable", "disabled", false},
		{"disable", "enable", "active", true},
	} {
		s := openTestStore(t)
		tok, credential := s.create(t)
		s.must(t, credential)
		if test.before != "" {
			if _, err := changes[test.before](s, tok.ID); err != nil {
				t.Fatal(err)
			}
		}
		before := len(s.memory.audit)
		found, err := changes[test.change](s, tok.ID)
		if test.after == "conflict" {
			if !errors.Is(err, token.ErrConflict) {
				t.Errorf("%s, then %s: got error %v, want ErrConflict", test.before, test.change, err)
			}
			continue
		}
		if err != nil || found.Status(s.Now()).String() != test.after || s.present(t, credential) != test.after {
			t.Errorf("%s, then %s: got %v, %v, want status %s", test.before, test.change, found, err, test.after)
		}
		if wrote := len(s.memory.audit) > before; wrote != test.changed {
			t.Errorf("%s, then %s: written: %v, want %v", test.before, test.change, wrote, test.changed)
		}
	}
	for name, change := range changes {
		if _, err := change(openTestStore(t), token.ID{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of an unknown token: got error %v, want ErrNotFound", name, err)
		}
	}
}

// TestVersions verifies that only one of several changes based on the same version succeeds.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	tok, _ := s.create(t)
	var wait sync.WaitGroup
	results := make(chan error, 16)
	for i := range cap(results) {
		wait.Go(func() {
			name := fmt.Sprint("name ", i)
			_, err := s.Edit(testPolicy, tok.ID, token.Edit{Name: &name, Version: 1}, testActor)
			results <- err
		})
	}
	wait.Wait()
	close(results)
	done := 0
	for err := range results {
		version, outdated := errors.AsType[*token.VersionError](err)
		switch {
		case err == nil:
			done++
		case !outdated || version.Version != 2:
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d changes succeeded, want 1", done)
	}
	if err := s.Delete(tok.ID, 1, testActor); err == nil {
		t.Error("Delete accepted an outdated version")
	}
	if err := s.Delete(tok.ID, 2, testActor); err != nil {
		t.Error(err)
	}
}
