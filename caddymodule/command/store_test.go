package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// TestCommandStore backs up, checks and restores a store.
func TestCommandStore(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "kept")
	dir := t.TempDir()
	backup := filepath.Join(dir, "backup.db")
	if got := s.run("backup", backup); got.code != exitOK || got.out != "" ||
		!strings.Contains(got.err, "Wrote "+backup) {
		t.Fatalf("backup: got unexpected outcome %+v", got)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup file: got %v, error %v", info, err)
	}
	if got := s.run("backup", backup); got.code != exitUsage || !strings.Contains(got.err, "--force") {
		t.Errorf("backup: got unexpected outcome %+v", got)
	}
	if got := s.backUp(t, "backup", backup, "--force"); got.code != exitOK {
		t.Errorf("backup: got unexpected outcome %+v", got)
	}
	if got := s.backUp(t, "backup", "-"); got.code != exitOK || len(got.out) < 4096 || got.err != "" {
		t.Errorf("backup to standard output: got %d bytes, standard error %q", len(got.out), got.err)
	}
	for _, args := range [][]string{{"check"}, {"check", backup}} {
		if got := s.backUp(t, args...); got.code != exitOK || got.err != "1 keys, 1 audit entries, 0 problems\n" {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	store := filepath.Join(dir, "store", "tokens.db")
	if got := s.run("restore", backup, "--store", store, "--yes"); got.code != exitOK ||
		got.err != "Restored "+store+".\n" {
		t.Errorf("restore: got unexpected outcome %+v", got)
	}
	if got := runAsked("n\n", "restore", backup, "--store", store); got.code != exitRefused {
		t.Errorf("restore: got unexpected outcome %+v", got)
	}
	if got := runAsked("y\n", "restore", backup, "--store", store); got.code != exitOK ||
		!strings.Contains(got.err, "is kept as "+store+".replaced-") {
		t.Errorf("restore: got unexpected outcome %+v", got)
	}
	b, err := bolt.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Token(token.ID([]byte(id))); err != nil {
		t.Error(err)
	}
	// Keep the store open, as a running Caddy does.
	for _, args := range [][]string{{"restore", backup, "--store", store, "--yes"}, {"check", store}} {
		if got := s.run(args...); got.code != exitUsage || !strings.Contains(got.err, "in use") {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
		t.Errorf("the commands left temporary files behind: %v", left)
	}
	if got := s.run("clock", "accept", "--yes"); got.code != exitOK ||
		!strings.Contains(got.err, "No change was needed") {
		t.Errorf("clock: got unexpected outcome %+v", got)
	}
}

// backUp runs a command that makes a backup. The server may count a backup as open for a moment after the
// client has read it, and it allows only two.
func (s *commandServer) backUp(t *testing.T, args ...string) (got outcome) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		got = s.run(args...)
		if !strings.Contains(got.err, "Two backups are already in progress") || time.Now().After(deadline) {
			return got
		}
	}
}
