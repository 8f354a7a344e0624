package gate

import (
	"net/http"
	"time"
)

// OwnKeyPath is the path at which the gate itself tells a client about the API key that it
// presents. Requests for it never reach the backend. They need no scope, but otherwise they are
// checked and counted like requests for a route.
const OwnKeyPath = "/.well-known/mollygate/key"

// OwnKey is what a client learns about its own API key, in JSON. It contains nothing that the
// client couldn't find out from responses, and nothing that admins noted about the key.
type OwnKey struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Account string   `json:"account"`
	Scopes  []string `json:"scopes"`
	// Resources are the resources to which the key is bound, or nil.
	Resources []string `json:"resources"`
	// ExpiresAt is when the presented secret stops working, or nil.
	ExpiresAt   *time.Time `json:"expires_at"`
	ExpiresSoon bool       `json:"expires_soon"`
	// Rotated reports whether a newer secret has replaced the presented one.
	Rotated bool `json:"rotated"`
	// RateLimit and Quota are nil if there is no such limit.
	RateLimit *OwnLimit `json:"rate_limit"`
	Quota     *OwnLimit `json:"quota"`
}

// OwnLimit is a limit of a client's own API key.
type OwnLimit struct {
	Requests int64 `json:"requests"`
	// Window is the rate limit's window, and Period the quota's period. The other one is empty.
	Window    string `json:"window,omitempty"`
	Period    string `json:"period,omitempty"`
	Remaining int64  `json:"remaining"`
	// ResetIn is the number of seconds until a quota's period ends. For a rate limit, it is the
	// number of seconds until all requests are available again, or until the next one if none are
	// left.
	ResetIn int64 `json:"reset_in"`
}

// ownKey is the route check for [OwnKeyPath].
func (d *Decision) ownKey(r *Request) {
	if r.Method != http.MethodGet {
		d.Refusal = refuseMethod(http.MethodGet)
		return
	}
	d.OwnKey = true
}
