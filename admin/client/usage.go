package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// UsageQuery selects part of a token's usage history.
type UsageQuery struct {
	// Step is "day" (the default) or "hour". The server keeps hourly counts for 7 days and
	// daily counts for 400 days, unless configured otherwise.
	Step string
	// From and To limit the time range. Zero means no limit.
	From, To time.Time
}

// UsagePoint counts the requests with the same scope and outcome in one hour or day.
type UsagePoint struct {
	Time time.Time `json:"time"`
	// Scope is empty if the request was refused before its route was known.
	Scope string `json:"scope"`
	// Outcome is "ok" or the code of the refusal.
	Outcome string `json:"outcome"`
	Count   uint64 `json:"count"`

	raw json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps a copy of the JSON text for
// [UsagePoint.JSON].
func (p *UsagePoint) UnmarshalJSON(text []byte) error {
	type plain UsagePoint
	var read plain
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*p = UsagePoint(read)
	p.raw = append(json.RawMessage(nil), text...)
	return nil
}

// JSON returns the object as the server sent it.
func (p UsagePoint) JSON() json.RawMessage { return p.raw }

// Usage returns a token's usage history by time, scope and outcome. Like [Client.Get], it
// checks the ID first.
func (c *Client) Usage(ctx context.Context, id string, query UsageQuery) ([]UsagePoint, error) {
	path, err := tokenPath(id)
	if err != nil {
		return nil, err
	}
	values := url.Values{}
	if query.Step != "" {
		values.Set("step", query.Step)
	}
	for name, t := range map[string]time.Time{"from": query.From, "to": query.To} {
		if !t.IsZero() {
			values.Set(name, t.UTC().Format(time.RFC3339))
		}
	}
	var series struct {
		Data []UsagePoint `json:"data"`
	}
	err = c.value(ctx, call{method: http.MethodGet, path: path + "/usage", query: values}, &series)
	return series.Data, err
}

// PreviousUse is the last use of the secret that a token's last rotation replaced. If that
// secret was never used, the times are zero.
type PreviousUse struct {
	ValidUntil        time.Time `json:"valid_until"`
	LastUsedAt        time.Time `json:"last_used_at"`
	LastUsedIP        string    `json:"last_used_ip"`
	LastUsedUserAgent string    `json:"last_used_user_agent"`
	LastUsedRoute     string    `json:"last_used_route"`
}

// PreviousUse returns the last use of the secret that the token's last rotation replaced.
// Like [Client.Get], it checks the ID first.
func (c *Client) PreviousUse(ctx context.Context, id string) (use PreviousUse, err error) {
	path, err := tokenPath(id)
	if err != nil {
		return PreviousUse{}, err
	}
	err = c.value(ctx, call{method: http.MethodGet, path: path + "/previous"}, &use)
	return use, err
}
