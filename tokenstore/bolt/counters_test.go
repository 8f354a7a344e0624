//go:build linux || darwin

package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/mollygate/mollygate/tokenstore"
)

// killed returns a store as it would be found if its process were killed now: its
// files as the system has them.
func killed(t testing.TB, path string) string {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", countersSuffix} {
		content, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "tokens.db"+suffix), content, 0o600))
	}
	return filepath.Join(dir, "tokens.db")
}

// used returns a token's usage as a new process finds it.
func used(t testing.TB, path string, id tokenstore.ID) tokenstore.Usage {
	t.Helper()
	b := mustOpen(t, path)
	saved, err := b.Usage(id)
	check(t, err)
	check(t, b.Close())
	return saved.Usage
}

// toldAllowed opens a store and returns how many allowed requests a token's history
// tells of.
func toldAllowed(t testing.TB, path string, id tokenstore.ID) (n uint64) {
	t.Helper()
	s := storeOver(t, mustOpen(t, path))
	points, err := s.Series(id, tokenstore.StepDay, testTime.AddDate(0, -1, 0), testTime.AddDate(0, 0, 1))
	check(t, err)
	check(t, s.Close())
	for _, point := range points {
		if point.Outcome == tokenstore.OutcomeOK {
			n += point.Count
		}
	}
	return n
}

func authenticate(t testing.TB, s *tokenstore.Store, token made) tokenstore.Match {
	t.Helper()
	match, err := s.Authenticate(token.credential, testTime)
	check(t, err)
	return match
}

// TestKilled: what was counted is there after the process was killed at any moment,
// how often it may be: before a flush, after one, between two, and while what one
// process has left is being saved.
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
			at := testTime.Add(time.Duration(round*100+i) * time.Millisecond)
			s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: at, IP: "203.0.113.7"})
			s.CountDenied(match, at, "a:b", "insufficient_scope")
			s.CountDenied(match, at, "a:b", "insufficient_scope")
			want = tokenstore.Usage{Allowed: want.Allowed + 1, Denied: want.Denied + 2, Last: tokenstore.LastUse{Time: at.Truncate(time.Microsecond)}}
			if i%7 == round%7 {
				check(t, s.Flush())
			}
		}
		next := killed(t, path)
		check(t, s.Close())
		path = next
		for range 2 { // the second time nothing is left to be saved
			got := used(t, killed(t, path), token.ID)
			if got.Allowed != want.Allowed || got.Denied != want.Denied || !got.Last.Time.Equal(want.Last.Time) || round > 0 && got.Last.IP != "203.0.113.7" {
				t.Fatalf("round %d: %+v, want %+v", round, got, want)
			}
			if told := toldAllowed(t, killed(t, path), token.ID); told != want.Allowed {
				t.Fatalf("round %d: the history tells of %d, want %d", round, told, want.Allowed)
			}
		}
	}
}

// TestCountersFile: it is there while the store is, with nobody else's rights, and
// gone when all is saved.
func TestCountersFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	info, err := os.Stat(path + countersSuffix)
	check(t, err)
	if info.Mode() != fileMode || info.Size() != partLength {
		t.Errorf("%v, %d bytes", info.Mode(), info.Size())
	}
	check(t, s.Close())
	if _, err := os.Stat(path + countersSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	// Checking and restoring make none.
	if _, err := Check(path); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCountersOfDeleted: what was counted for a token that is deleted isn't left over.
func TestCountersOfDeleted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	check(t, s.Delete(token.ID, tokenstore.AnyVersion, testActor))
	check(t, s.Close())
	if _, err := os.Stat(path + countersSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCountersGrow: there is room for any number of tokens, and each has its own.
func TestCountersGrow(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	const tokens = 3 * partLength / slotLength
	check(t, b.update(func(tx *bbolt.Tx) error {
		for i := range tokens {
			token := tokenNumber(i)
			if err := put(tx, token); err != nil {
				return err
			}
		}
		return nil
	}))
	var all sync.WaitGroup
	counters := b.Counters()
	const workers = 4
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < tokens; i += workers {
				slot := counters.Take(tokenNumber(i).ID, tokenstore.Usage{})
				counters.Allowed(slot, uint64(i)+1, 0)
				counters.Denied(slot, uint64(i)*1000)
			}
		})
	}
	all.Wait()
	check(t, b.TendCounters())
	again := mustOpen(t, killed(t, path))
	for i := range tokens {
		if got, err := again.Usage(tokenNumber(i).ID); err != nil || got.Allowed != uint64(i)+1 || got.Denied != uint64(i)*1000 {
			t.Fatalf("token %d: %+v, %v", i, got, err)
		}
	}
	check(t, b.Close())
}

func tokenNumber(i int) *tokenstore.Token {
	return &tokenstore.Token{
		ID: tokenstore.ID([]byte(fmt.Sprintf("%012d", i))), Kind: tokenstore.KindAPI, Format: tokenstore.FormatNative, Prefix: "mm", Name: "x", Account: "default",
		Scopes: tokenstore.Grants{"*"}, CreatedAt: testTime, Version: 1, Digest: tokenstore.Digest{byte(i), byte(i >> 8), byte(i >> 16), 1},
	}
}

// TestCountersAreReused: the slot of a token that is deleted becomes another's, and
// only that.
func TestCountersAreReused(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	counters := b.Counters()
	stays := counters.Take(tokenNumber(0).ID, tokenstore.Usage{})
	for i := range 20 * partLength / slotLength {
		slot := counters.Take(tokenNumber(i+1).ID, tokenstore.Usage{})
		counters.Allowed(slot, 1, 0)
		counters.Free(slot)
	}
	counters.Allowed(stays, 7, 0)
	info, err := os.Stat(path + countersSuffix)
	check(t, err)
	if info.Size() > partLength {
		t.Errorf("%d bytes", info.Size())
	}
	left, damaged, err := readCounters(path + countersSuffix)
	if err != nil || damaged != 0 || len(left) != 1 || left[tokenNumber(0).ID].Allowed != 7 {
		t.Errorf("%+v, %d damaged, %v", left, damaged, err)
	}
}

// TestLateCount: a request that ends after the store was closed, and perhaps opened
// again, counts nowhere else.
func TestLateCount(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	match := authenticate(t, s, token)
	check(t, s.Close())
	again := storeOver(t, mustOpen(t, path))
	other := makeToken(t, again)
	for range 5 {
		s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
	}
	again.CountAllowed(authenticate(t, again, other), "a:b", tokenstore.LastUse{Time: testTime})
	left, damaged, err := readCounters(path + countersSuffix)
	if err != nil || damaged != 0 || len(left) != 1 || left[other.ID].Allowed != 1 {
		t.Errorf("%+v, %d damaged, %v", left, damaged, err)
	}
	check(t, again.Close())
}

// TestCountersCutOff: the process lives when the file is truncated under it, the
// counts go on, and it is told (FT-21).
func TestCountersCutOff(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	s := storeOver(t, b)
	token := makeToken(t, s)
	match := authenticate(t, s, token)
	s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
	check(t, os.Truncate(path+countersSuffix, 0))
	for range 2 {
		s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
		s.CountDenied(match, testTime, "a:b", "x")
	}
	if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("it isn't told: %v", err)
	}
	unused := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, unused), "a:b", tokenstore.LastUse{Time: testTime})
	check(t, s.Flush())
	for id, want := range map[tokenstore.ID]uint64{token.ID: 3, unused.ID: 1} {
		if got, err := s.Get(id); err != nil || got.Usage.Allowed != want {
			t.Errorf("%+v, %v", got.Usage, err)
		}
	}
	_ = s.Close()
	// What is left of the file is told, and hinders nobody.
	b = mustOpen(t, path)
	if got, err := b.Usage(token.ID); err != nil || got.Allowed != 3 || got.Denied != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("it isn't told: %v", err)
		}
	}
	check(t, os.Remove(path+countersSuffix))
	check(t, b.TendCounters())
	b.Counters().Allowed(b.Counters().Take(token.ID, tokenstore.Usage{}), 9, 0)
	if got := used(t, killed(t, path), token.ID); got.Allowed != 9 {
		t.Errorf("%+v", got)
	}
}

// TestCountersMovedAway is told: what is counted in a file that nobody will look
// into is lost.
func TestCountersMovedAway(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	b := mustOpen(t, path)
	check(t, b.TendCounters())
	check(t, os.Rename(path+countersSuffix, path+".elsewhere"))
	if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "moved away") {
		t.Error(err)
	}
	check(t, os.WriteFile(path+countersSuffix, nil, 0o600))
	if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "moved away") {
		t.Error(err)
	}
	check(t, b.Close())
	if _, err := os.Stat(path + countersSuffix); err != nil {
		t.Errorf("another's file was removed: %v", err)
	}
}

// TestForeignCounters: a file that isn't ours is left as it is, and the store serves
// without.
func TestForeignCounters(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"empty":       func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a text":      func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("text ", 1000)), 0o600) },
		"another version": func(path string) error {
			header := countersHeader()
			header[len(countersMagic)]++
			return os.WriteFile(path, header, 0o600)
		},
	} {
		path := newPath(t)
		check(t, put(path+countersSuffix))
		before := fmt.Sprint(files(t, filepath.Dir(path)))
		b := mustOpen(t, path)
		s := storeOver(t, b)
		token := makeToken(t, s)
		s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
		if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), path+countersSuffix) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("%s: %v", name, err)
		}
		check(t, s.Close())
		check(t, os.Remove(path))
		if after := fmt.Sprint(files(t, filepath.Dir(path))); after != before {
			t.Errorf("%s: %s, was %s", name, after, before)
		}
	}
}

// TestDamagedCounters: no flipped bit makes a total larger, and what is damaged is
// told once.
func TestDamagedCounters(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	match := authenticate(t, s, token)
	for range 5 {
		s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
		s.CountDenied(match, testTime, "a:b", "x")
	}
	dead := killed(t, path)
	counted := tokenstore.Usage{Allowed: 5, Denied: 5, Last: tokenstore.LastUse{Time: testTime.Truncate(time.Microsecond)}}
	whole, err := os.ReadFile(dead + countersSuffix)
	check(t, err)
	slot := slices.Index(whole[slotLength:], token.ID[0]) + slotLength
	if string(whole[slot:slot+len(token.ID)]) != token.ID.String() {
		t.Fatal("the slot isn't found")
	}
	told := 0
	for bit := range 8 * slotLength {
		content := slices.Clone(whole)
		content[slot+bit/8] ^= 1 << (bit % 8)
		check(t, os.WriteFile(dead+countersSuffix, content, 0o600))
		left, damaged, err := readCounters(dead + countersSuffix)
		check(t, err)
		for id, got := range left {
			if id != token.ID || got != counted {
				t.Errorf("bit %d: token %s %+v", bit, id, got)
			}
		}
		if damaged+len(left) != 1 {
			t.Errorf("bit %d: %d damaged, %d found", bit, damaged, len(left))
		}
		told += damaged
	}
	if want := 8 * (len(token.ID) + 4 + 3*8); told != want {
		t.Errorf("%d flips were told, want those of the id, its sum and the totals, %d", told, want)
	}
	whole[slot] ^= 1
	check(t, os.WriteFile(dead+countersSuffix, whole, 0o600))
	b := mustOpen(t, dead)
	if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "1 totals") {
		t.Errorf("it isn't told: %v", err)
	}
	check(t, b.TendCounters())
}

// TestLeftoverThatCantBeSaved counts all the same, and is saved when it can be.
func TestLeftoverThatCantBeSaved(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	token, idle := makeToken(t, s), makeToken(t, s)
	for _, token := range []made{token, idle} {
		s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	}
	dead := killed(t, path)
	check(t, s.Close())
	// A file that was replaced under the store isn't written to.
	check(t, os.Rename(dead, dead+".away"))
	check(t, os.Symlink(dead+".away", dead))
	b, err := openAlone(dead)
	check(t, err)
	t.Cleanup(func() { _ = b.Close() })
	check(t, os.Remove(dead))
	b.counters = openCounters(b, b.path+countersSuffix)
	for range 2 {
		if err := b.TendCounters(); err == nil || !strings.Contains(err.Error(), "can't be saved yet") {
			t.Fatal(err)
		}
	}
	s = storeOver(t, b)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	for id, want := range map[tokenstore.ID]uint64{token.ID: 2, idle.ID: 1} {
		if got, err := s.Get(id); err != nil || got.Usage.Allowed != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	seen := uint64(0)
	check(t, s.Scan(t.Context(), func(u tokenstore.TokenUsage) bool {
		seen += u.Usage.Allowed
		return true
	}))
	if seen != 3 {
		t.Errorf("a scan sees %d", seen)
	}
	check(t, os.Rename(dead+".away", dead))
	check(t, b.TendCounters())
	check(t, s.Close())
	for id, want := range map[tokenstore.ID]uint64{token.ID: 2, idle.ID: 1} {
		if got := used(t, dead, id); got.Allowed != want {
			t.Errorf("saved %+v", got)
		}
	}
}

// TestRoomComesLate: tokens that were first used when there was no room get a place
// with their next use.
func TestRoomComesLate(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, os.Mkdir(path+countersSuffix, 0o700))
	b := mustOpen(t, path)
	s := storeOver(t, b)
	token := makeToken(t, s)
	match := authenticate(t, s, token)
	s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
	s.CountDenied(match, testTime, "a:b", "x")
	check(t, s.Flush())
	check(t, os.Remove(path+countersSuffix))
	_ = b.TendCounters() // which tells how it was
	check(t, b.TendCounters())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime}) })
	}
	all.Wait()
	if got := used(t, killed(t, path), token.ID); got.Allowed != 9 || got.Denied != 1 {
		t.Errorf("%+v", got)
	}
}

// TestUnreadCountersWhileRunning covers what can happen to a counters file that can't
// be read under the process that found it so.
func TestUnreadCountersWhileRunning(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(t *testing.T, file string, content []byte)
		says    string
		// want is what is counted in the end, and in the next process.
		now, next uint64
	}{
		"nothing":        {func(*testing.T, string, []byte) {}, "can't be read", 3, 3},
		"it is readable": {func(t *testing.T, file string, content []byte) { check(t, os.WriteFile(file, content, 0o600)) }, "restart Caddy", 3, 10},
		"it is moved":    {func(t *testing.T, file string, _ []byte) { check(t, os.Rename(file, file+".away")) }, "", 3, 3},
		"it has nothing left": {func(t *testing.T, file string, content []byte) {
			check(t, os.WriteFile(file, content[:slotLength], 0o600))
		}, "", 3, 3},
	} {
		path := newPath(t)
		s := storeOver(t, mustOpen(t, path))
		token := makeToken(t, s)
		match := authenticate(t, s, token)
		for range 7 {
			s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
		}
		dead := killed(t, path)
		check(t, s.Close())
		file := dead + countersSuffix
		content, err := os.ReadFile(file)
		check(t, err)
		check(t, os.WriteFile(file, []byte("another machine's"), 0o600))

		b := mustOpen(t, dead)
		s = storeOver(t, b)
		match = authenticate(t, s, token)
		for range 3 {
			s.CountAllowed(match, "a:b", tokenstore.LastUse{Time: testTime})
		}
		check(t, s.Flush())
		if err := b.TendCounters(); !errors.Is(err, tokenstore.ErrCountsUnread) {
			t.Errorf("%s: %v", name, err)
		}
		test.happens(t, file, content)
		if err := b.TendCounters(); (err == nil) != (test.says == "") || err != nil && (!errors.Is(err, tokenstore.ErrCountsUnread) || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := s.Get(token.ID); err != nil || got.Usage.Allowed != test.now {
			t.Errorf("%s: %d are counted, %v", name, got.Usage.Allowed, err)
		}
		check(t, s.Close())
		for range 2 {
			if got := used(t, dead, token.ID); got.Allowed != test.next {
				t.Errorf("%s: in the next process %d are counted, want %d", name, got.Allowed, test.next)
			}
		}
		if told := toldAllowed(t, dead, token.ID); told != test.next {
			t.Errorf("%s: the history has %d, want %d", name, told, test.next)
		}
	}
}

// TestUnreadCountersOfDeleted leaves nothing of a token that is deleted while a
// counters file can't be read.
func TestUnreadCountersOfDeleted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	check(t, os.WriteFile(path+countersSuffix, []byte("another machine's"), 0o600))
	s := storeOver(t, mustOpen(t, path))
	token := makeToken(t, s)
	s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
	check(t, s.Flush())
	check(t, s.Delete(token.ID, tokenstore.AnyVersion, testActor))
	check(t, s.Close())
	if report, err := Check(path); err != nil || len(report.Problems) > 0 {
		t.Errorf("%v, %v", report.Problems, err)
	}
}

// TestUnreadCountersAddedOnce verifies that a process that is killed while it adds what
// a counters file has leaves the rest to the next one, which adds nothing twice.
func TestUnreadCountersAddedOnce(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := storeOver(t, mustOpen(t, path))
	var tokens []made
	count := func(s *tokenstore.Store, times int) {
		for _, token := range tokens {
			for range times {
				s.CountAllowed(authenticate(t, s, token), "a:b", tokenstore.LastUse{Time: testTime})
			}
		}
	}
	for range 3 {
		tokens = append(tokens, makeToken(t, s))
	}
	count(s, 7)
	dead := killed(t, path)
	check(t, s.Close())
	content, err := os.ReadFile(dead + countersSuffix)
	check(t, err)
	check(t, os.WriteFile(dead+countersSuffix, nil, 0o600))
	s = storeOver(t, mustOpen(t, dead))
	count(s, 3)
	check(t, s.Close())
	check(t, os.WriteFile(dead+countersSuffix, content, 0o600))

	b, err := openAlone(dead)
	check(t, err)
	left, _, err := readCounters(dead + countersSuffix)
	check(t, err)
	for range 2 {
		check(t, b.update(func(tx *bbolt.Tx) error { return saveLeft(tx, tokens[0].ID, left[tokens[0].ID]) }))
	}
	check(t, b.update(func(tx *bbolt.Tx) error { // the larger of the two totals stays of this one
		key, _ := tx.Bucket(unreadBucket).Cursor().First()
		return tx.Bucket(unreadBucket).Put(key, []byte("damaged"))
	}))
	check(t, b.Close())
	if report, err := Check(dead); err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "before a counters file") {
		t.Errorf("%v, %v", report.Problems, err)
	}
	var got []uint64
	for _, token := range tokens {
		got = append(got, used(t, dead, token.ID).Allowed)
	}
	if got[0] != 10 || got[1]+got[2] != 17 {
		t.Errorf("counted are %v", got)
	}
}
