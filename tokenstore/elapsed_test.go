package tokenstore

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
)

const aDay = 24 * time.Hour

// fillAudit replaces the audit log with entries of the given ages.
func (s *testStore) fillAudit(ages ...time.Duration) {
	s.memory.do(func() {
		s.memory.audit = nil
		for _, age := range ages {
			s.memory.audit = append(s.memory.audit, AuditEntry{Time: s.clock.Now().Add(-age)})
		}
	})
}

func (s *testStore) pruned(t *testing.T) (left int) {
	t.Helper()
	if _, err := s.prune(); err != nil {
		t.Fatal(err)
	}
	s.memory.do(func() { left = len(s.memory.audit) })
	return left
}

// TestPruneByElapsedTime verifies that records are kept if they look old only because the
// clock is wrong.
func TestPruneByElapsedTime(t *testing.T) {
	t.Parallel()
	year := new(months(12))
	for name, test := range map[string]struct {
		// happens runs between adding the entries and pruning.
		happens func(t *testing.T, s *testStore) *testStore
		want    int // number of entries left, out of three from today, 300 and 400 days ago
		ahead   bool
	}{
		"nothing": {func(_ *testing.T, s *testStore) *testStore { return s }, 2, false},
		"100 days pass": {func(_ *testing.T, s *testStore) *testStore { s.clock.pass(100 * aDay); return s },
			1, false},
		"clock 10 years ahead": {
			func(_ *testing.T, s *testStore) *testStore { s.clock.set(testTime.AddDate(10, 0, 0)); return s }, 3, true},
		"clock a day ahead": {func(_ *testing.T, s *testStore) *testStore { s.clock.set(testTime.Add(aDay)); return s },
			2, false},
		"clock behind": {func(_ *testing.T, s *testStore) *testStore {
			s.Now()
			s.clock.set(testTime.AddDate(-57, 0, 0))
			return s
		}, 2, false},
		"clock ahead, then back": {func(t *testing.T, s *testStore) *testStore {
			s.clock.set(testTime.AddDate(10, 0, 0))
			s.Now()
			s.pruned(t)
			s.clock.set(testTime)
			return s
		}, 3, true}, // the latest time seen stays in effect until the clock is accepted
		"clock ahead, back and accepted": {func(t *testing.T, s *testStore) *testStore {
			s.clock.set(testTime.AddDate(10, 0, 0))
			s.Now()
			s.pruned(t)
			s.clock.set(testTime)
			s.accept(t)
			return s
		}, 2, false},
		"clock ahead, then accepted": {func(t *testing.T, s *testStore) *testStore {
			s.clock.set(testTime.AddDate(0, 0, 100))
			s.accept(t)
			return s
		}, 1, false},
		"started with a clock 10 years ahead": {func(t *testing.T, s *testStore) *testStore {
			return s.restart(t, testTime.AddDate(10, 0, 0))
		}, 3, true},
		"clock ahead, then restarted with a correct one, accepted": {func(t *testing.T, s *testStore) *testStore {
			s = s.restart(t, testTime.AddDate(10, 0, 0))
			s.create(t)
			s.pruned(t)
			s = s.restart(t, testTime)
			s.accept(t)
			return s
		}, 2, false},
		"started 40 times with a clock 10 years ahead": {func(t *testing.T, s *testStore) *testStore {
			for range 40 {
				s = s.restart(t, testTime.AddDate(10, 0, 0))
				s.pruned(t)
			}
			return s
		}, 3, true},
		"started 9 times with a clock 5 days ahead": {func(t *testing.T, s *testStore) *testStore {
			for range 9 {
				s = s.restart(t, testTime.Add(5*aDay))
				s.pruned(t)
			}
			return s
		}, 3, true},
		"started with the clock at 1970": {func(t *testing.T, s *testStore) *testStore {
			s.Now()
			s.create(t)
			s = s.restart(t, time.Unix(3, 0))
			s.clock.pass(100 * aDay)
			return s
		}, 2, false}, // the latest time seen stays in effect until the clock catches up
		"started with the clock at 1970, then corrected": {func(t *testing.T, s *testStore) *testStore {
			s.create(t)
			s = s.restart(t, time.Unix(3, 0))
			s.pruned(t)
			s.clock.pass(time.Hour)
			s.clock.set(testTime.Add(2 * time.Hour))
			return s
		}, 2, false},
		"clock at 1970, then restarted with a correct one": {func(t *testing.T, s *testStore) *testStore {
			s.create(t)
			s = s.restart(t, time.Unix(3, 0))
			s.create(t)
			s.pruned(t)
			return s.restart(t, testTime.Add(time.Hour))
		}, 2, false},
		"100 days at 1970, then restarted with a correct clock": {func(t *testing.T, s *testStore) *testStore {
			s.create(t)
			s = s.restart(t, time.Unix(3, 0))
			s.clock.pass(100 * aDay)
			s.pruned(t)
			return s.restart(t, testTime.Add(100*aDay+time.Hour))
		}, 1, false},
		"started with a clock a week behind for 100 days": {func(t *testing.T, s *testStore) *testStore {
			s.create(t)
			s = s.restart(t, testTime.Add(-7*aDay))
			s.clock.pass(107 * aDay)
			return s
		}, 1, false},
		"started after 20 hours": {
			func(t *testing.T, s *testStore) *testStore { return s.restart(t, testTime.Add(20*time.Hour)) }, 2, false},
		"started after 200 days": {
			func(t *testing.T, s *testStore) *testStore { return s.restart(t, testTime.AddDate(0, 0, 200)) }, 3, true},
		"started after 200 days, then accepted": {func(t *testing.T, s *testStore) *testStore {
			s = s.restart(t, testTime.AddDate(0, 0, 200))
			s.accept(t)
			return s
		}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			s.fillAudit(0, 300*aDay, 400*aDay)
			s = test.happens(t, s)
			s.KeepAudit(*year)
			others := 0
			s.memory.do(func() {
				for _, entry := range s.memory.audit {
					if entry.Action != "" {
						others++
					}
				}
			})
			if left := s.pruned(t) - others; left != test.want {
				t.Errorf("%d entries are left, want %d", left, test.want)
			}
			if ahead := s.ClockAhead(); (ahead > 0) != test.ahead {
				t.Errorf("ClockAhead returned %v, want nonzero: %v", ahead, test.ahead)
			}
		})
	}
}

func (s *testStore) accept(t *testing.T) {
	t.Helper()
	if from, to, err := s.AcceptClock(testActor); err != nil || from.Equal(to) || !to.Equal(s.clock.Now()) ||
		s.ClockAhead() != 0 || s.ClockBehind() != 0 {
		t.Errorf("AcceptClock changed the time from %[2]v to %[1]v, error %[3]v", to, from, err)
	}
	if from, to, err := s.AcceptClock(testActor); err != nil || !from.Equal(to) {
		t.Errorf("second AcceptClock changed the time from %[2]v to %[1]v, error %[3]v", to, from, err)
	}
}

// restart closes the store and opens it again like a new process whose clock starts at now.
func (s *testStore) restart(t *testing.T, now time.Time) *testStore {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return reopen(t, s.memory, newTestClock(now))
}

// TestRepeatByElapsedTime verifies that a repeated request doesn't create a second token if
// the clock briefly runs ahead.
func TestRepeatByElapsedTime(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	draft := token.Draft{Kind: token.KindAPI, Name: "test", Preset: "read", Expiry: token.Expiry{ExpiresIn: months(1)}}
	request := Request{Key: "key", Body: []byte("body")}
	first, _, _, err := s.CreateOnce(testPolicy, draft, testActor, request)
	if err != nil {
		t.Fatal(err)
	}
	s.clock.set(testTime.AddDate(10, 0, 0))
	if again, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil || !repeated ||
		again.ID != first.ID {
		t.Errorf("with the clock ahead: got repeated %v, %v, want true", repeated, err)
	}
	s.clock.pass(RequestRetention)
	if _, _, repeated, err := s.CreateOnce(testPolicy, draft, testActor, request); err != nil || repeated {
		t.Errorf("after a day: got repeated %v, %v, want false", repeated, err)
	}
}

// TestElapsedTimeSurvivesRestart verifies that the elapsed time continues in the next process.
func TestElapsedTimeSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := openTestStore(t)
	s.clock.pass(40 * aDay)
	now := s.clock.Now()
	if s = s.restart(t, now.Add(time.Hour)); s.ClockAhead() != 0 {
		t.Errorf("after a restart, ClockAhead returned %v, want 0", s.ClockAhead())
	}
	s.memory.do(func() { s.memory.saveError = errors.New("the disk is full") })
	if _, err := s.prune(); err != nil {
		t.Errorf("prune returned error %v", err)
	}
	s.memory.do(func() { s.memory.saveError = nil })
}

// TestSeriesWithClockAhead verifies that no part of a token's history is deleted or hidden if
// the clock briefly runs ahead.
func TestSeriesWithClockAhead(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Time{
		"8 days": testTime.Add(8 * aDay), "3 years": testTime.AddDate(3, 0, 0), "10 years": testTime.AddDate(10, 0, 0),
	} {
		s := openTestStore(t)
		token, credential := s.create(t)
		match := s.must(t, credential)
		s.CountAllowed(match, "a:b", LastUse{Time: testTime.Add(-aDay)})
		s.CountAllowed(match, "a:b", LastUse{Time: testTime})
		want := []string{"03-13 15h a:b ok 1", "03-14 15h a:b ok 1"}
		verify := func(when string) {
			t.Helper()
			if got := s.points(t, token.ID, StepHour, midnight.Add(-aDay), midnight.Add(aDay)); !slices.Equal(
				got, want) {
				t.Errorf("%s ahead, %s: got hours %q, want %q", name, when, got, want)
			}
			if got := s.points(t, token.ID, StepDay, time.Time{}, midnight.Add(aDay)); len(got) != 2 {
				t.Errorf("%s ahead, %s: got days %q, want 2", name, when, got)
			}
		}
		s.clock.set(ahead)
		s.CountDenied(match, Refusal{Time: ahead, Scope: "a:b", Code: "expired_token"})
		s.pruned(t)
		verify("then")
		check(t, s.Flush())
		verify("saved")
		s = s.restart(t, ahead.Add(time.Hour))
		s.CountDenied(s.must(t, credential), Refusal{Time: ahead.Add(time.Hour), Scope: "a:b", Code: "expired_token"})
		s.pruned(t)
		verify("in the next process")
		s = s.restart(t, testTime)
		verify("with the correct clock")
		s.accept(t)
		s.CountAllowed(s.must(t, credential), "a:b", LastUse{Time: testTime.Add(2 * time.Hour)})
		want = append(want, "03-14 17h a:b ok 1")
		check(t, s.Flush())
		s.pruned(t)
		verify("accepted")
	}
}
