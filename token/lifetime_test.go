package token

import (
	"math"
	"testing"
	"time"
)

func TestParseLifetime(t *testing.T) {
	t.Parallel()
	const day = 24 * 60 * 60
	for text, want := range map[string]struct {
		lifetime Lifetime
		printed  string
	}{
		"1s": {Lifetime{seconds: 1}, "1s"}, "3600s": {Lifetime{seconds: 3600}, "1h"},
		"3601s": {Lifetime{seconds: 3601}, "3601s"},
		"12h":   {Lifetime{seconds: 12 * 3600}, "12h"}, "24h": {Lifetime{seconds: day}, "1d"},
		"90d": {Lifetime{seconds: 90 * day}, "90d"}, "2w": {Lifetime{seconds: 14 * day}, "14d"},
		"1mo": {Lifetime{months: 1}, "1mo"}, "6mo": {Lifetime{months: 6}, "6mo"}, "12mo": {Lifetime{months: 12}, "1y"},
		"2y":          {Lifetime{months: 24}, "2y"},
		"007d":        {Lifetime{seconds: 7 * day}, "7d"},
		"2147483647s": {Lifetime{seconds: math.MaxInt32}, "2147483647s"},
	} {
		got, err := ParseLifetime(text)
		if err != nil || got != want.lifetime || got.Unlimited() {
			t.Errorf("%q: got %+v, error %v; want %+v", text, got, err, want.lifetime)
			continue
		}
		if got.String() != want.printed {
			t.Errorf("%q: got String %q, want %q", text, got, want.printed)
		}
		if again, err := ParseLifetime(got.String()); err != nil || again != got {
			t.Errorf("%q was parsed again as %+v, error %v", got, again, err)
		}
	}
	for _, bad := range []string{
		"", "d", "90", "0d", "00s", "-1d", "+1d", " 1d", "1d ", "1 d", "1m", "1M", "1D", "1mo ", "1mon", "1.5h",
		"1h30m",
		"never", "unlimited", "1d1d", "9999999999d", "99999999999999999999s", "１d", "1\u00a0d", "1e3s", "0x1d",
	} {
		if got, err := ParseLifetime(bad); err == nil {
			t.Errorf("%q was parsed as %+v, want an error", bad, got)
		}
	}
}

func TestLifetimeOfSeconds(t *testing.T) {
	t.Parallel()
	for _, bad := range []int64{0, -1, math.MinInt64} {
		if _, err := LifetimeOfSeconds(bad); err == nil {
			t.Errorf("a lifetime of %d seconds was accepted", bad)
		}
	}
	l, err := LifetimeOfSeconds(math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.From(testTime); err == nil {
		t.Error("From returned no error for an end after the year 9999")
	}
}

// TestLifetimeFrom checks that lifetimes use the UTC calendar, whatever the time zone, and
// don't overflow.
func TestLifetimeFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ start, lifetime, end string }{
		// Days are clamped to the last day of the month.
		{"2027-01-31T12:00:00Z", "1mo", "2027-02-28T12:00:00Z"},
		{"2028-01-31T12:00:00Z", "1mo", "2028-02-29T12:00:00Z"},
		{"2100-01-31T12:00:00Z", "1mo", "2100-02-28T12:00:00Z"}, // not a leap year
		{"2000-01-31T12:00:00Z", "1mo", "2000-02-29T12:00:00Z"}, // a leap year
		{"2027-01-31T12:00:00Z", "2mo", "2027-03-31T12:00:00Z"},
		{"2027-03-31T23:59:59Z", "1mo", "2027-04-30T23:59:59Z"},
		{"2027-12-31T00:00:00Z", "2mo", "2028-02-29T00:00:00Z"},
		{"2027-11-30T00:00:00Z", "3mo", "2028-02-29T00:00:00Z"},
		{"2028-02-29T01:02:03Z", "1y", "2029-02-28T01:02:03Z"},
		{"2028-02-29T01:02:03Z", "4y", "2032-02-29T01:02:03Z"},
		{"2027-02-28T00:00:00Z", "1mo", "2027-03-28T00:00:00Z"},
		{"2027-12-15T00:00:00Z", "1mo", "2028-01-15T00:00:00Z"},
		// A day always has 24 hours, and an hour always has 60 minutes.
		{"2027-03-27T12:00:00Z", "1d", "2027-03-28T12:00:00Z"},
		{"2028-02-28T12:00:00Z", "1d", "2028-02-29T12:00:00Z"},
		{"2028-02-28T12:00:00Z", "366d", "2029-02-28T12:00:00Z"},
		{"2027-01-01T00:00:00Z", "2w", "2027-01-15T00:00:00Z"},
		{"2027-01-01T00:00:00Z", "90s", "2027-01-01T00:01:30Z"},
		{"2027-01-01T00:00:00Z", "150000d", "2437-09-08T00:00:00Z"}, // too long for a time.Duration
		// The calendar is UTC.
		{"2027-01-31T23:30:00-02:00", "1mo", "2027-03-01T01:30:00Z"},
		// These lifetimes end around maxYear.
		{"9998-12-31T23:59:59Z", "1y", "9999-12-31T23:59:59Z"},
		{"9999-12-31T23:59:58Z", "1s", "9999-12-31T23:59:59Z"},
		{"9999-12-31T23:59:59Z", "1s", ""},
		{"9999-12-01T00:00:00Z", "1mo", ""},
		{"2027-01-01T00:00:00Z", "7973y", ""},
		{"2027-01-01T00:00:00Z", "7972y", "9999-01-01T00:00:00Z"},
		{"2027-01-01T00:00:00Z", "2147483647d", ""},
		{"2027-01-01T00:00:00Z", "2147483647w", ""},
		{"2027-01-01T00:00:00Z", "2147483647mo", ""},
		{"2027-01-01T00:00:00Z", "2147483647y", ""},
	} {
		start, err := time.Parse(time.RFC3339, c.start)
		if err != nil {
			t.Fatal(err)
		}
		lifetime, err := ParseLifetime(c.lifetime)
		if err != nil {
			t.Fatal(err)
		}
		end, err := lifetime.From(start)
		switch {
		case c.end == "" && err == nil:
			t.Errorf("%s + %s: got %s, want an error", c.start, c.lifetime, end)
		case c.end != "" && (err != nil || end.Format(time.RFC3339) != c.end):
			t.Errorf("%s + %s: got %s, error %v; want %s", c.start, c.lifetime, end.Format(time.RFC3339), err, c.end)
		}
	}
	if _, err := (Lifetime{}).From(testTime); err == nil {
		t.Error("From returned no error for an unlimited lifetime")
	}
	if got := (Lifetime{}).String(); got != "unlimited" || !(Lifetime{}).Unlimited() {
		t.Errorf("the zero lifetime: got String %q, want unlimited", got)
	}
}

// TestLifetimeDaysOfTheMonth adds every number of months to every day of four
// years.
func TestLifetimeDaysOfTheMonth(t *testing.T) {
	t.Parallel()
	for start := time.Date(2027, 1, 1, 5, 6, 7, 0, time.UTC); start.Year() < 2031; start = start.AddDate(0, 0, 1) {
		for months := 1; months <= 60; months++ {
			end, err := Lifetime{months: months}.From(start)
			if err != nil {
				t.Fatal(err)
			}
			month := (int(start.Month())-1+months)%12 + 1
			next := end.AddDate(0, 0, 1)
			if int(end.Month()) != month ||
				(end.Day() != start.Day() && (end.Day() > start.Day() || next.Day() != 1)) ||
				end.Format("15:04:05") != "05:06:07" {
				t.Fatalf("%s + %dmo: got %s, which is wrong", start, months, end)
			}
		}
	}
}
