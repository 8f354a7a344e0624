package backendtest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// note adds an entry to the audit log.
func (s *suite) note(after time.Duration, action string) {
	s.Helper()
	s.check(s.SetTimes(tokenstore.State{}, &tokenstore.AuditEntry{Time: now.Add(after), Action: action}))
}

// testAudit verifies that Audit returns the newest entry first and can continue from any
// position, even a deleted entry's.
func testAudit(s *suite) {
	for i, after := range []time.Duration{0, 0, time.Second, 2 * time.Second, 2 * time.Second, time.Second} {
		s.note(after, fmt.Sprint(i)) // the clock goes back before the last entry
	}
	s.reopen()
	var positions []tokenstore.AuditPosition
	order := ""
	s.check(s.Audit(nil, func(at tokenstore.AuditPosition, entry tokenstore.AuditEntry) bool {
		if !at.Time.Equal(entry.Time) {
			s.Errorf("an entry with time %s has position time %s", entry.Time, at.Time)
		}
		positions = append(positions, at)
		order += entry.Action
		return true
	}))
	if order != "435210" {
		s.Fatalf("got order %q, want 435210", order)
	}
	next := func(at tokenstore.AuditPosition) string {
		found := "none"
		s.check(s.Audit(&at, func(_ tokenstore.AuditPosition, entry tokenstore.AuditEntry) bool {
			if found != "none" {
				s.Error("Audit continued after yield returned false")
			}
			found = entry.Action
			return false
		}))
		return found
	}
	for i, want := range []string{"3", "5", "2", "1", "0", "none"} {
		if got := next(positions[i]); got != want {
			s.Errorf("after position %d: got entry %s, want %s", i, got, want)
		}
	}
	for at, want := range map[time.Duration]string{time.Hour: "4", 1500 * time.Millisecond: "5", -time.Hour: "none"} {
		if got := next(tokenstore.AuditPosition{Time: now.Add(at)}); got != want {
			s.Errorf("before time %s: got entry %s, want %s", at, got, want)
		}
	}
	s.prune(tokenstore.Retention{Audit: now.Add(time.Second)}, 0)
	if got := next(positions[4]); got != "none" {
		s.Errorf("after a pruned entry: got entry %s, want none", got)
	}
	s.note(3*time.Second, "6") // doesn't change other positions
	if got := next(positions[0]); got != "3" {
		s.Errorf("after adding newer entries: got entry %s, want 3", got)
	}
}

// prune calls Prune until it reports that no more records remain. prune verifies that the
// number of calls was at least what PruneLimit requires for the number of records.
func (s *suite) prune(keep tokenstore.Retention, records int) {
	s.Helper()
	calls := 1
	for ; ; calls++ {
		more, err := s.Prune(keep)
		s.check(err)
		if !more {
			break
		}
		if calls > 10_000 {
			s.Fatal("Prune still reports more records after 10,000 calls")
		}
	}
	if limit := s.kind.PruneLimit; limit > 0 && calls < (records+limit-1)/limit {
		s.Errorf("Prune deleted %d records in only %d calls, more than PruneLimit per call", records, calls)
	}
	if more, err := s.Prune(keep); more || err != nil {
		s.Errorf("Prune with nothing to delete: got %v, %v, want false", more, err)
	}
}

// testPrune verifies that Prune deletes all records beyond the retention and no others. A shared
// store keeps the newest of the old audit entries.
func testPrune(s *suite) {
	entries := s.kind.PruneLimit + 30
	var notes sync.WaitGroup
	for i := range entries {
		notes.Go(func() { // parallel is faster
			_, err := s.Apply(idOf(1), now, func(*token.Token) (tokenstore.Change, error) {
				return tokenstore.Change{Token: newToken(1),
						Audit: tokenstore.AuditEntry{Time: now.Add(time.Duration(i) * time.Second),
							Action: fmt.Sprint(i)}},
					nil
			})
			if err != nil {
				s.Error(err)
			}
		})
	}
	notes.Wait()
	for i := range 5 {
		s.check(s.apply(idOf(1), tokenstore.Change{
			Token: newToken(1), Audit: tokenstore.AuditEntry{Time: now.Add(time.Hour)},
			Request: &tokenstore.KeptRequest{Key: digest(fmt.Sprint(i)), Body: digest("body"), ID: idOf(1),
				Time: now.Add(time.Duration(i) * time.Hour)},
		}))
	}
	s.prune(tokenstore.Retention{Audit: now, Requests: now}, 0)
	if left := len(s.entries()); left != entries+5 {
		s.Errorf("%d audit entries are left, want all %d", left, entries+5)
	}
	s.prune(tokenstore.Retention{Audit: now.Add(time.Duration(entries-10) * time.Second),
		Requests: now.Add(2 * time.Hour)}, entries-10)
	s.reopen()
	kept := 0
	oldest := now.Add(time.Duration(entries-10) * time.Second)
	if _, shared := s.Backend.(tokenstore.Shared); shared {
		// Other nodes may know no newer change; see package cluster.
		oldest, kept = oldest.Add(-time.Second), -1
	}
	for _, entry := range s.entries() {
		if entry.Time.Before(oldest) {
			s.Errorf("an old audit entry is left: %+v", entry)
		}
		kept++
	}
	if kept != 15 {
		s.Errorf("%d audit entries are left, want 15", kept)
	}
	for i := range 5 {
		_, err := s.Request(digest(fmt.Sprint(i)))
		if kept := i >= 2; kept != (err == nil) || !kept && !errors.Is(err, tokenstore.ErrNotFound) {
			s.Errorf("after pruning, Request %d returned error %v", i, err)
		}
	}
	if _, err := s.Token(idOf(1)); err != nil {
		s.Error(err)
	}
}

// testPruneDays verifies that Prune merges old hourly counts into daily counts and deletes old
// days.
func testPruneDays(s *suite) {
	const kept = 20
	tokens := max(2, s.kind.PruneLimit/5)
	usage := make(map[token.ID]tokenstore.Usage)
	var puts sync.WaitGroup
	for i := range tokens {
		puts.Go(func() {
			if err := s.apply(idOf(i), tokenstore.Change{Token: newToken(i)}); err != nil {
				s.Error(err)
			}
		})
		of := tokenstore.Usage{Allowed: 9}
		for day := today - kept; day <= today; day++ {
			of.Days = append(of.Days, usedOn(day, 1))
		}
		usage[idOf(i)] = of
	}
	puts.Wait()
	s.check(s.save(now, tokenstore.FlushState{}, usage))
	for later := range tokenstore.Day(3) {
		keep := tokenstore.Retention{Hours: today - 7 + later, Days: today - 15 + later}
		records := 0
		if later == 0 {
			records = tokens * (kept - 7) // deleted or merged
		}
		s.prune(keep, records/2) // one call may both delete and merge records
		var want []tokenstore.DayUsage
		for day := keep.Days; day <= today; day++ {
			want = append(want, usedOn(day, 1))
			if day < keep.Hours {
				want[len(want)-1] = usedOn(day, 1).AsWhole()
			}
		}
		for i := range tokens {
			if s.equal("days", s.days(idOf(i)), want); s.Failed() {
				return
			}
		}
	}
	got, _, err := s.Usage(idOf(0), today, today)
	s.check(err)
	if got.Allowed != 9 {
		s.Errorf("pruning changed the totals: %+v", got)
	}
}
