package backendtest

import (
	"fmt"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// testRefusedRequests verifies that SaveUsage keeps each token's newest refusals until the
// token is deleted.
func testRefusedRequests(s *suite) {
	id, state := idOf(1), tokenstore.FlushState{Flush: 3, Whole: true}
	s.put(newToken(1), newToken(2))
	var want []tokenstore.Refusal
	i := 0
	refused := func(n int) (more []tokenstore.Refusal) {
		for range n {
			i++
			r := tokenstore.Refusal{Time: now.Add(time.Duration(i) * time.Second), Method: "GET",
				Path: fmt.Sprint("/", i), Scope: "a:b", Code: "ip_denied", IP: "::1", UserAgent: "curl"}
			want, more = append(want, r), append(more, r)
		}
		want = want[max(0, len(want)-tokenstore.MaxRefusals):]
		return more
	}
	compare := func(when string, s *suite, id token.ID, want []tokenstore.Refusal) {
		s.Helper()
		got, saved, err := s.Refusals(id)
		s.check(err)
		s.equal(when, got, want)
		s.equal("state", saved, state)
	}
	for _, n := range []int{2, 0, 90, 50} {
		more := refused(n)
		s.check(s.save(now, state, map[token.ID]tokenstore.Usage{id: {Denied: uint64(n), Refusals: more},
			idOf(9): {Denied: 1, Refusals: want[:1]}})) // idOf(9) is unknown
		compare("refusals", s, id, want)
	}
	compare("another token", s, idOf(2), nil)
	s.check(s.edit(id, func(token *token.Token) { token.Name = "new" }))
	if killed := s.killed(); killed != nil {
		compare("after a kill", killed, id, want)
	}
	s.reopen()
	compare("reopened", s, id, want)
	s.remove(id)
	s.put(newToken(1))
	compare("a new token with the same ID", s, id, nil)
}

// testTotals verifies that the totals add up the usage of all API tokens, also those deleted
// since, and that Prune treats them like the usage of a token.
func testTotals(s *suite) {
	admin := newToken(3)
	admin.Kind = token.KindAdmin
	s.put(newToken(1), newToken(2), admin)
	state := tokenstore.FlushState{Flush: 5, Whole: true}
	unscoped := func(day tokenstore.Day, n uint64) tokenstore.DayUsage {
		used := usedOn(day, n)
		for i := range used.Points {
			used.Points[i].Scope = ""
		}
		return used
	}
	for range 2 {
		s.check(s.save(now, state, map[token.ID]tokenstore.Usage{
			idOf(1): {Allowed: 9, Days: []tokenstore.DayUsage{usedOn(today-9, 1), usedOn(today, 2)}},
			idOf(2): {Allowed: 9, Days: []tokenstore.DayUsage{usedOn(today-1, 1), usedOn(today, 2)}},
			idOf(3): {Allowed: 9, Days: []tokenstore.DayUsage{unscoped(today, 2)}}, // an admin token
			idOf(8): {Allowed: 9, Days: []tokenstore.DayUsage{usedOn(today, 2)}},   // unknown
		}))
	}
	s.remove(idOf(1))
	compare := func(s *suite, first, last tokenstore.Day, want ...tokenstore.DayUsage) {
		s.Helper()
		got, err := s.Totals(first, last)
		s.check(err)
		s.equal("totals", got, want)
	}
	want := []tokenstore.DayUsage{unscoped(today-9, 2), unscoped(today-1, 2), unscoped(today, 8)}
	compare(s, today-20, today, want...)
	compare(s, today-1, today-1, want[1])
	compare(s, today+1, today+9)
	if killed := s.killed(); killed != nil {
		compare(killed, today-20, today, want...)
	}
	s.reopen()
	prune := func(keep tokenstore.Retention) {
		s.Helper()
		for more := true; more; {
			var err error
			more, err = s.Prune(keep)
			s.check(err)
		}
	}
	prune(tokenstore.Retention{Days: today - 9, Hours: today - 2})
	want[0] = want[0].AsWhole()
	compare(s, today-20, today, want...)
	prune(tokenstore.Retention{Days: today - 8, Hours: today + 1})
	compare(s, today-20, today, want[1].AsWhole(), want[2].AsWhole())
}
