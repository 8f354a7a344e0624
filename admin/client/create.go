package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CreateRequest describes a new token. Zero fields aren't sent, so the server's defaults
// apply.
type CreateRequest struct {
	// IdempotencyKey makes it safe to repeat the request within 24 hours: the server
	// creates only one token.
	IdempotencyKey string `json:"-"`

	Name    string `json:"name,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Account string `json:"account,omitempty"`

	ExpiresIn Lifetime  `json:"expires_in,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`

	Scopes     []string          `json:"scopes,omitempty"`
	Preset     string            `json:"preset,omitempty"`
	Resources  []string          `json:"resources,omitempty"`
	AllowedIPs []string          `json:"allowed_ips,omitempty"`
	RateLimit  *RateLimit        `json:"rate_limit,omitempty"`
	Quota      *Quota            `json:"quota,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Lifetime is a token's lifetime: "12h", "90d", "6mo", "2y", "never", or a number of
// seconds in digits.
type Lifetime string

// MarshalJSON implements [json.Marshaler]. It writes digits as a number and anything else
// as a string.
func (l Lifetime) MarshalJSON() ([]byte, error) {
	if l != "" && strings.Trim(string(l), "0123456789") == "" {
		if seconds, err := strconv.ParseInt(string(l), 10, 64); err == nil {
			return strconv.AppendInt(nil, seconds, 10), nil
		}
	}
	return json.Marshal(string(l))
}

// Created is a token with its newly generated secret.
type Created struct {
	Token
	// Secret is sent only once. It is empty if Replayed is true.
	Secret Secret
	// Replayed reports whether an earlier request with the same IdempotencyKey created the
	// token.
	Replayed bool
}

// Create creates a token. After a [*TransportError], the server may still have created the
// token. If the request has an IdempotencyKey, it is safe to repeat.
func (c *Client) Create(ctx context.Context, request CreateRequest) (Created, error) {
	call := call{method: http.MethodPost, path: "/tokens", body: request}
	if request.IdempotencyKey != "" {
		call.header = http.Header{"Idempotency-Key": {request.IdempotencyKey}}
	}
	return c.created(ctx, call)
}

// created makes a call whose response contains a token and its secret.
func (c *Client) created(ctx context.Context, call call) (Created, error) {
	var (
		response json.RawMessage
		header   http.Header
	)
	call.response, call.responseHeader = &response, &header
	if err := c.do(ctx, call); err != nil {
		return Created{}, err
	}
	var created Created
	if err := decode(response, &created.Token); err != nil {
		return Created{}, err
	}
	// Token has its own UnmarshalJSON, so the secret is decoded separately.
	var secret struct {
		Token string `json:"token"`
	}
	if err := decode(response, &secret); err != nil {
		return Created{}, err
	}
	created.Replayed = header.Get("Idempotency-Replayed") == "true"
	if secret.Token == "" && !created.Replayed {
		return Created{},
			errors.New("the server created a secret for token " + created.ID +
				" but didn't send it; rotate the token, or delete it and try again")
	}
	created.Secret = Secret{text: secret.Token}
	return created, nil
}
