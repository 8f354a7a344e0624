package client

import (
	"strconv"
	"time"
)

// Never stands for a time that isn't.
const Never = "never"

// The units in seconds, as Mollymawk counts them: a month has 28 days but begins
// after 30.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	week   = 7 * day
	month  = 28 * day
	year   = 365 * day

	firstMonth = 30 * day
)

// Ago says how long before now t was, as Mollymawk does: "12 s ago", "3 m ago",
// "5 h ago", "3 d ago", "2 w ago", "4 mo ago", "1 y ago"; "never" for a zero t. A
// t after now, from a clock that runs ahead, counts as now.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return Never
	}
	return span(now.Sub(t)) + " ago"
}

// Relative says when t is, seen from now: "in 29 d" or "3 d ago"; "never" for a
// zero t. What is to come is rounded to minutes first, so that a token that was made a
// moment ago for 12 hours ends "in 12 h".
func Relative(t, now time.Time) string {
	left := t.Sub(now)
	switch {
	case left <= 0:
		return Ago(t, now)
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
		// 28-day months would make 13 of a year.
		return unit(min(12, seconds/month), "mo")
	}
	return unit(seconds/year, "y")
}

func unit(n int64, name string) string { return strconv.FormatInt(n, 10) + " " + name }
