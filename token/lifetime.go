package token

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mollygate/mollygate/internal/wire"
)

// Lifetime is how long a token is valid, in calendar units. Months and years are calendar
// months and years in UTC, clamped to the last day of the month (31 January + 1mo is 28 or 29
// February). All other units are a fixed number of seconds. The zero Lifetime is unlimited.
type Lifetime struct {
	months  int
	seconds int64
}

// A token's times must be within these years.
const (
	minYear = wire.MinYear
	maxYear = wire.MaxYear
)

var errLifetimeForm = errors.New(`write a number and a unit: 12h, 90d, 2w, 6mo or 2y`)

// ParseLifetime parses "12h", "90d", "2w", "6mo", "2y" or "3600s". It refuses a bare "m",
// which could be minutes or months.
func ParseLifetime(s string) (Lifetime, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits == 0 || digits == len(s) {
		return Lifetime{}, errLifetimeForm
	}
	n, err := strconv.ParseInt(s[:digits], 10, 32)
	if err != nil {
		return Lifetime{}, errors.New("the lifetime is too long")
	}
	if n == 0 {
		return Lifetime{}, errors.New("a lifetime must be longer than 0")
	}
	switch unit := s[digits:]; unit {
	case "s":
		return Lifetime{seconds: n}, nil
	case "h":
		return Lifetime{seconds: n * 60 * 60}, nil
	case "d":
		return Lifetime{seconds: n * 24 * 60 * 60}, nil
	case "w":
		return Lifetime{seconds: n * 7 * 24 * 60 * 60}, nil
	case "mo":
		return Lifetime{months: int(n)}, nil
	case "y":
		return Lifetime{months: int(n) * 12}, nil
	case "m":
		return Lifetime{}, fmt.Errorf(`%q could be minutes or months: write %dmo for months or %ds for minutes`, s,
			n, n*60)
	}
	return Lifetime{}, errLifetimeForm
}

// LifetimeOfSeconds returns a lifetime of n seconds. n must be positive.
func LifetimeOfSeconds(n int64) (Lifetime, error) {
	if n <= 0 {
		return Lifetime{}, errors.New("a lifetime must be longer than 0")
	}
	return Lifetime{seconds: n}, nil
}

// Unlimited reports whether the lifetime has no end.
func (l Lifetime) Unlimited() bool { return l == Lifetime{} }

// From returns the time at which the lifetime ends if it begins at start. It returns an error
// if the lifetime is unlimited or ends after the year 9999.
func (l Lifetime) From(start time.Time) (time.Time, error) {
	if l.Unlimited() {
		return time.Time{}, errors.New("an unlimited lifetime has no end")
	}
	// A time.Duration holds less than 300 years, so days are added separately.
	const day = 24 * 60 * 60
	if l.seconds/day > 366*maxYear || l.months > 12*maxYear {
		return time.Time{}, errAfterMaxYear
	}
	start = start.UTC()
	end := addMonths(start, l.months).
		AddDate(0, 0, int(l.seconds/day)).
		Add(time.Duration(l.seconds%day) * time.Second)
	if end.Year() > maxYear {
		return time.Time{}, errAfterMaxYear
	}
	return end, nil
}

// Days returns the lifetime in whole days, counting a month as 30 days and 12 months as 366.
// It returns 0 for an unlimited lifetime.
func (l Lifetime) Days() int {
	const day = 24 * 60 * 60
	return l.months/12*366 + l.months%12*30 + int(min(l.seconds/day, math.MaxInt32))
}

// Before returns the start of a lifetime that ends at end, or the zero time if the lifetime is
// unlimited.
func (l Lifetime) Before(end time.Time) time.Time {
	if l.Unlimited() {
		return time.Time{}
	}
	const day = 24 * 60 * 60
	return addMonths(end.UTC(), -l.months).
		AddDate(0, 0, -int(l.seconds/day)).
		Add(-time.Duration(l.seconds%day) * time.Second)
}

var errAfterMaxYear = fmt.Errorf("ends after the year %d", maxYear)

// addMonths adds calendar months and clamps the day to the last day of the month.
func addMonths(t time.Time, months int) time.Time {
	if months == 0 {
		return t
	}
	year, month, day := t.Date()
	lastDay := time.Date(year, month+time.Month(months)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	hour, minute, second := t.Clock()
	return time.Date(year, month+time.Month(months), min(day, lastDay), hour, minute, second, t.Nanosecond(),
		time.UTC)
}

// String returns the lifetime in a form that [ParseLifetime] accepts, in the largest unit that
// divides it evenly, or "unlimited".
func (l Lifetime) String() string {
	switch {
	case l.Unlimited():
		return "unlimited"
	case l.months != 0 && l.months%12 == 0:
		return strconv.Itoa(l.months/12) + "y"
	case l.months != 0:
		return strconv.Itoa(l.months) + "mo"
	case l.seconds%(24*60*60) == 0:
		return strconv.FormatInt(l.seconds/(24*60*60), 10) + "d"
	case l.seconds%(60*60) == 0:
		return strconv.FormatInt(l.seconds/(60*60), 10) + "h"
	}
	return strconv.FormatInt(l.seconds, 10) + "s"
}
