package gate

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Limits holds the standing of a token's limits, if the checks on a request got that far. A nil
// *Limits stands for no limits.
type Limits struct {
	Rate, Quota token.Standing
	// reservation is the part of the quota that an allowed request has used; see
	// [Finding.Release].
	reservation tokenstore.Reservation
}

// Standing returns the standing of both limits.
func (l *Limits) Standing() (rate, quota token.Standing) {
	if l == nil {
		return rate, quota
	}
	return l.Rate, l.Quota
}

// SetHeaders sets the headers that report the limits to the client
// (draft-ietf-httpapi-ratelimit-headers-10), if there are any limits. They show each limit under
// the name of the corresponding token field.
func (l *Limits) SetHeaders(h http.Header) {
	rate, quota := l.Standing()
	if rate.Limit == 0 && quota.Limit == 0 {
		return
	}
	text := appendPolicy(make([]byte, 0, 192), `"rate_limit"`, rate)
	text = appendPolicy(text, `"quota"`, quota)
	policy := len(text)
	text = appendLeft(text, policy, `"rate_limit"`, rate)
	text = appendLeft(text, policy, `"quota"`, quota)
	values := []string{string(text), ""}
	values[0], values[1] = values[0][:policy], values[0][policy:]
	h["Ratelimit-Policy"], h["Ratelimit"] = values[:1:1], values[1:]
}

// appendPolicy appends a limit to a RateLimit-Policy value, which b contains.
func appendPolicy(b []byte, name string, limit token.Standing) []byte {
	if limit.Limit == 0 {
		return b
	}
	b = appendParameter(appendName(b, 0, name), ";q=", limit.Limit)
	return appendParameter(b, ";w=", WholeSeconds(limit.Window))
}

// appendLeft appends a limit to a RateLimit value, which begins at b[start].
func appendLeft(b []byte, start int, name string, limit token.Standing) []byte {
	if limit.Limit == 0 {
		return b
	}
	b = appendParameter(appendName(b, start, name), ";r=", limit.Remaining)
	return appendParameter(b, ";t=", WholeSeconds(limit.Reset))
}

func appendName(b []byte, start int, name string) []byte {
	if len(b) > start {
		b = append(b, ", "...)
	}
	return append(b, name...)
}

func appendParameter(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(b, name...), value, 10)
}

// WholeSeconds returns a duration in seconds. It rounds up, so that a request after the announced
// wait is within the limit.
func WholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rate counts a request against the token's rate limit. The request counts even if a later
// check refuses it. Otherwise, a client could probe its token's permissions without limit.
func (d *Decision) rate(r *Request, s *scratch) {
	if d.Match.Token.RateLimit == (token.RateLimit{}) {
		return
	}
	d.Limits = new(Limits)
	if s.readOnly {
		d.Limits.Rate = s.store.RateStanding(d.Match.Token, r.Now)
	} else {
		d.Limits.Rate = s.store.TakeRate(d.Match, r.Now)
	}
	if d.Limits.Rate.Exceeded {
		d.Refusal = Refuse(RateLimited)
		d.Refusal.RetryAfter = int(WholeSeconds(d.Limits.Rate.Reset))
	}
}

// quota counts a request against the token's quota.
func (d *Decision) quota(r *Request, s *scratch) {
	if d.Match.Token.Quota == (token.Quota{}) {
		return
	}
	if d.Limits == nil {
		d.Limits = new(Limits)
	}
	var err error
	if s.readOnly {
		d.Limits.Quota, err = s.store.QuotaStanding(d.Match.Token, r.Now)
	} else {
		d.Limits.reservation, d.Limits.Quota, err = s.store.TakeQuota(d.Match, r.Now)
	}
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		d.Refusal = Refuse(UnknownToken) // deleted concurrently
	case err != nil:
		d.Refusal = Refuse(StoreUnavailable)
		d.Refusal.Err = err
	case d.Limits.Quota.Exceeded:
		d.Refusal = Refuse(QuotaExceeded)
		d.Refusal.RetryAfter = int(WholeSeconds(d.Limits.Quota.Reset))
	}
}

// Release gives back the quota that an allowed request has used. Call it only if no part of
// the request has reached the backend.
func (f *Finding) Release() {
	if f.Limits == nil {
		return
	}
	f.Limits.reservation.Release()
	f.Limits.reservation = tokenstore.Reservation{}
	if f.Limits.Quota.Limit > 0 {
		f.Limits.Quota.Remaining++
	}
}
