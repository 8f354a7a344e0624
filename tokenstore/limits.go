package tokenstore

import (
	"time"

	"github.com/mollygate/mollygate/token"
)

// rateState is the state of a token's rate limit.
type rateState struct{ arrival int64 }

// take takes one request, or only looks whether it could. A state that is
// ahead of now may be due to a clock that was put back, or to a faster goroutine with a
// later time. So the clock is read again.
func (s *rateState) take(l token.RateLimit, now time.Time, clock Clock, look bool) token.Standing {
	at := now.UnixNano()
	if l.Ahead(s.arrival, at) {
		at = clock.Now().UnixNano()
	}
	next, ok := l.Next(s.arrival, at)
	if look {
		next = s.arrival
	} else {
		s.arrival = next
	}
	standing := l.Standing(next, at)
	standing.Exceeded = !ok
	return standing
}

// TakeRate takes a request of the token's rate limit. What was taken before the store was
// opened is forgotten.
func (s *Store) TakeRate(m Match, now time.Time) token.Standing {
	return s.rate(m.number, m.Token, now, false)
}

// RateStanding returns what TakeRate would of a request with the token, and takes
// nothing.
func (s *Store) RateStanding(tok Principal, now time.Time) token.Standing {
	return s.rate(s.index.byID(tok.ID), tok, now, true)
}

func (s *Store) rate(number uint32, tok Principal, now time.Time, look bool) (standing token.Standing) {
	if tok.RateLimit == (token.RateLimit{}) {
		return token.Standing{}
	}
	standing = new(rateState).take(tok.RateLimit, now, s, true) // of a token that is not in use
	s.index.with(number, tok.ID, func(e *entry) { standing = e.rate.take(tok.RateLimit, now, s, look) })
	return standing
}

// quotaState is what a token has taken of its quota in one period, which lasts from the
// beginning of start to the beginning of end. The zero quotaState is of no period. The
// state is first computed from the token's usage, so that it survives restarts.
type quotaState struct {
	taken      int64
	start, end Day
}

// lateTime is how long after a period's end a request may still be counted that began
// in it; it counts in the new period. An earlier time comes from a clock that was put
// back.
const lateTime = time.Hour

// holds reports whether the state is of the period that a time is in.
func (q *quotaState) holds(period token.Period, now time.Time) bool {
	return (q.end-q.start == 1) == (period == token.PeriodDay) && now.Before(q.end.Start()) &&
		!now.Before(q.start.Start().Add(-lateTime))
}

// take takes one request, or only looks whether it could.
func (q *quotaState) take(limit int64, now time.Time, look bool) token.Standing {
	end := q.end.Start()
	standing := token.Standing{Limit: limit, Window: end.Sub(q.start.Start()), Remaining: limit - q.taken,
		Reset: end.Sub(now)}
	switch {
	case q.taken >= limit:
		standing.Remaining, standing.Exceeded = 0, true
	case !look:
		q.taken++
		standing.Remaining--
	}
	return standing
}

// Reservation is a request that was taken of a quota. The zero Reservation is none.
type Reservation struct {
	index  *index
	number uint32
	id     token.ID
	start  Day
}

// Release gives the request back, because it didn't go to the backend. It is called
// once at most.
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

// TakeQuota takes a request of the token's quota. The first request of a token in a
// period reads the token's usage. If the request isn't counted as allowed afterwards, the
// reservation is released. The errors are [ErrNotFound] and [ErrUnavailable].
//
// Requests that are under way while a token is given a quota, or another period, are
// missing in what it begins with.
func (s *Store) TakeQuota(m Match, now time.Time) (Reservation, token.Standing, error) {
	standing, start, err := s.quota(m.number, m.Token, now, false)
	if err != nil || standing.Limit == 0 || standing.Exceeded {
		return Reservation{}, standing, err
	}
	return Reservation{&s.index, m.number, m.Token.ID, start}, standing, nil
}

// QuotaStanding returns what TakeQuota would of a request with the token, and takes
// nothing. The errors are [ErrNotFound] and [ErrUnavailable].
func (s *Store) QuotaStanding(tok Principal, now time.Time) (token.Standing, error) {
	standing, _, err := s.quota(s.index.byID(tok.ID), tok, now, true)
	return standing, err
}

// quota takes one request of a token's quota, or only looks whether it could, and returns
// the beginning of the period.
func (s *Store) quota(number uint32, tok Principal, now time.Time, look bool) (standing token.Standing, start Day,
	err error) {
	quota := tok.Quota
	if quota == (token.Quota{}) {
		return token.Standing{}, 0, nil
	}
	var begun quotaState
	for {
		found := false
		s.index.with(number, tok.ID, func(e *entry) {
			if !e.quota.holds(quota.Period, now) && begun.end > begun.start {
				e.quota = begun
			}
			if found = e.quota.holds(quota.Period, now); found {
				standing, start = e.quota.take(quota.Requests, now, look), e.quota.start
			}
		})
		switch {
		case found:
			return standing, start, nil
		case begun.end > begun.start: // the token is not in use, or was deleted
			return begun.take(quota.Requests, now, look), begun.start, nil
		}
		if begun, err = s.beginQuota(tok.ID, quota.Period, now); err != nil {
			return token.Standing{}, 0, err
		}
	}
}

// beginQuota returns what the token's usage tells of a period.
func (s *Store) beginQuota(id token.ID, period token.Period, now time.Time) (q quotaState, err error) {
	start, end := period.Around(now)
	q.start, q.end = DayOf(start), DayOf(end)
	if _, err := s.backend.Token(id); err != nil {
		return q, readError(err)
	}
	used, err := s.usage(id, q.start, q.end-1)
	if err != nil {
		return q, err
	}
	var taken uint64
	for _, day := range used.Days {
		for i := range day.Points {
			if p := &day.Points[i]; p.Outcome == OutcomeOK {
				taken = sum(taken, p.Count)
			}
		}
	}
	q.taken = int64(taken)
	return q, nil
}
