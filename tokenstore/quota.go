package tokenstore

import (
	"errors"
	"fmt"
	"time"
)

// Quota is how many requests may go to the backend in a period of the calendar, in
// UTC. The zero Quota is none.
type Quota struct {
	// Requests is at most what JSON numbers and structured fields can hold
	// (RFC 9651 section 3.3.1).
	Requests int64
	Period   Period
}

const (
	maxQuotaRequests = 999_999_999_999_999

	quotaForm = `write for example {"requests": 10000, "period": "month"}`
)

// Period is a piece of the calendar.
type Period uint8

const (
	// PeriodDay begins at midnight, UTC.
	PeriodDay Period = iota + 1
	// PeriodMonth begins with the first day of a month.
	PeriodMonth
)

var errPeriod = errors.New(`the period is "day" or "month"`)

// ParsePeriod reads "day" or "month".
func ParsePeriod(s string) (Period, error) {
	for _, p := range []Period{PeriodDay, PeriodMonth} {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, errPeriod
}

// String returns the period as the admin API writes it.
func (p Period) String() string {
	switch p {
	case PeriodDay:
		return "day"
	case PeriodMonth:
		return "month"
	}
	return ""
}

// around returns the period that a time lies in.
func (p Period) around(now time.Time) (start, end time.Time) {
	year, month, day := now.UTC().Date()
	if p == PeriodMonth {
		start = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	start = time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 0, 1)
}

// String returns the quota as the command line writes it, such as "10000/month".
func (q Quota) String() string {
	if q == (Quota{}) {
		return ""
	}
	return fmt.Sprintf("%d/%s", q.Requests, q.Period)
}

func (q Quota) valid() bool {
	return q.Requests >= 1 && q.Requests <= maxQuotaRequests && q.Period.String() != ""
}

func checkQuota(q *Quota) (Quota, error) {
	switch {
	case q == nil:
		return Quota{}, nil
	case q.Requests < 1 || q.Requests > maxQuotaRequests:
		return Quota{}, fieldErrorf("quota", "requests is needed, from 1 to %d: %s", maxQuotaRequests, quotaForm)
	case !q.valid():
		return Quota{}, fieldErrorf("quota", "period is needed, day or month: %s", quotaForm)
	}
	return *q, nil
}

// quotaState is what a token has taken of its quota in one period, which lasts from the
// beginning of start to that of end. The zero quotaState is of no period. It begins with
// what the token's usage tells, so that it survives restarts.
type quotaState struct {
	taken      int64
	start, end Day
}

// lateTime is how long after a period's end a request may still be counted that began
// in it; it counts in the new period. A time that is earlier is that of a clock that was
// put back.
const lateTime = time.Hour

// holds reports whether the state is of the period that a time is in.
func (q *quotaState) holds(period Period, now time.Time) bool {
	return (q.end-q.start == 1) == (period == PeriodDay) && now.Before(q.end.Start()) && !now.Before(q.start.Start().Add(-lateTime))
}

// take takes one request, or only looks whether it could.
func (q *quotaState) take(limit int64, now time.Time, look bool) Standing {
	end := q.end.Start()
	standing := Standing{Limit: limit, Window: end.Sub(q.start.Start()), Remaining: limit - q.taken, Reset: end.Sub(now)}
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
	id     ID
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
func (s *Store) TakeQuota(m Match, now time.Time) (Reservation, Standing, error) {
	standing, start, err := s.quota(m.number, m.Token, now, false)
	if err != nil || standing.Limit == 0 || standing.Exceeded {
		return Reservation{}, standing, err
	}
	return Reservation{&s.index, m.number, m.Token.ID, start}, standing, nil
}

// QuotaStanding returns what TakeQuota would of a request with the token, and takes
// nothing. The errors are [ErrNotFound] and [ErrUnavailable].
func (s *Store) QuotaStanding(token Principal, now time.Time) (Standing, error) {
	standing, _, err := s.quota(s.index.byID(token.ID), token, now, true)
	return standing, err
}

// quota takes one request of a token's quota, or only looks whether it could, and returns
// the beginning of the period.
func (s *Store) quota(number uint32, token Principal, now time.Time, look bool) (standing Standing, start Day, err error) {
	quota := token.Quota
	if quota == (Quota{}) {
		return Standing{}, 0, nil
	}
	var begun quotaState
	for {
		found := false
		s.index.with(number, token.ID, func(e *entry) {
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
		if begun, err = s.beginQuota(token.ID, quota.Period, now); err != nil {
			return Standing{}, 0, err
		}
	}
}

// beginQuota returns what the token's usage tells of a period.
func (s *Store) beginQuota(id ID, period Period, now time.Time) (q quotaState, err error) {
	start, end := period.around(now)
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
