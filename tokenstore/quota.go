package tokenstore

import (
	"errors"
	"fmt"
	"sync/atomic"
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

// quotaPeriod is what a token has taken of its quota in one period. It begins with
// what the token's history tells, so that it outlives restarts.
type quotaPeriod struct {
	period     Period
	start, end time.Time
	taken      atomic.Int64
}

// lateTime is how long after a period's end a request may still be counted that began
// in it; it counts in the new period, as in the history. A time that lies further
// back is that of a clock that was put back.
const lateTime = time.Hour

func (p *quotaPeriod) holds(period Period, now time.Time) bool {
	return p != nil && p.period == period && now.Before(p.end) && !now.Before(p.start.Add(-lateTime))
}

// take takes one request, or only looks whether it could.
func (p *quotaPeriod) take(limit int64, now time.Time, look bool) Standing {
	standing := Standing{Limit: limit, Window: p.end.Sub(p.start), Reset: p.end.Sub(now)}
	for {
		taken := p.taken.Load()
		switch {
		case taken >= limit:
			standing.Exceeded = true
		case look:
			standing.Remaining = limit - taken
		case !p.taken.CompareAndSwap(taken, taken+1):
			continue // another request was faster
		default:
			standing.Remaining = limit - taken - 1
		}
		return standing
	}
}

// Reservation is a request that was taken of a quota. The zero Reservation is none.
type Reservation struct{ from *quotaPeriod }

// Release gives the request back, because it didn't go to the backend. It is called
// once at most.
func (r Reservation) Release() {
	if r.from != nil {
		r.from.taken.Add(-1)
	}
}

// TakeQuota takes a request of the token's quota. It takes no lock but for the first
// request of a token in a period, which reads the token's history. If the request
// isn't counted as allowed afterwards, the reservation is released. The errors are
// [ErrNotFound] and [ErrUnavailable].
//
// Requests that are under way while a token is given a quota, or another period, are
// missing in what it begins with.
func (s *Store) TakeQuota(m Match, now time.Time) (Reservation, Standing, error) {
	quota := m.Token.Quota
	if quota == (Quota{}) {
		return Reservation{}, Standing{}, nil
	}
	var period *quotaPeriod
	if e := s.index.extras.get(m.number); e != nil && s.index.record(&m) != nil {
		period = e.quota.Load()
	}
	if !period.holds(quota.Period, now) {
		var err error
		if period, err = s.beginQuota(&m, now); err != nil {
			return Reservation{}, Standing{}, err
		}
	}
	standing := period.take(quota.Requests, now, false)
	if standing.Exceeded {
		return Reservation{}, standing, nil
	}
	return Reservation{period}, standing, nil
}

// QuotaStanding returns what TakeQuota would of a request with the token, and takes
// nothing. The errors are [ErrNotFound] and [ErrUnavailable].
func (s *Store) QuotaStanding(token Principal, now time.Time) (Standing, error) {
	quota := token.Quota
	if quota == (Quota{}) {
		return Standing{}, nil
	}
	if e := s.index.extras.get(s.index.byID(token.ID)); e != nil {
		if period := e.quota.Load(); period.holds(quota.Period, now) {
			return period.take(quota.Requests, now, true), nil
		}
	}
	period, err := s.quotaPeriod(token.ID, quota.Period, now)
	if err != nil {
		return Standing{}, err
	}
	return period.take(quota.Requests, now, true), nil
}

// beginQuota makes a period the token's.
func (s *Store) beginQuota(m *Match, now time.Time) (*quotaPeriod, error) {
	id, period := m.Token.ID, m.Token.Quota.Period
	defer s.index.locks.lock(id)()
	var e *extra
	if s.index.record(m) != nil {
		e = s.index.extras.get(m.number)
	}
	if e != nil {
		if begun := e.quota.Load(); begun.holds(period, now) {
			return begun, nil
		}
	}
	begun, err := s.quotaPeriod(id, period, now)
	if err != nil {
		return nil, err
	}
	// A token whose quota was just changed needs another, or none: it wouldn't be told
	// of what is used meanwhile.
	if e != nil && e.period == period {
		e.quota.Store(begun)
	}
	return begun, nil
}

// quotaPeriod returns what the token's history tells of a period.
func (s *Store) quotaPeriod(id ID, period Period, now time.Time) (*quotaPeriod, error) {
	p := &quotaPeriod{period: period}
	p.start, p.end = period.around(now)
	days, err := s.days(id, DayOf(p.start), DayOf(p.end)-1)
	if err != nil {
		return nil, err
	}
	var taken uint64
	for _, day := range days {
		for i := range day.Counts {
			if count := &day.Counts[i]; count.Outcome == OutcomeOK {
				taken = min(taken+count.sum(), maxCount)
			}
		}
	}
	p.taken.Store(int64(taken))
	return p, nil
}
