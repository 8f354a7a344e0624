package command

import (
	"strconv"
	"time"
)

// never is the text that ago and relative return for a zero time.
const never = "never"

// Units in seconds, as in Mollymawk. A month has 28 days, but durations under 30 days are
// never shown in months.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	week   = 7 * day
	month  = 28 * day
	year   = 365 * day

	firstMonth = 30 * day
)

// ago returns how long before now t was, in Mollymawk's format: "12 s ago", "3 m ago", "5 h
// ago", "3 d ago", "2 w ago", "4 mo ago" or "1 y ago". It returns "never" for a zero t. If t
// is after now, because another clock is ahead, ago treats t as now.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return never
	}
	return span(now.Sub(t)) + " ago"
}

// relative describes t relative to now, such as "in 4 w" or "3 d ago". It returns "never" for
// a zero t. It rounds future times to minutes first, so that a newly created token with a
// lifetime of 12 hours expires "in 12 h".
func relative(t, now time.Time) string {
	left := t.Sub(now)
	switch {
	case left <= 0:
		return ago(t, now)
	case left >= time.Minute:
		left = left.Round(time.Minute)
	}
	return "in " + span(left)
}

func span(d time.Duration) string {
	seconds := max(0, int64(d/time.Second))
	switch {
	case seconds < minute:
		return unit(seconds, "s")
	case seconds < hour:
		return unit(seconds/minute, "m")
	case seconds < day:
		return unit(seconds/hour, "h")
	case seconds < week:
		return unit(seconds/day, "d")
	case seconds < firstMonth:
		return unit(seconds/week, "w")
	case seconds < year:
		// Without the limit of 12, 364 days would be 13 months of 28 days.
		return unit(min(12, seconds/month), "mo")
	}
	return unit(seconds/year, "y")
}

func unit(n int64, name string) string { return strconv.FormatInt(n, 10) + " " + name }
