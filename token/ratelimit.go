package token

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RateLimit allows a burst of requests and refills evenly over the window. The zero RateLimit
// means no limit.
type RateLimit struct {
	// Requests is the burst size, at most 1e9.
	Requests int64
	// Window is the time in which the burst refills, in whole seconds, at most a day.
	Window time.Duration
}

const (
	maxRateRequests = 1_000_000_000
	minWindow       = time.Second
	maxWindow       = 24 * time.Hour

	rateLimitForm = `for example {"requests": 60, "window": "1m"}`
)

var errWindowForm = errors.New(`write a number and a unit: 1s, 1m, 1h or 1d`)

// windowUnits are the units of a window, largest first.
var windowUnits = []struct {
	name   string
	length time.Duration
}{
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

// ParseWindow parses a rate limit's window: "1s", "1m", "1h" or "1d". Unlike in a [Lifetime],
// "m" means minutes: no window is as long as a month.
func ParseWindow(s string) (time.Duration, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 32)
	if err != nil {
		return 0, errWindowForm
	}
	for _, unit := range windowUnits {
		if unit.name != s[digits:] {
			continue
		}
		if window := time.Duration(n) * unit.length; n <= int64(maxWindow/time.Second) && window >= minWindow &&
			window <= maxWindow {
			return window, nil
		}
		return 0, errors.New("the window must be from 1s to 1d; for a longer period, set a quota")
	}
	return 0, errWindowForm
}

// FormatWindow formats a window in a form that [ParseWindow] accepts.
func FormatWindow(window time.Duration) string {
	for _, unit := range windowUnits {
		if window%unit.length == 0 {
			return strconv.FormatInt(int64(window/unit.length), 10) + unit.name
		}
	}
	return window.String()
}

// String returns the limit in command-line form, such as "60/1m", or "" for no limit.
func (l RateLimit) String() string {
	if l == (RateLimit{}) {
		return ""
	}
	return fmt.Sprintf("%d/%s", l.Requests, FormatWindow(l.Window))
}

func (l RateLimit) valid() bool {
	return l.Requests >= 1 && l.Requests <= maxRateRequests &&
		l.Window >= minWindow && l.Window <= maxWindow && l.Window%time.Second == 0
}

func checkRateLimit(l *RateLimit) (RateLimit, error) {
	switch {
	case l == nil:
		return RateLimit{}, nil
	case l.Requests < 1 || l.Requests > maxRateRequests:
		return RateLimit{}, fieldErrorf("rate_limit", "requests must be from 1 to %d, %s", maxRateRequests,
			rateLimitForm)
	case !l.valid():
		return RateLimit{}, fieldErrorf("rate_limit", "window must be whole seconds from 1s to 1d, %s",
			rateLimitForm)
	}
	return *l, nil
}

// interval is the time it takes to refill one request, in nanoseconds. It is rounded up so
// that the limit is never exceeded.
func (l RateLimit) interval() int64 {
	return (int64(l.Window) + l.Requests - 1) / l.Requests
}

// clockSlack is how much an older clock reading may lag behind the state, in nanoseconds.
// Goroutines may read the clock in one order and update the state in another, and the store's
// clock may go back by less than a second.
const clockSlack = int64(10 * time.Second)

// Ahead reports whether a state can't result from a request at about the current time and must
// therefore result from a longer limit or a later time. Times are in nanoseconds since 1970.
func (l RateLimit) Ahead(arrival, now int64) bool {
	return arrival > now+l.interval()*l.Requests+clockSlack
}

// Next implements the generic cell rate algorithm (ITU-T I.371). Its state is the theoretical
// arrival time, at which the burst will have refilled in full. Next returns the state after
// one more request at now and reports whether that request is within the limit. A request over
// the limit doesn't count. Times are in nanoseconds since 1970.
//
// golang.org/x/time/rate isn't used because it needs a lock and because its bucket refills
// twice for the same period if the clock readings of two goroutines arrive out of order.
func (l RateLimit) Next(arrival, now int64) (next int64, ok bool) {
	interval := l.interval()
	latest := now + interval*l.Requests
	arrival = max(arrival, now)
	if l.Ahead(arrival, now) {
		// The state results from a longer limit, or from a time before the clock was set back.
		// It must not lock out the token.
		arrival = latest
	}
	if arrival+interval > latest {
		return arrival, false
	}
	return arrival + interval, true
}

// Standing returns how much of the limit is left, given a state returned by Next.
func (l RateLimit) Standing(arrival, now int64) Standing {
	interval := l.interval()
	taken := max(arrival-now, 0)
	left := interval*l.Requests - taken
	s := Standing{Limit: l.Requests, Window: l.Window, Remaining: max(left, 0) / interval,
		Reset: time.Duration(taken)}
	if s.Remaining == 0 {
		s.Reset = time.Duration(interval - left)
	}
	return s
}

// Standing describes how much of a limit is left.
type Standing struct {
	// Limit is the number of requests per Window; 0 means no limit.
	Limit  int64
	Window time.Duration
	// Remaining is the number of requests allowed now.
	Remaining int64
	// Reset is the time until the next request is allowed if none is allowed now, otherwise
	// the time until the limit has refilled in full.
	Reset time.Duration
	// Exceeded reports whether the request is over the limit.
	Exceeded bool
}
