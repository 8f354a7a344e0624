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

// CreateRequest describes a token to be made. What is zero isn't sent, and the
// server's default holds.
type CreateRequest struct {
	// IdempotencyKey makes a repeat of the request harmless for 24 hours.
	IdempotencyKey string `json:"-"`

	Name    string `json:"name,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Account string `json:"account,omitempty"`

	ExpiresIn Lifetime  `json:"expires_in,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`

	Scopes     []string          `json:"scopes,omitempty"`
	Preset     string            `json:"preset,omitempty"`
	AllowedIPs []string          `json:"allowed_ips,omitempty"`
	RateLimit  *RateLimit        `json:"rate_limit,omitempty"`
	Quota      *Quota            `json:"quota,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Lifetime is how long a token lives: "12h", "90d", "6mo", "2y", "never", or
// digits alone for seconds.
type Lifetime string

// MarshalJSON writes digits as the number of seconds that the API wants, all else
// as the text it is.
func (l Lifetime) MarshalJSON() ([]byte, error) {
	if l != "" && strings.Trim(string(l), "0123456789") == "" {
		if seconds, err := strconv.ParseInt(string(l), 10, 64); err == nil {
			return strconv.AppendInt(nil, seconds, 10), nil
		}
	}
	return json.Marshal(string(l))
}

// Created is a token with the secret that was made for it.
type Created struct {
	Token
	// Secret is shown this once. It is empty if the request was a repeat.
	Secret Secret
	// Replayed says that the token was made by an earlier request with the same
	// IdempotencyKey.
	Replayed bool
}

// Create makes a token. After a [*TransportError] it may have been made all the
// same; with an IdempotencyKey it can be asked again.
func (c *Client) Create(ctx context.Context, request CreateRequest) (Created, error) {
	call := call{method: http.MethodPost, path: "/tokens", body: request}
	if request.IdempotencyKey != "" {
		call.header = http.Header{"Idempotency-Key": {request.IdempotencyKey}}
	}
	return c.created(ctx, call)
}

// created makes a call that is answered with a token and its secret.
func (c *Client) created(ctx context.Context, call call) (Created, error) {
	var (
		answer json.RawMessage
		header http.Header
	)
	call.answer, call.answered = &answer, &header
	if err := c.do(ctx, call); err != nil {
		return Created{}, err
	}
	var created Created
	if err := decode(answer, &created.Token); err != nil {
		return Created{}, err
	}
	// Token has an UnmarshalJSON of its own, so the secret is read apart.
	var secret struct {
		Token string `json:"token"`
	}
	if err := decode(answer, &secret); err != nil {
		return Created{}, err
	}
	created.Replayed = header.Get("Idempotency-Replayed") == "true"
	if secret.Token == "" && !created.Replayed {
		return Created{},
			errors.New("the server made a secret for token " + created.ID +
				" but didn't send it; rotate it, or delete it and try again")
	}
	created.Secret = Secret{text: secret.Token}
	return created, nil
}
