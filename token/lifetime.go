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

// Lifetime is how long a token lives, in calendar steps: months and years are
// added as the calendar counts them, in UTC, and clamped to the month's last day
// (31 January + 1mo is 28 or 29 February); everything else is a fixed number of
// seconds. The zero Lifetime is unlimited.
type Lifetime struct {
	months  int
	seconds int64
}

// The years that a token's times may be in.
const (
	minYear = wire.MinYear
	maxYear = wire.MaxYear
)

var errLifetimeForm = errors.New(`write a number and a unit: 12h, 90d, 2w, 6mo or 2y`)

// ParseLifetime reads "12h", "90d", "2w", "6mo", "2y" or "3600s". A bare "m" is
// refused because it could be minutes or months.
func ParseLifetime(s string) (Lifetime, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits == 0 || digits == len(s) {
		return Lifetime{}, errLifetimeForm
	}
	n, err := strconv.ParseInt(s[:digits], 10, 32)
	if err != nil {
		return Lifetime{}, errors.New("it is too long a time")
	}
	if n == 0 {
		return Lifetime{}, errors.New("a lifetime is longer than nothing")
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

// LifetimeOfSeconds returns a lifetime of so many seconds, which must be more
// than none.
func LifetimeOfSeconds(n int64) (Lifetime, error) {
	if n <= 0 {
		return Lifetime{}, errors.New("a lifetime is longer than nothing")
	}
	return Lifetime{seconds: n}, nil
}

// Unlimited says whether the lifetime has no end.
func (l Lifetime) Unlimited() bool { return l == Lifetime{} }

// From returns the moment at which the lifetime ends if it begins at start. It
// fails for ends after the year 9999 and for an unlimited lifetime.
func (l Lifetime) From(start time.Time) (time.Time, error) {
	if l.Unlimited() {
		return time.Time{}, errors.New("an unlimited lifetime has no end")
	}
	// 300 years of seconds is beyond time.Duration, so days are added apart.
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

// Days returns the lifetime in whole days, a month being 30 days and 12 months 366. An
// unlimited one has 0.
func (l Lifetime) Days() int {
	const day = 24 * 60 * 60
	return l.months/12*366 + l.months%12*30 + int(min(l.seconds/day, math.MaxInt32))
}

// Before returns when a lifetime began that ends at end; the zero time if it never
// ends.
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

// addMonths adds calendar months and clamps the day to the month's last.
func addMonths(t time.Time, months int) time.Time {
	if months == 0 {
		return t
	}
	year, month, day := t.Date()
	lastDay := time.Date(year, month+time.Month(months)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	hour, minute, second := t.Clock()
	return time.Date(year, month+time.Month(months), min(day, lastDay), hour, minute, second, t.Nanosecond(), time.UTC)
}

// String returns the lifetime as [ParseLifetime] reads it, in the largest unit
// that divides it, or "unlimited".
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
