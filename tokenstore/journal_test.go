package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// openJournaled returns a store with a journal file.
func openJournaled(t *testing.T) *testStore {
	backend := newMemory()
	backend.journal = filepath.Join(t.TempDir(), "journal")
	return reopen(t, backend, newTestClock(testTime))
}

// kill returns the store as a new process would open it after the current process was killed.
func (s *testStore) kill(t *testing.T) *testStore {
	t.Helper()
	killed := s.memory.copy(t)
	return reopen(t, killed, s.clock)
}

// copy returns a copy of the backend's state on disk, including the journal.
func (m *memory) copy(t testing.TB) *memory {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	c.tokens, c.digests, c.used, c.days, c.state = maps.Clone(m.tokens), maps.Clone(m.digests), maps.Clone(m.used),
		maps.Clone(m.days), m.state
	c.audit, c.requests, c.ended = slices.Clone(m.audit), maps.Clone(m.requests), maps.Clone(m.ended)
	c.totals, c.refused = maps.Clone(m.totals), maps.Clone(m.refused)
	c.journal = filepath.Join(t.TempDir(), "journal")
	content, err := os.ReadFile(m.journal)
	if err == nil {
		err = os.WriteFile(c.journal, content, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return c
}

// whileReplaying opens the backend, which saves the killed process's counts. It returns copies
// of the backend: one from before each transaction, and one from after the last transaction
// but with the old journal.
func (m *memory) whileReplaying(t *testing.T, clock *testClock) (copies []*memory) {
	t.Helper()
	m.beforeSave = func() { copies = append(copies, m.copy(t)) }
	journal, err := os.ReadFile(m.journal)
	check(t, err)
	reopen(t, m, clock)
	m.beforeSave = nil
	last := m.copy(t)
	check(t, os.WriteFile(last.journal, journal, 0o600))
	return append(copies, last)
}

// sums returns a token's totals of allowed and denied requests, and the corresponding sums of
// its series.
func (s *testStore) sums(t *testing.T, id token.ID) (totals, series [2]uint64) {
	t.Helper()
	got, err := s.Get(id)
	check(t, err)
	points, err := s.Series(id, StepDay, midnight.AddDate(0, 0, -3), midnight.AddDate(0, 0, 3))
	check(t, err)
	for _, p := range points {
		if p.Outcome == OutcomeOK {
			series[0] += p.Count
		} else {
			series[1] += p.Count
		}
	}
	return [2]uint64{got.Usage.Allowed, got.Usage.Denied}, series
}

// TestKilled kills the process at random moments: before, during and after a flush, in any of
// the flush's transactions, while a transaction's outcome is unknown, and while a killed
// process's counts are being replayed. Each request must count once.
func TestKilled(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := openJournaled(t)
	const tokens = 2*minChunk + 100 // at least two transactions per flush
	credentials, counts, ids := make([]token.Credential, tokens), make([][2]uint64, tokens), make([]token.ID, tokens)
	for i := range tokens {
		token, credential := s.create(t)
		credentials[i], ids[i] = credential, token.ID
	}
	count := func(n int) {
		for range n {
			i := random.IntN(tokens)
			match := s.must(t, credentials[i])
			if random.IntN(5) == 0 {
				counts[i][1]++
				s.CountDenied(match, Refusal{Time: s.Now(), Scope: "a:b", Code: "insufficient_scope"})
			} else {
				counts[i][0]++
				s.CountAllowed(match, fmt.Sprint("a:", random.IntN(3)), LastUse{Time: s.Now(), IP: "203.0.113.7"})
			}
		}
	}
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		count(random.IntN(3000))
		var killed *memory
		var atKill [][2]uint64 // the counts when the process was killed
		kill := func() { killed, atKill = s.memory.copy(t), slices.Clone(counts) }
		fails, saves, after := random.IntN(3) == 0, random.IntN(2) == 0, random.IntN(4)
		s.memory.beforeSave = func() {
			if random.IntN(5) == 0 { // requests arrive in the meantime
				count(3)
			}
			if after--; after == 0 && fails {
				s.memory.do(func() { s.memory.saveError, s.memory.saves = errors.New("EIO"), saves })
			} else if after == 0 {
				kill()
			}
		}
		_ = s.Flush()
		s.memory.beforeSave = nil
		s.memory.do(func() { s.memory.saveError = nil })
		if killed == nil {
			if random.IntN(2) == 0 {
				_ = s.Flush()
			}
			count(random.IntN(50))
			kill()
		}
		if round%3 == 0 { // kill the next process while it replays
			replaying := killed.whileReplaying(t, s.clock)
			killed = replaying[random.IntN(len(replaying))]
		}
		s, counts = reopen(t, killed, s.clock), atKill
		for range 50 {
			i := random.IntN(tokens)
			if totals, series := s.sums(t, ids[i]); totals != counts[i] || series != counts[i] {
				t.Fatalf("round %d, token %d: counted %v, but the totals are %v and the series sums %v", round, i,
					counts[i], totals, series)
			}
		}
	}
	for i := range tokens {
		if totals, series := s.sums(t, ids[i]); totals != counts[i] || series != counts[i] {
			t.Fatalf("token %d: counted %v, but the totals are %v and the series sums %v", i, counts[i], totals, series)
		}
	}
}

// TestKilledInFlush kills the process before each transaction of a flush.
func TestKilledInFlush(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	const tokens = 3 * minChunk
	var ids []token.ID
	var matches []Match
	for range tokens {
		token, credential := s.create(t)
		ids, matches = append(ids, token.ID), append(matches, s.must(t, credential))
	}
	want := uint64(0)
	for range 3 {
		want++
		for i := range matches {
			s.CountAllowed(matches[i], "a:b", LastUse{Time: s.Now()})
		}
		var killed []*memory
		s.memory.beforeSave = func() { killed = append(killed, s.memory.copy(t)) }
		check(t, s.Flush())
		if len(killed) < 2 {
			t.Fatalf("the flush took %d transactions, want at least 2", len(killed))
		}
		s.memory.beforeSave = nil
		for n, memory := range append(killed, s.memory.copy(t)) {
			again := reopen(t, memory, s.clock)
			for _, id := range ids {
				if totals, series := again.sums(t, id); totals[0] != want || series[0] != want {
					t.Fatalf("killed in transaction %d: got totals %v, series sums %v, want %d", n, totals, series,
						want)
				}
			}
			check(t, again.Close())
		}
	}
}

// TestKilledInReplay kills the process while it saves an earlier process's counts.
func TestKilledInReplay(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	ids := make([]token.ID, 3*minChunk)
	for i := range ids {
		token, credential := s.create(t)
		ids[i] = token.ID
		match := s.must(t, credential)
		s.CountAllowed(match, "a:b", LastUse{Time: s.Now()})
		s.CountDenied(match, Refusal{Time: s.Now(), Scope: "a:b", Code: "insufficient_scope"})
	}
	replaying := s.memory.copy(t).whileReplaying(t, s.clock)
	for n, memory := range replaying {
		again := reopen(t, memory, s.clock)
		for _, id := range ids {
			if totals, series := again.sums(t, id); totals != [2]uint64{1, 1} || series != totals {
				t.Fatalf("killed at %d of %d: got totals %v, series sums %v, want one each", n+1, len(replaying),
					totals, series)
			}
		}
		check(t, again.Close())
	}
}

// TestReplayKeepsEverything verifies that the address, user agent, route, use of the previous
// secret and quota survive a kill.
func TestReplayKeepsEverything(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	tok, credential := s.create(t,
		func(d *token.Draft) { d.Quota = &token.Quota{Requests: 10, Period: token.PeriodDay} })
	s.must(t, credential)
	_, secret, err := s.Rotate(testPolicy, tok.ID, token.Rotation{Grace: 3600e9}, testActor)
	check(t, err)
	match := s.must(t, parsed(t, secret))
	old := s.must(t, credential)
	before := LastUse{Time: s.Now().Truncate(1000), IP: "203.0.113.7", UserAgent: "curl/8.9", Route: "GET /a"}
	s.CountAllowed(old, "a:b", before)
	last := LastUse{Time: s.Now().Add(1e9).Truncate(1000), IP: "2001:db8::1", UserAgent: "ci", Route: "GET /b"}
	s.CountAllowedOn(match, "a:b", []string{"unikernel/web-*", "block/db"}, last)
	s = s.kill(t)
	got, err := s.Get(tok.ID)
	check(t, err)
	today := DayOf(s.Now())
	used := []ResourceUse{{"block/db", today}, {"unikernel/web-*", today}}
	if want := (Usage{Allowed: 2, Last: last, Previous: before, Resources: used}); !reflect.DeepEqual(got.Usage, want) {
		t.Errorf("got usage %+v, want %+v", got.Usage, want)
	}
	if _, previous, err := s.PreviousUse(tok.ID); err != nil || previous != before {
		t.Errorf("got previous use %+v, want %+v, error %v", previous, before, err)
	}
	if standing, err := s.QuotaStanding(s.must(t, parsed(t, secret)).Token, s.Now()); err != nil ||
		standing.Remaining != 8 {
		t.Errorf("got quota standing %+v, %v, want 8 remaining", standing, err)
	}
}

// TestUnreadableJournal verifies what happens if a killed process's journal can't be read at
// first. Counting continues, and once the journal can be read, its counts are added exactly
// once, even after another kill. Quotas in use include them as well.
func TestUnreadableJournal(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	tok, credential := s.create(t,
		func(d *token.Draft) { d.Quota = &token.Quota{Requests: 10, Period: token.PeriodDay} })
	use := func(remaining int64) {
		t.Helper()
		match := s.must(t, credential)
		if _, standing, err := s.TakeQuota(match, s.Now()); err != nil || standing.Remaining != remaining {
			t.Errorf("got quota standing %+v, want %d remaining, error %v", standing, remaining, err)
		}
		s.CountAllowed(match, "a:b", LastUse{Time: s.Now()})
	}
	for n := range int64(3) {
		use(9 - n)
	}
	killed := s.memory.copy(t)
	path := killed.journal
	check(t, os.Rename(path, path+".kept"))
	check(t, os.Mkdir(path, 0o700)) // a directory can't be read as a file
	s = reopen(t, killed, s.clock)
	if err := s.CountsAtRisk(); !errors.Is(err, ErrCountsUnread) {
		t.Fatalf("CountsAtRisk returned %v, want ErrCountsUnread", err)
	}
	for n := range int64(2) {
		use(9 - n)
		check(t, s.Flush())
	}
	if totals, series := s.sums(t, tok.ID); totals[0] != 2 || series[0] != 2 {
		t.Errorf("with an unread journal: got totals %v, series sums %v, want 2 allowed", totals, series)
	}
	check(t, os.Remove(path))
	check(t, os.Rename(path+".kept", path))
	again := s.kill(t) // the journal has not been read yet
	s.checkJournal()
	if err := s.CountsAtRisk(); err != nil {
		t.Errorf("CountsAtRisk returned %v after the journal was read", err)
	}
	for name, s := range map[string]*testStore{"read": s, "killed": again} {
		for range 2 {
			if totals, series := s.sums(t, tok.ID); totals[0] != 5 || series[0] != 5 {
				t.Errorf("%s: got totals %v, series sums %v, want 5 allowed", name, totals, series)
			}
			if standing, err := s.QuotaStanding(s.must(t, credential).Token, s.Now()); err != nil ||
				standing.Remaining != 5 {
				t.Errorf("%s: got quota standing %+v, want 5 remaining, error %v", name, standing, err)
			}
			s = s.kill(t)
		}
	}
}

// TestDamagedJournalWhileRunning verifies that a journal that is truncated, removed or
// replaced is recreated with the unsaved counts, and that no counts are lost.
func TestDamagedJournalWhileRunning(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 5000) },
		"emptied":   func(path string) error { return os.Truncate(path, 0) },
		"removed":   os.Remove,
		"replaced":  func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
		"overwritten": func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = file.Write(make([]byte, 4096))
			}
			return errors.Join(err, file.Close())
		},
		"moved": func(path string) error { return os.Rename(path, path+".moved") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openJournaled(t)
			token, credential := s.create(t)
			match := s.must(t, credential)
			use := func() {
				for range 20 {
					s.CountAllowed(match, "a:b", LastUse{Time: s.Now()})
				}
			}
			use()
			check(t, damage(s.memory.journal))
			use()
			s.memory.do(func() { s.memory.saveError = errors.New("full") })
			s.checkJournal()
			if s.CountsAtRisk() == nil {
				t.Error("CountsAtRisk returned nil for a damaged journal")
			}
			if totals, series := s.sums(t, token.ID); totals[0] != 40 || series[0] != 40 {
				t.Errorf("got totals %v, series sums %v, want 40 allowed", totals, series)
			}
			s.memory.do(func() { s.memory.saveError = nil })
			s.checkJournal()
			if err := s.CountsAtRisk(); err != nil {
				t.Errorf("CountsAtRisk returned %v after the journal was recreated", err)
			}
			use()
			s = s.kill(t)
			if totals, series := s.sums(t, token.ID); totals[0] != 60 || series[0] != 60 {
				t.Errorf("after a kill: got totals %v, series sums %v, want 60 allowed", totals, series)
			}
		})
	}
}

// TestForeignJournal verifies that no counts are added from another store's journal, or from a
// journal that is newer than a restored backup.
func TestForeignJournal(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	token, credential := s.create(t)
	backup := s.memory.copy(t)
	backup.state.Flush.Journal ^= 2
	s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: s.Now()})
	content, err := os.ReadFile(s.memory.journal)
	check(t, err)
	check(t, os.WriteFile(backup.journal, content, 0o600))
	s = reopen(t, backup, s.clock)
	if totals, series := s.sums(t, token.ID); totals[0] != 0 || series[0] != 0 || s.CountsAtRisk() != nil {
		t.Errorf("got totals %v, series sums %v, at risk: %v, want no counts", totals, series, s.CountsAtRisk())
	}
}

// TestFullJournal verifies that counting continues beyond the journal's capacity while usage
// can't be saved, and that the store then reports that counts are at risk.
func TestFullJournal(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	token, credential := s.create(t)
	match := s.must(t, credential)
	s.memory.do(func() { s.memory.saveError = errors.New("full") })
	const uses = 100_000
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range uses / 4 {
				s.CountAllowed(match, "a:b",
					LastUse{Time: s.Now(),
						UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"})
			}
		})
	}
	all.Wait()
	select {
	case <-s.journal.Full():
	default:
		t.Error("the journal didn't report that a ring is half full")
	}
	if err := s.Flush(); err == nil {
		t.Error("Flush succeeded although the backend can't save usage")
	}
	s.checkJournal()
	if s.CountsAtRisk() == nil {
		t.Error("CountsAtRisk returned nil for an overrun journal")
	}
	s.memory.do(func() { s.memory.saveError = nil })
	before, err := os.Stat(s.memory.journal)
	check(t, err)
	s.checkJournal()
	if after, err := os.Stat(s.memory.journal); err != nil || !os.SameFile(before, after) {
		t.Errorf("the journal was recreated: %v", err)
	}
	if err := s.CountsAtRisk(); err != nil {
		t.Errorf("CountsAtRisk returned %v after a successful flush", err)
	}
	s = s.kill(t)
	if totals, series := s.sums(t, token.ID); totals[0] != uses || series[0] != uses {
		t.Errorf("got totals %v, series sums %v, want %d allowed", totals, series, uses)
	}
}

// TestStalledFlush verifies that during a slow flush, the store reports counts at risk once
// they exceed the journal's capacity.
func TestStalledFlush(t *testing.T) {
	t.Parallel()
	s := openJournaled(t)
	_, credential := s.create(t)
	match := s.must(t, credential)
	stalled, goOn := make(chan struct{}), make(chan struct{})
	s.memory.beforeSave = sync.OnceFunc(func() {
		close(stalled)
		<-goOn
	})
	s.CountAllowed(match, "a:b", LastUse{Time: s.Now()})
	flushed := make(chan error)
	go func() { flushed <- s.Flush() }()
	<-stalled
	for range 100_000 {
		s.CountAllowed(match, "a:b",
			LastUse{Time: s.Now(), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"})
	}
	if s.CountsAtRisk() == nil {
		t.Error("CountsAtRisk returned nil although the counts exceed the journal's capacity")
	}
	close(goOn)
	check(t, <-flushed)
	check(t, s.Flush())
	if err := s.CountsAtRisk(); err != nil {
		t.Errorf("CountsAtRisk returned %v after a successful flush", err)
	}
}

// FuzzParseJournalEntry verifies that parsing never panics and is the inverse of encoding.
func FuzzParseJournalEntry(f *testing.F) {
	f.Add([]byte{}, "ok", "a:b", "GET /a", "203.0.113.7", "curl", "")
	f.Add([]byte{}, "ok", "a:b", "GET /a", "203.0.113.7", "curl", "unikernel/a\nblock/*")
	f.Add([]byte{}, "ip_denied", "a:b", "/a", "203.0.113.7", "curl", "GET")
	f.Fuzz(func(t *testing.T, b []byte, outcome, scope, route, address, agent, more string) {
		use := lastUse(b)
		if _, ok := parseJournalEntry(b); !ok && use != (LastUse{}) {
			t.Fatalf("%x doesn't parse as an entry, but lastUse returned %+v", b, use)
		}
		c := journalEntry{id: token.ID{1, 2}, at: 7, previous: true, outcome: outcome, scope: scope, route: route,
			address: address, agent: agent, more: more}
		c.truncate()
		if c.length() > journal.MaxEntry {
			t.Fatalf("a truncated entry has %d bytes, more than MaxEntry", c.length())
		}
		entry := make([]byte, c.length())
		c.encode(entry)
		e, ok := parseJournalEntry(entry)
		texts := [...][]byte{textOutcome: []byte(c.outcome), textScope: []byte(c.scope), textRoute: []byte(c.route),
			textAddress: []byte(c.address), textAgent: []byte(c.agent), textMore: []byte(c.more)}
		if !ok || e.id != c.id || e.at != c.at || !e.previous || !slices.EqualFunc(e.texts[:], texts[:], bytes.Equal) {
			t.Fatalf("parsing an encoded entry returned %+v", e)
		}
	})
}
