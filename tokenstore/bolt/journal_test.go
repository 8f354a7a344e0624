package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// used returns a token's totals, and how many allowed requests its series has.
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

func authenticate(t testing.TB, s *tokenstore.Store, token made) tokenstore.Match {
	t.Helper()
	match, err := s.Authenticate(token.credential, testTime)
	check(t, err)
	return match
}

// TestJournalFile: the file exists while the store is open, only its owner can read it,
// and it is removed when all is saved.
func TestJournalFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	info, err := os.Stat(path + journalSuffix)
	check(t, err)
	if info.Mode() != fileMode {
		t.Errorf("%v", info.Mode())
	}
	check(t, s.Close())
	// Checking makes none.
	if _, err := Check(path); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRestoreWithJournal: a restored backup doesn't get what was counted after it was
// taken, and the store that it replaces keeps its journal.
func TestRestoreWithJournal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
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
		again := storeOver(t, mustOpen(t, path))
		if got, series := used(t, again, token.ID); got.Allowed != want || series != want {
			t.Errorf("%s: %d, %d in the series, want %d", path, got.Allowed, series, want)
		}
		check(t, again.Close())
	}
	if _, err := os.Stat(kept + journalSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the journal of the store that was replaced: %v", err)
	}
}

// TestJournalOfALink: a store that is opened by a link has its journal where a restore
// finds it.
func TestJournalOfALink(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, storeOver(t, mustOpen(t, path)).Close())
	link := filepath.Join(t.TempDir(), "link.db")
	check(t, os.Symlink(path, link))
	s := storeOver(t, mustOpen(t, link))
	if _, err := os.Stat(path + journalSuffix); err != nil {
		t.Error(err)
	}
	check(t, s.Close())
}
