package tokenstore

import (
	"errors"
	"testing"
)

// TestUnshared verifies that a store that isn't shared has nothing to restore, accept or confirm.
func TestUnshared(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	if _, err := s.Restore(t.Context(), "backup.db", testActor); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Restore: got %v", err)
	}
	if err := s.Accept(t.Context(), testActor); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Accept: got %v", err)
	}
	if missing, err := s.Confirm(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("Confirm: got %v, %v", missing, err)
	}
}
