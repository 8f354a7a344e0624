package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// StatusExpiring is a status that a [ListQuery] may ask for, and no token's own. It
// means the active tokens that expire within the server's warn_before and have no more
// than a quarter of their life left.
const StatusExpiring = "expiring"

// Token is what the API says of a token. Times are UTC; a zero time, an empty
// list or a nil pointer is the API's null.
type Token struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	TokenHint string `json:"token_hint"`
	// Status is active, expired, not_yet_valid, disabled or revoked.
	Status string `json:"status"`
	// Account is empty for admin tokens.
	Account    string            `json:"account"`
	Scopes     []string          `json:"scopes"`
	AllowedIPs []string          `json:"allowed_ips"`
	RateLimit  *RateLimit        `json:"rate_limit"`
	Quota      *Quota            `json:"quota"`
	Metadata   map[string]string `json:"metadata"`

	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	UpdatedAt time.Time `json:"updated_at"`
	NotBefore time.Time `json:"not_before"`
	ExpiresAt time.Time `json:"expires_at"`
	// ExpiresSoon says that the token is active and near its end; see StatusExpiring.
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

	// raw is the object as it came, with members that this client may not know.
	raw json.RawMessage
}

// RateLimit is so many requests at once, refilled evenly over the window.
type RateLimit struct {
	Requests int64 `json:"requests"`
	// Window is a duration like "1m".
	Window string `json:"window"`
}

// Quota is how many requests a period has.
type Quota struct {
	Requests int64 `json:"requests"`
	// Period is a name like "month".
	Period string `json:"period"`
}

// UnmarshalJSON reads the API's object and keeps its text for [Token.JSON].
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

// JSON returns the object as the server sent it. Of a token just created that
// includes its secret.
func (t Token) JSON() json.RawMessage { return t.raw }

// String returns name and id, so that printing a Token never prints a secret.
func (t Token) String() string { return fmt.Sprintf("%q (%s)", t.Name, t.ID) }

// GoString is String, so that %#v doesn't print a secret either.
func (t Token) GoString() string { return t.String() }

// Secret is the text of a token just created. It doesn't print; only
// [Secret.Reveal] gives the text away.
type Secret struct {
	text string
}

// Reveal returns the whole token.
func (s Secret) Reveal() string { return s.text }

// String returns a mark in place of the secret.
func (Secret) String() string { return "[secret]" }

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }
