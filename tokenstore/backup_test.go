package tokenstore

import (
	"errors"
	"testing"
)

// TestBackupsAreBounded verifies that at most two backups can be open.
func TestBackupsAreBounded(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	first, _, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := s.Backup(); !errors.Is(err, ErrTooManyBackups) {
			t.Errorf("third backup: got error %v, want ErrTooManyBackups", err)
		}
	}
	for range 2 { // closing a backup twice makes room for only one more
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	third, _, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Backup(); !errors.Is(err, ErrTooManyBackups) {
		t.Errorf("opening one more backup: got error %v, want ErrTooManyBackups", err)
	}
	// A failed backup doesn't count as open.
	for _, content := range []interface{ Close() error }{second, third} {
		if err := content.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.memory.backupError = errors.New("the disk is full")
	for range 3 {
		if _, _, err := s.Backup(); err == nil || errors.Is(err, ErrTooManyBackups) {
			t.Errorf("failing backup: got error %v, want the backend's error", err)
		}
	}
	// A backup succeeds even if counts can't be saved.
	_, credential := s.create(t)
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: s.Now()})
	s.memory.backupError, s.memory.saveError = nil, errors.New("the disk is full")
	if content, _, err := s.Backup(); err != nil {
		t.Error(err)
	} else if err := content.Close(); err != nil {
		t.Error(err)
	}
}
