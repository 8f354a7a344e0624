package tokenstore

import (
	"errors"
	"testing"
)

// TestBackupsAreBounded: a third backup has to wait for one of two.
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
			t.Errorf("a third: %v", err)
		}
	}
	for range 2 { // closing one twice makes room for one
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	third, _, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Backup(); !errors.Is(err, ErrTooManyBackups) {
		t.Errorf("another: %v", err)
	}
	// One that fails takes no room.
	for _, content := range []interface{ Close() error }{second, third} {
		if err := content.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.memory.backupError = errors.New("the disk is full")
	for range 3 {
		if _, _, err := s.Backup(); err == nil || errors.Is(err, ErrTooManyBackups) {
			t.Errorf("a backup that fails: %v", err)
		}
	}
	// Counts that can't be saved prevent no backup.
	_, credential := s.create(t)
	s.CountAllowed(s.must(t, credential), "unikernel:list", LastUse{Time: s.Now()})
	s.memory.backupError, s.memory.saveError = nil, errors.New("the disk is full")
	if content, _, err := s.Backup(); err != nil {
		t.Error(err)
	} else if err := content.Close(); err != nil {
		t.Error(err)
	}
}
