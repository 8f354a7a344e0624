package token

import (
	"errors"
	"fmt"
	"time"
)

// Quota is the maximum number of requests to the backend per calendar period, in UTC. The zero
// Quota means no quota.
type Quota struct {
	// Requests is at most the largest integer that both JSON numbers and structured fields can
	// represent (RFC 9651 section 3.3.1).
	Requests int64
	Period   Period
}

const (
	maxQuotaRequests = 999_999_999_999_999

	quotaForm = `for example {"requests": 10000, "period": "month"}`
)

// Period is a calendar period.
type Period uint8

const (
	// PeriodDay begins at midnight, UTC.
	PeriodDay Period = iota + 1
	// PeriodMonth begins on the first day of a month.
	PeriodMonth
)

var errPeriod = errors.New(`the period must be "day" or "month"`)

// ParsePeriod parses "day" or "month".
func ParsePeriod(s string) (Period, error) {
	for _, p := range []Period{PeriodDay, PeriodMonth} {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, errPeriod
}

// String returns the period's name in the admin API.
func (p Period) String() string {
	switch p {
	case PeriodDay:
		return "day"
	case PeriodMonth:
		return "month"
	}
	return ""
}

// Around returns the start and end of the period that contains now.
func (p Period) Around(now time.Time) (start, end time.Time) {
	year, month, day := now.UTC().Date()
	if p == PeriodMonth {
		start = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	start = time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 0, 1)
}

// String returns the quota in command-line form, such as "10000/month", or "" for no quota.
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
		return Quota{}, fieldErrorf("quota", "requests must be from 1 to %d, %s", maxQuotaRequests, quotaForm)
	case !q.valid():
		return Quota{}, fieldErrorf("quota", "period must be day or month, %s", quotaForm)
	}
	return *q, nil
}
