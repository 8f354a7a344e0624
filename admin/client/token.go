package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// StatusExpiring is a filter for [ListQuery], not a status that tokens can have. It
// selects the active tokens that expire within the server's warn_before and have at most a
// quarter of their lifetime left.
const StatusExpiring = "expiring"

// Token is a token as the API returns it. Times are in UTC. Zero times, empty strings and
// slices, and nil pointers represent null.
type Token struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	TokenHint string `json:"token_hint"`
	// Status is active, expired, not_yet_valid, disabled, revoked or damaged.
	Status string `json:"status"`
	// Account is empty for admin tokens.
	Account    string            `json:"account"`
	Scopes     []string          `json:"scopes"`
	Resources  []string          `json:"resources"`
	AllowedIPs []string          `json:"allowed_ips"`
	RateLimit  *RateLimit        `json:"rate_limit"`
	Quota      *Quota            `json:"quota"`
	Metadata   map[string]string `json:"metadata"`

	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	UpdatedAt time.Time `json:"updated_at"`
	NotBefore time.Time `json:"not_before"`
	ExpiresAt time.Time `json:"expires_at"`
	// ExpiresSoon reports whether the token is active and expires soon; see StatusExpiring.
	ExpiresSoon        bool      `json:"expires_soon"`
	RevokedAt          time.Time `json:"revoked_at"`
	PreviousValidUntil time.Time `json:"previous_valid_until"`

	UsageCount        uint64    `json:"usage_count"`
	DeniedCount       uint64    `json:"denied_count"`
	LastUsedAt        time.Time `json:"last_used_at"`
	LastUsedIP        string    `json:"last_used_ip"`
	LastUsedUserAgent string    `json:"last_used_user_agent"`
	LastUsedRoute     string    `json:"last_used_route"`

	Format  string `json:"format"`
	Version uint64 `json:"version"`

	// raw is the object as the server sent it, including members unknown to this client.
	raw json.RawMessage
}

// RateLimit allows bursts of up to Requests requests. The allowance refills evenly over
// Window.
type RateLimit struct {
	Requests int64 `json:"requests"`
	// Window is a duration such as "1m".
	Window string `json:"window"`
}

// Quota is the number of requests allowed per calendar period.
type Quota struct {
	Requests int64 `json:"requests"`
	// Period is "day" or "month".
	Period string `json:"period"`
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps a copy of the JSON text for
// [Token.JSON].
func (t *Token) UnmarshalJSON(text []byte) error {
	type plain Token
	var p plain
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	*t = Token(p)
	t.raw = append(json.RawMessage(nil), text...)
	return nil
}

// JSON returns the object as the server sent it. For a newly created or rotated token, it
// includes the secret.
func (t Token) JSON() json.RawMessage { return t.raw }

// String returns the name and the ID, so printing a Token never reveals a secret.
func (t Token) String() string { return fmt.Sprintf("%q (%s)", t.Name, t.ID) }

// GoString returns the same text as String, so %#v doesn't print a secret either.
func (t Token) GoString() string { return t.String() }

// Secret is the secret of a newly created or rotated token. Printing a Secret doesn't
// reveal it; only [Secret.Reveal] does.
type Secret struct {
	text string
}

// Reveal returns the secret.
func (s Secret) Reveal() string { return s.text }

// String returns a placeholder for the secret.
func (Secret) String() string { return "[secret]" }

// GoString returns the same text as String.
func (s Secret) GoString() string { return s.String() }
