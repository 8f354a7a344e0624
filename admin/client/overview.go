package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Overview describes the state of the whole installation.
type Overview struct {
	// Time is the server's current time.
	Time     time.Time `json:"time"`
	Requests struct {
		// Hours and Days count the requests of all API tokens. Hours and days without requests
		// are missing.
		Hours []RequestCount `json:"hours"`
		Days  []RequestCount `json:"days"`
	} `json:"requests"`
	// Tokens counts the tokens. It is nil while the server counts them for the first time.
	Tokens *TokenCounts `json:"tokens"`
	Health HealthChecks `json:"health"`
}

// RequestCount counts the requests in the hour or day that starts at Time.
type RequestCount struct {
	Time    time.Time `json:"time"`
	Allowed uint64    `json:"allowed"`
	Refused uint64    `json:"refused"`
}

// TokenCounts counts tokens. All counts except Admin include only API tokens.
type TokenCounts struct {
	Status StatusCounts `json:"status"`
	// Admin is the number of admin tokens.
	Admin int `json:"admin"`
	// Expiring is the number of active tokens that expire within a week and have at most a
	// quarter of their lifetime left.
	Expiring int `json:"expiring"`
}

// StatusCounts counts tokens by status.
type StatusCounts struct {
	Active      int `json:"active"`
	Expired     int `json:"expired"`
	NotYetValid int `json:"not_yet_valid"`
	Disabled    int `json:"disabled"`
	Revoked     int `json:"revoked"`
	Damaged     int `json:"damaged"`
}

// HealthChecks holds the result of each health check.
type HealthChecks struct {
	Store    HealthCheck `json:"store"`
	Journal  HealthCheck `json:"journal"`
	Clock    HealthCheck `json:"clock"`
	DiskFree HealthCheck `json:"disk_free"`
	Damaged  HealthCheck `json:"damaged"`
	Backend  HealthCheck `json:"backend"`
	Backup   HealthCheck `json:"backup"`
	// Replica is nil if the token store isn't shared.
	Replica *HealthCheck `json:"replica"`
}

// HealthCheck is the result of one health check.
type HealthCheck struct {
	// Status is "ok", "warning" or "failed".
	Status string `json:"status"`
	// Detail describes the problem and what to do about it. It is empty if Status is "ok".
	Detail string `json:"detail,omitzero"`
	// Time is when the last backup was made. It is zero for all other checks, and if there was
	// no backup.
	Time time.Time `json:"time,omitzero"`
	// AgeSeconds is the age of the server's copy of a shared token store, in whole seconds. It is
	// nil for all other checks.
	AgeSeconds *int64 `json:"age_seconds,omitzero"`
}

// Overview returns the state of the whole installation.
func (c *Client) Overview(ctx context.Context) (o Overview, err error) {
	err = c.value(ctx, call{method: http.MethodGet, path: "/overview"}, &o)
	return o, err
}

// Settings holds some of the server's settings.
type Settings struct {
	// Version is Mollygate's version, or empty if it isn't known.
	Version string `json:"version"`
	Store   struct {
		// Size is the store's size in bytes. DiskFree is the number of bytes that can still be
		// written, or nil if it isn't known.
		Size     int64  `json:"size"`
		DiskFree *int64 `json:"disk_free"`
	} `json:"store"`
	// Dashboards are the addresses of the sites that serve the dashboard.
	Dashboards []string `json:"dashboards"`
}

// Settings returns some of the server's settings.
func (c *Client) Settings(ctx context.Context) (s Settings, err error) {
	err = c.value(ctx, call{method: http.MethodGet, path: "/settings"}, &s)
	return s, err
}

// RefusedRequest is a request that was refused although its secret was correct.
type RefusedRequest struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	// Path doesn't include the query.
	Path string `json:"path"`
	// Scope is the scope that the request needed. It is empty if the request was refused before
	// its route was known.
	Scope string `json:"scope"`
	// Code is the reason for the refusal.
	Code      string `json:"code"`
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`

	raw json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps a copy of the JSON text for
// [RefusedRequest.JSON].
func (r *RefusedRequest) UnmarshalJSON(text []byte) error {
	type plain RefusedRequest
	var read plain
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*r = RefusedRequest(read)
	r.raw = append(json.RawMessage(nil), text...)
	return nil
}

// JSON returns the object as the server sent it.
func (r RefusedRequest) JSON() json.RawMessage { return r.raw }

// Refusals returns a token's last refused requests, newest first. Like [Client.Get], it checks
// the ID first.
func (c *Client) Refusals(ctx context.Context, id string) ([]RefusedRequest, error) {
	path, err := tokenPath(id)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []RefusedRequest `json:"data"`
	}
	err = c.value(ctx, call{method: http.MethodGet, path: path + "/refusals"}, &list)
	return list.Data, err
}
