package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// UsageQuery chooses from a token's history. What is zero isn't asked for.
type UsageQuery struct {
	// Step is "hour" (kept for 7 days) or "day" (kept for 400 days unless the server is
	// configured otherwise), the default.
	Step string
	// From and To are the times that the hours or days lie between.
	From, To time.Time
}

// UsagePoint is how many requests for a scope had an outcome in an hour or on a day.
type UsagePoint struct {
	Time time.Time `json:"time"`
	// Scope is empty if the request was refused before it was known what it asks for.
	Scope string `json:"scope"`
	// Outcome is "ok" or the code of the refusal.
	Outcome string `json:"outcome"`
	Count   uint64 `json:"count"`

	raw json.RawMessage
}

// UnmarshalJSON reads the API's object and keeps its text for [UsagePoint.JSON].
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

// Usage returns the history of a token's use, by time, scope and outcome. Ids are
// checked as by [Client.Get].
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

// PreviousUse is who last used a token's secret from before its last rotation. Times
// are zero for none.
type PreviousUse struct {
	ValidUntil        time.Time `json:"valid_until"`
	LastUsedAt        time.Time `json:"last_used_at"`
	LastUsedIP        string    `json:"last_used_ip"`
	LastUsedUserAgent string    `json:"last_used_user_agent"`
	LastUsedRoute     string    `json:"last_used_route"`
}

// PreviousUse returns who last used the secret from before the last rotation. Ids are
// checked as by [Client.Get].
func (c *Client) PreviousUse(ctx context.Context, id string) (use PreviousUse, err error) {
	path, err := tokenPath(id)
	if err != nil {
		return PreviousUse{}, err
	}
	err = c.value(ctx, call{method: http.MethodGet, path: path + "/previous"}, &use)
	return use, err
}
