package token

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RateLimit is so many requests at once, which come back evenly over the window.
// The zero RateLimit is none.
type RateLimit struct {
	// Requests is at most 1e9.
	Requests int64
	// Window is whole seconds, at most a day.
	Window time.Duration
}

const (
	maxRateRequests = 1_000_000_000
	minWindow       = time.Second
	maxWindow       = 24 * time.Hour

	rateLimitForm = `write for example {"requests": 60, "window": "1m"}`
)

var errWindowForm = errors.New(`write a number and a unit: 1s, 1m, 1h or 1d`)

// windowUnits are those that a window is written in, the largest first.
var windowUnits = []struct {
	name   string
	length time.Duration
}{
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

// ParseWindow reads the window of a rate limit: "1s", "1m", "1h" or "1d". Unlike in
// a [Lifetime], an m is a minute: no window is as long as a month.
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
		return 0, errors.New("the window is from 1s to 1d long; for a longer time set a quota")
	}
	return 0, errWindowForm
}

// FormatWindow returns a window as [ParseWindow] reads it.
func FormatWindow(window time.Duration) string {
	for _, unit := range windowUnits {
		if window%unit.length == 0 {
			return strconv.FormatInt(int64(window/unit.length), 10) + unit.name
		}
	}
	return window.String()
}

// String returns the limit as the command line writes it, such as "60/1m".
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
		return RateLimit{}, fieldErrorf("rate_limit", "requests is needed, from 1 to %d: %s", maxRateRequests,
			rateLimitForm)
	case !l.valid():
		return RateLimit{}, fieldErrorf("rate_limit", "window is needed, whole seconds from 1s to 1d: %s",
			rateLimitForm)
	}
	return *l, nil
}

// interval is the time in which one request comes back, in nanoseconds. It is rounded
// up, so that there are never more than the limit.
func (l RateLimit) interval() int64 {
	return (int64(l.Window) + l.Requests - 1) / l.Requests
}

// clockSlack is how much later than others a goroutine may look at the clock and still
// come before them, in nanoseconds: the time of a store goes back less than a second, and it
// takes time to go on from there.
const clockSlack = int64(10 * time.Second)

// Ahead reports whether a state can't be of a request that came at about now: it is of a
// longer limit, or of a later time. Times are in nanoseconds since 1970.
func (l RateLimit) Ahead(arrival, now int64) bool {
	return arrival > now+l.interval()*l.Requests+clockSlack
}

// Next is the limit's rule: the generic cell rate algorithm (ITU-T I.371). Its state
// is the theoretical arrival time, when all requests will have come back. It returns
// the state after one more request at now, and whether that is within the limit; if
// not, the request doesn't count. Times are in nanoseconds since 1970.
//
// golang.org/x/time/rate isn't used because its bucket fills twice over a time that
// was gone back, as between two goroutines that looked at the clock one after the
// other, and because it needs a lock.
func (l RateLimit) Next(arrival, now int64) (next int64, ok bool) {
	interval := l.interval()
	latest := now + interval*l.Requests
	arrival = max(arrival, now)
	if l.Ahead(arrival, now) {
		// It is of a longer limit, or of a clock that was put back since: it must not
		// lock the token out.
		arrival = latest
	}
	if arrival+interval > latest {
		return arrival, false
	}
	return arrival + interval, true
}

// Standing returns how much is left of the limit in a state that Next returned.
func (l RateLimit) Standing(arrival, now int64) Standing {
	interval := l.interval()
	taken := max(arrival-now, 0)
	left := interval*l.Requests - taken
	s := Standing{Limit: l.Requests, Window: l.Window, Remaining: max(left, 0) / interval, Reset: time.Duration(taken)}
	if s.Remaining == 0 {
		s.Reset = time.Duration(interval - left)
	}
	return s
}

// Standing is how much of a limit is left.
type Standing struct {
	// Limit is how many requests there are in Window; 0 is no limit.
	Limit  int64
	Window time.Duration
	// Remaining is how many may come now.
	Remaining int64
	// Reset is how long it takes until one may come again, if none may, or else until
	// as many as ever may.
	Reset time.Duration
	// Exceeded says that the request that was asked about may not come.
	Exceeded bool
}
