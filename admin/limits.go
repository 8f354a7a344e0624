package admin

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// rateLimit is {"requests": 60, "window": "1m"}. In a merge patch, members may be missing.
type rateLimit struct {
	Requests patch[requests] `json:"requests"`
	Window   patch[window]   `json:"window"`
}

// merge returns the token's old rate limit, which may be nil, with the members of l
// applied. Members missing from both are zero.
func (l *rateLimit) merge(old *token.RateLimit) *token.RateLimit {
	var merged token.RateLimit
	if old != nil {
		merged = *old
	}
	if l.Requests.given {
		merged.Requests = int64(l.Requests.value)
	}
	if l.Window.given {
		merged.Window = time.Duration(l.Window.value)
	}
	return &merged
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *rateLimit) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type members rateLimit
	return decodeMembers(dec, (*members)(l), `write for example {"requests": 60, "window": "1m"}`)
}

// quota is {"requests": 10000, "period": "month"}. In a merge patch, members may be missing.
type quota struct {
	Requests patch[requests] `json:"requests"`
	Period   patch[period]   `json:"period"`
}

// merge returns the token's old quota, which may be nil, with the members of q applied.
// Members missing from both are zero.
func (q *quota) merge(old *token.Quota) *token.Quota {
	var merged token.Quota
	if old != nil {
		merged = *old
	}
	if q.Requests.given {
		merged.Requests = int64(q.Requests.value)
	}
	if q.Period.given {
		merged.Period = token.Period(q.Period.value)
	}
	return &merged
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (q *quota) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type members quota
	return decodeMembers(dec, (*members)(q), `write for example {"requests": 10000, "period": "month"}`)
}

// decodeMembers reads an object and refuses unknown members. Its errors end with form,
// which shows an example object.
func decodeMembers(dec *jsontext.Decoder, into any, form string) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() != '{' {
		return ruleError(form)
	}
	err = json.Unmarshal(value, into, json.RejectUnknownMembers(true))
	if rule, ok := errors.AsType[ruleError](err); ok {
		return ruleError(string(rule) + "; " + form)
	}
	if err != nil {
		return ruleError("has an unknown member; " + form)
	}
	return nil
}

// requests is a number of requests, at least 1.
type requests int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (r *requests) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || strings.Trim(string(value), "0123456789") != "" || n == 0 {
		return ruleError("requests must be a whole number of at least 1, written in digits only")
	}
	*r = requests(n)
	return nil
}

// window is a duration such as "1m".
type window time.Duration

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (w *window) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() != '"' {
		return ruleError(`window must be a duration such as "1m"`)
	}
	length, err := token.ParseWindow(unquote(value))
	if err != nil {
		return ruleError("window: " + err.Error())
	}
	*w = window(length)
	return nil
}

// period is "day" or "month".
type period token.Period

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *period) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	name := ""
	if value.Kind() == '"' {
		name = unquote(value)
	}
	parsed, err := token.ParsePeriod(name)
	if err != nil {
		return ruleError(err.Error())
	}
	*p = period(parsed)
	return nil
}

var (
	_ json.UnmarshalerFrom = (*rateLimit)(nil)
	_ json.UnmarshalerFrom = (*quota)(nil)
	_ json.UnmarshalerFrom = (*requests)(nil)
	_ json.UnmarshalerFrom = (*window)(nil)
	_ json.UnmarshalerFrom = (*period)(nil)
)
