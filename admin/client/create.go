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

// Created is a new token.
type Created struct {
	Token
	// Secret is shown this once.
	Secret Secret
}

// Create makes a token. After a [*TransportError] it may have been made all the
// same.
func (c *Client) Create(ctx context.Context, request CreateRequest) (Created, error) {
	var answer json.RawMessage
	if err := c.do(ctx, call{method: http.MethodPost, path: "/tokens", body: request, answer: &answer}); err != nil {
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
	if secret.Token == "" {
		return Created{}, errors.New("the server made token " + created.ID + " but didn't send it; delete it and try again")
	}
	created.Secret = Secret{text: secret.Token}
	return created, nil
}
