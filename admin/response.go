package admin

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// respond writes a value as JSON. Callers set additional headers first.
func (c *call) respond(status int, value any) *Refusal {
	body, err := json.Marshal(value, json.Deterministic(true), jsontext.AllowInvalidUTF8(true),
		json.FormatNilSliceAsNull(true), json.FormatNilMapAsNull(true))
	if err != nil {
		return c.storeRefusal(err) // can't happen: all response types are marshalable
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, _ = c.send(bytes.NewReader(body), int64(len(body))) // the client may be gone
	return nil
}

// respondWithToken responds to a change with the changed token.
func (c *call) respondWithToken(store *tokenstore.Store, token *token.Token) *Refusal {
	found := c.withUsage(store, token)
	c.w.Header().Set("ETag", tagOf(token))
	return c.respond(http.StatusOK, c.object(token, found.Usage, store.Now()))
}

// withUsage returns a changed token with its usage. It logs errors instead of returning
// them, because the change is already saved and failing the call would lose a new secret.
func (c *call) withUsage(store *tokenstore.Store, token *token.Token) tokenstore.TokenUsage {
	found, err := store.WithUsage(token)
	if err != nil {
		c.Logger.Error("reading a token's usage failed", zap.Stringer("token_id", token.ID), zap.Error(err))
		return tokenstore.TokenUsage{Token: token}
	}
	return found
}

// object is a token as the API returns it. Missing values are null.
type object struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	TokenHint  textOrNull `json:"token_hint"`
	Status     string     `json:"status"`
	Account    textOrNull `json:"account"`
	Scopes     []string   `json:"scopes"`
	Resources  []string   `json:"resources"`
	AllowedIPs []string   `json:"allowed_ips"`

	RateLimit *rateLimitObject  `json:"rate_limit"`
	Quota     *quotaObject      `json:"quota"`
	Metadata  map[string]string `json:"metadata"`

	CreatedAt          timeOrNull `json:"created_at"`
	CreatedBy          textOrNull `json:"created_by"`
	UpdatedAt          timeOrNull `json:"updated_at"`
	NotBefore          timeOrNull `json:"not_before"`
	ExpiresAt          timeOrNull `json:"expires_at"`
	ExpiresSoon        bool       `json:"expires_soon"`
	RevokedAt          timeOrNull `json:"revoked_at"`
	PreviousValidUntil timeOrNull `json:"previous_valid_until"`

	UsageCount        uint64     `json:"usage_count"`
	DeniedCount       uint64     `json:"denied_count"`
	LastUsedAt        timeOrNull `json:"last_used_at"`
	LastUsedIP        textOrNull `json:"last_used_ip"`
	LastUsedUserAgent textOrNull `json:"last_used_user_agent"`
	LastUsedRoute     textOrNull `json:"last_used_route"`

	Format  string `json:"format"`
	Version uint64 `json:"version"`
}

type rateLimitObject struct {
	Requests int64  `json:"requests"`
	Window   string `json:"window"`
}

type quotaObject struct {
	Requests int64  `json:"requests"`
	Period   string `json:"period"`
}

// tokenWithSecret is a token with its newly generated secret. No other response contains
// the secret.
type tokenWithSecret struct {
	object
	Token string `json:"token"`
}

// damagedName replaces the name of a token whose record can't be read.
const damagedName = "(damaged)"

func (a *api) object(t *token.Token, usage tokenstore.Usage, now time.Time) object {
	o := object{
		ID:         t.ID.String(),
		Kind:       t.Kind.String(),
		Name:       t.Name,
		TokenHint:  textOrNull(t.Hint()),
		Status:     t.Status(now).String(),
		Account:    textOrNull(t.Account),
		CreatedAt:  timeOrNull(t.CreatedAt),
		CreatedBy:  textOrNull(t.CreatedBy),
		UpdatedAt:  timeOrNull(t.UpdatedAt),
		NotBefore:  timeOrNull(t.NotBefore),
		ExpiresAt:  timeOrNull(t.ExpiresAt),
		RevokedAt:  timeOrNull(t.RevokedAt),
		UsageCount: usage.Allowed, DeniedCount: usage.Denied,
		LastUsedAt:        timeOrNull(usage.Last.Time),
		LastUsedIP:        textOrNull(usage.Last.IP),
		LastUsedUserAgent: textOrNull(usage.Last.UserAgent),
		LastUsedRoute:     textOrNull(usage.Last.Route),

		PreviousValidUntil: timeOrNull(t.PreviousValidUntil),

		Format:  t.Format.String(),
		Version: t.Version,
	}
	if t.Damaged {
		o.Name, o.TokenHint, o.Format = damagedName, "", "unknown"
	}
	o.ExpiresSoon = t.Status(now) == token.StatusActive && t.ExpiresSoon(a.WarnBefore, now)
	if len(t.Scopes) > 0 {
		o.Scopes = t.Scopes
	}
	if len(t.Resources) > 0 {
		o.Resources = t.Resources
	}
	for _, prefix := range t.AllowedIPs {
		o.AllowedIPs = append(o.AllowedIPs, prefix.String())
	}
	if limit := t.RateLimit; limit != (token.RateLimit{}) {
		o.RateLimit = &rateLimitObject{limit.Requests, token.FormatWindow(limit.Window)}
	}
	if quota := t.Quota; quota != (token.Quota{}) {
		o.Quota = &quotaObject{quota.Requests, quota.Period.String()}
	}
	if len(t.Metadata) > 0 {
		o.Metadata = t.Metadata
	}
	return o
}

// textOrNull is a string that marshals to null if it is empty.
type textOrNull string

// MarshalJSONTo implements json.MarshalerTo.
func (m textOrNull) MarshalJSONTo(enc *jsontext.Encoder) error {
	if m == "" {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteToken(jsontext.String(string(m)))
}

// timeOrNull is a time that marshals to RFC 3339 in UTC with whole seconds, or to null if
// it is zero.
type timeOrNull time.Time

// MarshalJSONTo implements json.MarshalerTo.
func (m timeOrNull) MarshalJSONTo(enc *jsontext.Encoder) error {
	t := time.Time(m)
	if t.IsZero() {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteToken(jsontext.String(t.UTC().Format(time.RFC3339)))
}

var (
	_ json.MarshalerTo = textOrNull("")
	_ json.MarshalerTo = timeOrNull{}
	_ http.Handler     = (*api)(nil)
)
