package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

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

// TestKilled: everything that was counted is there after the process was killed, how often
// that may be, and no request counts twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	want := tokenstore.Usage{}
	var token made
	for round := range 6 {
		s := storeOver(t, mustOpen(t, path))
		if round == 0 {
			token = makeToken(t, s)
		}
		for i := range 20 {
			match := authenticate(t, s, token)
			want.Last = tokenstore.LastUse{Time: testTime.Add(time.Duration(round*100+i) * time.Millisecond), IP: "203.0.113.7", UserAgent: "curl", Route: "GET /a"}
			s.CountAllowed(match, "a:b", want.Last)
			s.CountDenied(match, want.Last.Time, "a:b", "insufficient_scope")
			want.Allowed++
			want.Denied++
			if i%7 == round%7 {
				check(t, s.Flush())
			}
		}
		want.Last.Time = want.Last.Time.Truncate(time.Microsecond)
		next := copied(t, path)
		check(t, s.Close())
		path = next
		for range 2 { // the second time nothing is left to replay
			again := copied(t, path)
			s := storeOver(t, mustOpen(t, again))
			if got, series := used(t, s, token.ID); !reflect.DeepEqual(got, want) || series != want.Allowed {
				t.Fatalf("round %d: %+v, %d in the series, want %+v", round, got, series, want)
			}
			check(t, s.Close())
		}
	}
}

// TestJournalFile: it is there while the store is, with nobody else's rights, and
// gone when all is saved.
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
	// Checking and restoring make none.
	if _, err := Check(path); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDeletedAndCounted: what was counted for a token that is deleted is nowhere.
func TestDeletedAndCounted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	tok := makeToken(t, s)
	match := authenticate(t, s, tok)
	s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
	check(t, s.Delete(tok.ID, token.AnyVersion, testActor))
	s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
	killed := copied(t, path)
	check(t, s.Close())
	for _, path := range []string{killed, path} {
		check(t, storeOver(t, mustOpen(t, path)).Close())
		if report, err := Check(path); err != nil || len(report.Problems) > 0 || report.Tokens != 0 {
			t.Errorf("%+v, %v", report, err)
		}
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
