package gate

import (
	"errors"
	"strconv"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Limits is how much is left of a token's limits, as far as a request came to them.
type Limits struct {
	Rate, Quota token.Standing
}

// The names of the limits for clients are those of the token's fields.
const (
	rateName  = "rate_limit"
	quotaName = "quota"
)

// Headers calls set for the fields that tell a client of its limits
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

// seconds rounds up: what is said to be possible then is.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rate takes a request of the token's rate limit. That a request is refused later
// gives nothing back, so that a token can't be used to scan for what it may do.
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

// quota takes a request of the token's quota.
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
		d.Refusal = Refuse(UnknownToken) // it was deleted just now
	case err != nil:
		d.Refusal = Refuse(StoreUnavailable)
		d.Refusal.Err = err
	case d.Limits.Quota.Exceeded:
		d.Refusal = Refuse(QuotaExceeded)
		d.Refusal.RetryAfter = int(seconds(d.Limits.Quota.Reset))
	}
}

// Release gives back what an allowed request took of its token's quota, because
// nothing of it has gone to the backend.
func (f *Finding) Release() {
	f.Reservation.Release()
	f.Reservation = tokenstore.Reservation{}
	if f.Limits.Quota.Limit > 0 {
		f.Limits.Quota.Remaining++
	}
}
