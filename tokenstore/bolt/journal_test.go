package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// used returns a token's totals and the number of allowed requests in its series.
func used(t testing.TB, s *tokenstore.Store, id token.ID) (usage tokenstore.Usage, series uint64) {
	t.Helper()
	found, err := s.Get(id)
	check(t, err)
	points, err := s.Series(id, tokenstore.StepDay, testTime.AddDate(0, -1, 0), testTime.AddDate(0, 0, 1))
	check(t, err)
	for _, point := range points {
		if point.Outcome == tokenstore.OutcomeOK {
			series += point.Count
		}
	}
	return found.Usage, series
}

func authenticate(t testing.TB, s *tokenstore.Store, token testToken) tokenstore.Match {
	t.Helper()
	match, err := s.Authenticate(token.credential, testTime)
	check(t, err)
	return match
}

// TestJournalFile verifies that the journal exists while the store is open, that only the
// file's owner can read it, and that only the header remains once all counts have been saved.
func TestJournalFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	token := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	info, err := os.Stat(path + journalSuffix)
	check(t, err)
	if info.Mode() != fileMode {
		t.Errorf("got mode %v, want %v", info.Mode(), fs.FileMode(fileMode))
	}
	check(t, s.Close())
	if info, err := os.Stat(path + journalSuffix); err != nil || info.Size() > 4096 {
		t.Errorf("journal after Close: got %v, err %v, want at most 4096 bytes", info, err)
	}
	check(t, os.Remove(path+journalSuffix))
	// Check must not create a journal.
	if _, err := Check(path); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("files were left behind: %v", left)
	}
}

// TestOlderStore verifies that an older copy of the store is refused, both after a kill and
// after a close, until a backup is restored or the journal is removed. The same applies to a
// missing store.
func TestOlderStore(t *testing.T) {
	t.Parallel()
	open := func(path string) error {
		b, err := Open(path)
		if err != nil {
			return err
		}
		s, err := tokenstore.Open(b, tokenstore.Options{FlushInterval: -1})
		if err != nil {
			return errors.Join(err, b.Close())
		}
		return s.Close()
	}
	for _, killed := range []bool{false, true} {
		path := newPath(t)
		s := openStore(t, mustOpen(t, path))
		revoked := makeToken(t, s)
		backup := saveBackup(t, s)
		_, err := s.Revoke(revoked.ID, token.AnyVersion, testActor)
		check(t, err)
		if killed {
			path = copied(t, path)
		} else {
			check(t, s.Close())
		}
		older, err := os.ReadFile(backup)
		check(t, err)
		check(t, os.WriteFile(path, older, fileMode))
		for range 2 {
			if err := open(path); !errors.Is(err, tokenstore.ErrOlder) ||
				!strings.Contains(err.Error(), "caddy api-token restore") {
				t.Errorf("killed %v: opening an older store: got err %v, want ErrOlder", killed, err)
			}
		}
		check(t, os.Remove(path))
		if err := open(path); err == nil || !strings.Contains(err.Error(), path+journalSuffix+" exists") {
			t.Errorf("killed %v: opening a missing store: got err %v, want an error about the journal", killed, err)
		}
		_, err = Restore(backup, path, testTime)
		check(t, err)
		check(t, open(path))
		check(t, os.Remove(path))
		check(t, os.Remove(path+journalSuffix))
		check(t, open(path))
	}
}

// TestRestoreWithJournal verifies that a restored backup doesn't include counts from after the
// backup, and that the replaced store keeps its journal.
func TestRestoreWithJournal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openStore(t, mustOpen(t, path))
	token := makeToken(t, s)
	use := func() {
		s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	}
	use()
	backup := saveBackup(t, s)
	use()
	killed := copied(t, path)
	kept, err := Restore(backup, killed, testTime)
	check(t, err)
	for path, want := range map[string]uint64{killed: 1, kept: 2} {
		again := openStore(t, mustOpen(t, path))
		if got, series := used(t, again, token.ID); got.Allowed != want || series != want {
			t.Errorf("%s: got %d in the totals and %d in the series, want %d", path, got.Allowed, series, want)
		}
		check(t, again.Close())
	}
	if _, err := os.Stat(kept + journalSuffix); err != nil {
		t.Errorf("the replaced store's journal: %v", err)
	}
}

// TestJournalOfLink verifies that Restore finds the journal of a store that was opened through
// a link.
func TestJournalOfLink(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, openStore(t, mustOpen(t, path)).Close())
	link := filepath.Join(t.TempDir(), "link.db")
	check(t, os.Symlink(path, link))
	s := openStore(t, mustOpen(t, link))
	if _, err := os.Stat(path + journalSuffix); err != nil {
		t.Error(err)
	}
	check(t, s.Close())
}
