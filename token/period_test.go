package token

import (
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		period          Period
		now, start, end string
	}{
		{PeriodDay, "2027-03-14T15:09:26Z", "2027-03-14T00:00:00Z", "2027-03-15T00:00:00Z"},
		{PeriodDay, "2027-03-14T00:00:00Z", "2027-03-14T00:00:00Z", "2027-03-15T00:00:00Z"},
		{PeriodDay, "2027-03-15T01:30:00+02:00", "2027-03-14T00:00:00Z", "2027-03-15T00:00:00Z"},
		{PeriodDay, "2028-02-29T23:59:59.999999999Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		{PeriodMonth, "2027-03-14T15:09:26Z", "2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z"},
		{PeriodMonth, "2027-01-31T23:59:59Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"},
		{PeriodMonth, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"},
		{PeriodMonth, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"}, // a leap year
		{PeriodMonth, "2100-02-28T23:59:59Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"}, // not a leap year
		{PeriodMonth, "2027-12-31T23:59:59Z", "2027-12-01T00:00:00Z", "2028-01-01T00:00:00Z"},
		{PeriodMonth, "2028-01-01T01:00:00+02:00", "2027-12-01T00:00:00Z", "2028-01-01T00:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		start, end := test.period.Around(now)
		if start.Format(time.RFC3339) != test.start || end.Format(time.RFC3339) != test.end {
			t.Errorf("%s around %s: got %s to %s", test.period, test.now, start, end)
		}
	}
}
