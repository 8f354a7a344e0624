package token

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

// Around returns the period that a time lies in.
func (p Period) Around(now time.Time) (start, end time.Time) {
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
