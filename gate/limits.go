package gate

import (
	"errors"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Limits holds the standing of a token's limits, if the checks on a request got that far.
type Limits struct {
	Rate, Quota token.Standing
}

// Clients see each limit under the name of the corresponding token field.
const (
	rateName  = "rate_limit"
	quotaName = "quota"
)

// Headers calls set for each header that reports the limits to the client
// (draft-ietf-httpapi-ratelimit-headers-10), if there are any limits.
func (l *Limits) Headers(set func(name, value string)) {
	if l.Rate.Limit == 0 && l.Quota.Limit == 0 {
		return
	}
	policy, left := make([]byte, 0, 96), make([]byte, 0, 96)
	for _, limit := range []struct {
		name string
		token.Standing
	}{{rateName, l.Rate}, {quotaName, l.Quota}} {
		if limit.Limit == 0 {
			continue
		}
		if len(policy) > 0 {
			policy, left = append(policy, ", "...), append(left, ", "...)
		}
		policy = appendParameter(appendParameter(strconv.AppendQuote(policy, limit.name), ";q=", limit.Limit), ";w=",
			WholeSeconds(limit.Window))
		left = appendParameter(appendParameter(strconv.AppendQuote(left, limit.name), ";r=", limit.Remaining), ";t=",
			WholeSeconds(limit.Reset))
	}
	set("RateLimit-Policy", string(policy))
	set("RateLimit", string(left))
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
	var err error
	if s.readOnly {
		d.Limits.Quota, err = s.store.QuotaStanding(d.Match.Token, r.Now)
	} else {
		d.Reservation, d.Limits.Quota, err = s.store.TakeQuota(d.Match, r.Now)
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
	f.Reservation.Release()
	f.Reservation = tokenstore.Reservation{}
	if f.Limits.Quota.Limit > 0 {
		f.Limits.Quota.Remaining++
	}
}
