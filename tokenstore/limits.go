package tokenstore

import (
	"slices"
	"time"

	"github.com/mollygate/mollygate/token"
)

// rateState is the state of a token's rate limit.
type rateState struct{ arrival int64 }

// take takes one request from the limit, or only reports the limit's state if peek is set. If
// the state is ahead of now, the clock may have been set back, or another goroutine may
// already have used a later time. In that case take reads the clock again.
func (s *rateState) take(l token.RateLimit, now time.Time, clock Clock, peek bool) token.Standing {
	at := now.UnixNano()
	if l.Ahead(s.arrival, at) {
		at = clock.Now().UnixNano()
	}
	next, ok := l.Next(s.arrival, at)
	if peek {
		next = s.arrival
	} else {
		s.arrival = next
	}
	standing := l.Standing(next, at)
	standing.Exceeded = !ok
	return standing
}

// TakeRate takes a request from the token's rate limit. Requests made before the store was
// opened don't count.
func (s *Store) TakeRate(m Match, now time.Time) token.Standing {
	return s.rate(m.number, m.Token, now, false)
}

// RateStanding returns what TakeRate would return, without taking a request.
func (s *Store) RateStanding(tok Principal, now time.Time) token.Standing {
	return s.rate(s.index.byID(tok.ID), tok, now, true)
}

func (s *Store) rate(number uint32, tok Principal, now time.Time, peek bool) (standing token.Standing) {
	if tok.RateLimit == (token.RateLimit{}) {
		return token.Standing{}
	}
	standing = new(rateState).take(tok.RateLimit, now, s, true) // used if the token isn't in memory
	s.index.with(number, tok.ID, func(e *entry) { standing = e.rate.take(tok.RateLimit, now, s, peek) })
	return standing
}

// quotaState is the number of requests a token has taken from its quota in one period. The
// period lasts from the beginning of start to the beginning of end. The zero quotaState
// doesn't belong to any period. A period's first state is computed from the token's usage, so
// quotas survive restarts.
type quotaState struct {
	taken int64
	// elsewhere is the number of requests that other nodes have reported.
	elsewhere int64
	// allotted is the number of requests that this node may take, if the store is shared; see
	// allotments.
	allotted   int64
	start, end Day
}

// lateTime is how long after the end of a period a request that began in it may still take
// from the quota. The request then counts toward the new period. If a request's time is even
// earlier, the clock was set back.
const lateTime = time.Hour

// covers reports whether the state is valid for a request at the given time.
func (q *quotaState) covers(period token.Period, now time.Time) bool {
	return (q.end-q.start == 1) == (period == token.PeriodDay) && now.Before(q.end.Start()) &&
		!now.Before(q.start.Start().Add(-lateTime))
}

// take takes one request from the quota, or only reports the quota's state if peek is set.
func (q *quotaState) take(limit int64, now time.Time, peek bool) token.Standing {
	end := q.end.Start()
	remaining := limit - q.taken - q.elsewhere
	standing := token.Standing{Limit: limit, Window: end.Sub(q.start.Start()), Remaining: remaining,
		Reset: end.Sub(now)}
	switch {
	case remaining <= 0:
		standing.Remaining, standing.Exceeded = 0, true
	case !peek:
		q.taken++
		standing.Remaining--
	}
	return standing
}

// Reservation represents a request taken from a quota. Releasing the zero Reservation has no
// effect.
type Reservation struct {
	index  *index
	number uint32
	id     token.ID
	start  Day
}

// Release returns to the quota a request that was not sent to the backend. It must be called
// at most once.
func (r Reservation) Release() {
	if r.index == nil {
		return
	}
	r.index.with(r.number, r.id, func(e *entry) {
		if e.quota.start == r.start && e.quota.taken > 0 {
			e.quota.taken--
		}
	})
}

// TakeQuota takes a request from the token's quota. For the first request in a period,
// TakeQuota reads the token's usage. The caller must release the reservation unless it counts
// the request as allowed. The errors are [ErrNotFound] and [ErrUnavailable].
//
// Requests that are in progress when a token's quota is set or its period is changed may be
// missing from the new state.
func (s *Store) TakeQuota(m Match, now time.Time) (Reservation, token.Standing, error) {
	standing, start, err := s.quota(m.number, m.Token, now, false)
	if err != nil || standing.Limit == 0 || standing.Exceeded {
		return Reservation{}, standing, err
	}
	return Reservation{&s.index, m.number, m.Token.ID, start}, standing, nil
}

// QuotaStanding returns what TakeQuota would return, without taking a request. The errors are
// [ErrNotFound] and [ErrUnavailable].
func (s *Store) QuotaStanding(tok Principal, now time.Time) (token.Standing, error) {
	standing, _, err := s.quota(s.index.byID(tok.ID), tok, now, true)
	return standing, err
}

// quota takes one request from a token's quota, or only reports the quota's state if peek is
// set. It also returns the beginning of the period.
func (s *Store) quota(number uint32, tok Principal, now time.Time, peek bool) (standing token.Standing, start Day,
	err error) {
	quota := tok.Quota
	if quota == (token.Quota{}) {
		return token.Standing{}, 0, nil
	}
	var loaded quotaState
	for {
		found, short := false, false
		var state quotaState
		s.index.with(number, tok.ID, func(e *entry) {
			if !e.quota.covers(quota.Period, now) && loaded.end > loaded.start {
				e.quota = loaded
			}
			found = e.quota.covers(quota.Period, now)
			if state = e.quota; found && !peek && s.shared != nil {
				short = state.taken >= state.allotted && state.taken+state.elsewhere < quota.Requests
			}
			if found && !short {
				standing, start = e.quota.take(quota.Requests, now, peek), e.quota.start
			}
		})
		switch {
		case short:
			exhausted, err := s.allot(tok.ID, number, state, quota.Requests)
			if err != nil {
				return token.Standing{}, 0, err
			}
			if exhausted {
				standing = state.take(quota.Requests, now, true)
				standing.Remaining, standing.Exceeded = 0, true
				return standing, state.start, nil
			}
			continue
		case found:
			return standing, start, nil
		case loaded.end > loaded.start: // the token isn't in memory or was deleted
			return loaded.take(quota.Requests, now, peek), loaded.start, nil
		}
		if loaded, err = s.loadQuota(tok.ID, quota.Period, now); err != nil {
			return token.Standing{}, 0, err
		}
	}
}

// loadQuota computes a period's quota state from the token's usage.
func (s *Store) loadQuota(id token.ID, period token.Period, now time.Time) (q quotaState, err error) {
	start, end := period.Around(now)
	q.start, q.end = DayOf(start), DayOf(end)
	if _, err := s.backend.Token(id); err != nil {
		return q, readError(err)
	}
	used, err := s.ownUsage(id, q.start, q.end-1)
	if err != nil {
		return q, err
	}
	q.taken = allowedOn(used.Days)
	q.elsewhere, err = s.allowedElsewhere(id, q)
	return q, err
}

// allowedElsewhere returns the number of requests in the state's period that other nodes have
// reported.
func (s *Store) allowedElsewhere(id token.ID, q quotaState) (int64, error) {
	if s.shared == nil {
		return 0, nil
	}
	elsewhere, err := s.shared.Elsewhere(id, q.start, q.end-1)
	if err != nil {
		return 0, readError(err)
	}
	outside := func(d DayUsage) bool { return d.Day < q.start || d.Day >= q.end }
	return allowedOn(slices.DeleteFunc(elsewhere.Days, outside)), nil
}

// allowedOn returns the number of allowed requests on the given days.
func allowedOn(days []DayUsage) (allowed int64) {
	for _, day := range days {
		allowed += day.Allowed()
	}
	return allowed
}
