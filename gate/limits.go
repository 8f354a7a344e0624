package gate

import (
	"errors"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Limits is what is left of a token's limits, if the checks of a request got that far.
type Limits struct {
	Rate, Quota token.Standing
}

// Clients see the limits under the names of the token's fields.
const (
	rateName  = "rate_limit"
	quotaName = "quota"
)

// Headers calls set for the headers that tell a client its limits
// (draft-ietf-httpapi-ratelimit-headers-10), if it has any.
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
			seconds(limit.Window))
		left = appendParameter(appendParameter(strconv.AppendQuote(left, limit.name), ";r=", limit.Remaining), ";t=",
			seconds(limit.Reset))
	}
	set("RateLimit-Policy", string(policy))
	set("RateLimit", string(left))
}

func appendParameter(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(b, name...), value, 10)
}

// seconds rounds up, so that a request after the announced wait is within the limit.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rate counts a request against the token's rate limit. It counts even if a later check
// refuses the request, so that a client can't probe what its token may do without a limit.
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
		d.Refusal.RetryAfter = int(seconds(d.Limits.Rate.Reset))
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
		d.Refusal.RetryAfter = int(seconds(d.Limits.Quota.Reset))
	}
}

// Release returns the quota that an allowed request has used. It is for requests of which the
// backend has seen nothing.
func (f *Finding) Release() {
	f.Reservation.Release()
	f.Reservation = tokenstore.Reservation{}
	if f.Limits.Quota.Limit > 0 {
		f.Limits.Quota.Remaining++
	}
}
