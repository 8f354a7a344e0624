package backendtest

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/journal"
)

// usedOn returns a day's usage with requests in two different hours.
func usedOn(day tokenstore.Day, n uint64) tokenstore.DayUsage {
	point := func(after time.Duration, n uint64) tokenstore.Point {
		return tokenstore.Point{Time: day.Start().Add(after), Scope: "a:b", Outcome: tokenstore.OutcomeOK, Count: n}
	}
	return tokenstore.DayUsage{Day: day, Points: []tokenstore.Point{point(3*time.Hour, n), point(20*time.Hour, 2*n)}}
}

// save saves usage differences.
func (s *suite) save(at time.Time, state tokenstore.FlushState, came map[token.ID]tokenstore.Usage) error {
	return s.SaveUsage(at, state, maps.All(came))
}

// usage returns a token's usage with the days from first to last. It drops other days, which
// Backend.Usage may also return.
func (s *suite) usage(id token.ID, first, last tokenstore.Day) (tokenstore.Usage, tokenstore.FlushState, error) {
	used, state, err := s.Usage(id, first, last)
	if !slices.IsSortedFunc(used.Days, func(a, b tokenstore.DayUsage) int { return int(a.Day - b.Day) }) {
		s.Errorf("the days are out of order: %+v", used.Days)
	}
	used.Days = slices.DeleteFunc(used.Days, func(d tokenstore.DayUsage) bool { return d.Day < first || d.Day > last })
	return used, state, err
}

// days returns all of a token's stored days.
func (s *suite) days(id token.ID) []tokenstore.DayUsage {
	s.Helper()
	used, _, err := s.usage(id, today-40, today+1)
	s.check(err)
	return used.Days
}

// testUsage verifies that SaveUsage adds usage and stores the state, and ignores unknown IDs.
func testUsage(s *suite) {
	id, unused := idOf(1), idOf(2)
	s.put(newToken(1), newToken(2))
	states := []tokenstore.FlushState{{Journal: 5, Part: journal.Position{1, 2}, Last: id, Flush: 7},
		{Journal: 6, Saved: journal.Position{3, 4}, Flush: 8, Whole: true}, {}}
	last := func(second int) tokenstore.LastUse {
		return tokenstore.LastUse{Time: now.Add(time.Duration(second) * time.Second), IP: "::1", UserAgent: "curl",
			Route: "GET /x"}
	}
	came := []tokenstore.Usage{
		{Allowed: 7, Denied: 1, Last: last(1), Days: []tokenstore.DayUsage{usedOn(today-1, 1)}},
		{Allowed: 7, Last: last(3), Previous: last(2),
			Resources: []tokenstore.ResourceUse{{Pattern: "block/db", Day: 7}, {Pattern: "unikernel/*", Day: 9}},
			Days:      []tokenstore.DayUsage{usedOn(today-3, 2), usedOn(today-1, 1), usedOn(today, 1)}},
		{Denied: 2, Last: last(2), Previous: last(1),
			Resources: []tokenstore.ResourceUse{{Pattern: "unikernel/*", Day: 8}, {Pattern: "unikernel/a", Day: 8}},
			Days:      []tokenstore.DayUsage{usedOn(today-3, 1), usedOn(today-1, 3), usedOn(today, 4)}},
	}
	var want tokenstore.Usage
	for i, more := range came {
		want = want.Plus(more)
		s.check(s.save(now, states[i], map[token.ID]tokenstore.Usage{id: more, idOf(9): more})) // idOf(9) is unknown
		got, state, err := s.usage(id, today-5, today)
		s.check(err)
		s.equal("usage", got, want)
		s.equal("state", state, states[i])
		s.equal("state", s.state().Flush, states[i])
	}
	s.check(s.save(now, states[0], nil))
	if killed := s.killed(); killed != nil {
		got, state, err := killed.usage(id, today-5, today)
		s.check(err)
		s.equal("usage after a kill", got, want)
		s.equal("state after a kill", state, states[0])
	}
	s.reopen()
	for _, c := range []struct {
		first, last tokenstore.Day
		want        []tokenstore.DayUsage
	}{
		{today - 3, today, want.Days}, {today - 3, today - 2, want.Days[:1]}, {today - 2, today, want.Days[1:]},
		{today - 1, today - 1, want.Days[1:2]}, {today - 9, today - 4, nil}, {today, today - 1, nil},
	} {
		got, state, err := s.usage(id, c.first, c.last)
		s.check(err)
		if !slices.EqualFunc(got.Days, c.want, func(a, b tokenstore.DayUsage) bool {
			return a.Day == b.Day &&
				slices.Equal(a.Points, b.Points)
		}) {
			s.Errorf("days %d to %d: got %+v, want %+v", c.first-today, c.last-today, got.Days, c.want)
		}
		got.Days = want.Days
		s.equal("totals", got, want)
		s.equal("state", state, states[0])
	}
	got, state, err := s.usage(unused, today-5, today)
	s.check(err)
	if !reflect.DeepEqual(got, tokenstore.Usage{}) || state != states[0] {
		s.Errorf("unused token: got usage %+v and state %+v, want no usage and the last state", got, state)
	}

	// A change to the token preserves its usage. The latest time is recorded.
	s.check(s.edit(id, func(token *token.Token) { token.Name = "new" }))
	s.equal("days of a changed token", s.days(id), want.Days)
	later := now.Add(time.Hour)
	s.check(s.save(later, states[1], nil))
	s.check(s.save(now, states[1], nil))
	s.check(s.save(time.Time{}, states[1], nil))
	s.equal("recorded", s.state().Recorded, later)
}

// testUsageOfDeleted verifies that deleting a token deletes its usage and that usage saved
// later doesn't bring it back.
func testUsageOfDeleted(s *suite) {
	id := idOf(1)
	came := map[token.ID]tokenstore.Usage{
		id: {Allowed: 3, Days: []tokenstore.DayUsage{usedOn(today-30, 1), usedOn(today-1, 1), usedOn(today, 2)}},
	}
	s.put(newToken(1))
	s.check(s.save(now, tokenstore.FlushState{}, came))
	s.remove(id)
	for _, late := range []bool{false, true} {
		if late {
			s.check(s.save(now, tokenstore.FlushState{}, came))
		}
		s.put(newToken(1))
		got, _, err := s.usage(id, today-40, today)
		s.check(err)
		if !reflect.DeepEqual(got, tokenstore.Usage{}) {
			s.Errorf("saved late %v: a new token with the same ID has usage %+v, want none", late, got)
		}
		s.remove(id)
	}
}

// testDamage verifies that reading a damaged record fails, that a damaged token is listed as
// damaged and can be deleted, and that damaged usage restarts from zero.
func testDamage(s *suite) {
	if s.kind.Damage == nil {
		s.Skip("this test can't damage the store")
	}
	used := func(days ...tokenstore.DayUsage) {
		s.Helper()
		s.check(s.save(now, tokenstore.FlushState{}, map[token.ID]tokenstore.Usage{idOf(2): {Allowed: 5, Days: days}}))
	}
	s.put(newToken(1), newToken(2), newToken(3))
	used(usedOn(today-1, 1), usedOn(today, 2))
	if !s.kind.Damage(s, s.Backend, UsageRecord, idOf(2)) {
		s.Fatal("Damage returned false for a usage record")
	}
	got, _, err := s.usage(idOf(2), today-5, today)
	if !errors.Is(err, token.ErrDamaged) || got.Allowed != 0 {
		s.Errorf("reading damaged usage: got %+v, err %v, want ErrDamaged", got, err)
	}
	if len(got.Days) == 0 {
		s.Error("Usage didn't return the readable days")
	}
	s.check(s.Scan(token.ID{}, func(_ *token.Token, usage tokenstore.Usage) bool {
		if !reflect.DeepEqual(usage, tokenstore.Usage{}) {
			s.Errorf("Scan returned usage %+v, want none", usage)
		}
		return true
	}))
	used(usedOn(today, 7))
	if got, _, err := s.usage(idOf(2), today, today); err != nil || got.Allowed != 5 {
		s.Errorf("usage after restarting from zero: got %+v, %v, want 5 allowed", got, err)
	}

	before := s.entries()
	if s.kind.Damage(s, s.Backend, AuditRecord, idOf(3)) {
		s.equal("audit", s.entries(), before[1:])
	}

	if !s.kind.Damage(s, s.Backend, TokenRecord, idOf(1)) {
		s.Fatal("Damage returned false for a token record")
	}
	before = s.entries()
	if _, err := s.Token(idOf(1)); !errors.Is(err, token.ErrDamaged) {
		s.Errorf("Token of a damaged token: got error %v, want ErrDamaged", err)
	}
	if err := s.apply(idOf(1), tokenstore.Change{Token: newToken(1)}); !errors.Is(err, token.ErrDamaged) {
		s.Errorf("changing a damaged token: got error %v, want ErrDamaged", err)
	}
	s.equal("audit", s.entries(), before)
	var scanned, listed []token.ID
	s.check(s.Scan(token.ID{}, func(token *token.Token, _ tokenstore.Usage) bool {
		scanned = append(scanned, token.ID)
		return true
	}))
	for _, token := range s.list(tokenstore.OrderCreated, nil, false) {
		listed = append(listed, token.ID)
	}
	s.equal("scanned", scanned, []token.ID{idOf(1), idOf(2), idOf(3)})
	s.equal("listed", listed, []token.ID{idOf(1), idOf(2), idOf(3)})
	for _, listed := range s.list(tokenstore.OrderCreated, nil, false) {
		if damaged := listed.ID == idOf(1); damaged != listed.Damaged {
			s.Errorf("token %s is listed with Damaged %v, want %v", listed.ID, listed.Damaged, damaged)
		}
	}

	s.check(s.apply(idOf(1), tokenstore.Change{}))
	if _, err := s.Token(idOf(1)); !errors.Is(err, tokenstore.ErrNotFound) {
		s.Errorf("reading a deleted damaged token: got error %v, want ErrNotFound", err)
	}
	s.check(s.apply(idOf(4), tokenstore.Change{Token: newToken(4)}))
	s.kind.Check = nil // Check would report the damaged audit entry
}
