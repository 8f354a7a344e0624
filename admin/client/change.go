package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// EditRequest is a merge patch (RFC 7396) for a token. Members that aren't in the map stay
// unchanged; nil removes a value.
type EditRequest map[string]any

// Edit changes a token. If version isn't 0, Edit fails unless the token still has that
// version. Like [Client.Get], it checks the ID first.
func (c *Client) Edit(ctx context.Context, id string, version uint64, request EditRequest) (Token, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Token{}, err
	}
	header := http.Header{"Content-Type": {"application/merge-patch+json"}}
	if version != 0 {
		header.Set("If-Match", `"`+strconv.FormatUint(version, 10)+`"`)
	}
	return c.token(ctx, call{method: http.MethodPatch, path: path, header: header, body: request})
}

// RotateRequest configures a token's rotation. Zero fields aren't sent.
type RotateRequest struct {
	// Grace is how long the old secret keeps working, for example "24h" or "0s".
	Grace     Lifetime  `json:"grace,omitempty"`
	ExpiresIn Lifetime  `json:"expires_in,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Rotate creates a new secret for a token and returns it. After a [*TransportError], the
// server may still have rotated the token, in which case the new secret is lost.
func (c *Client) Rotate(ctx context.Context, id string, request RotateRequest) (Created, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Created{}, err
	}
	return c.created(ctx, call{method: http.MethodPost, path: path + "/rotate", body: request})
}

// Revoke revokes a token permanently.
func (c *Client) Revoke(ctx context.Context, id string) (Token, error) {
	return c.act(ctx, id, "revoke")
}

// Disable disables a token until [Client.Enable] is called.
func (c *Client) Disable(ctx context.Context, id string) (Token, error) {
	return c.act(ctx, id, "disable")
}

// Enable enables a disabled token.
func (c *Client) Enable(ctx context.Context, id string) (Token, error) {
	return c.act(ctx, id, "enable")
}

func (c *Client) act(ctx context.Context, id, action string) (Token, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Token{}, err
	}
	return c.token(ctx, call{method: http.MethodPost, path: path + "/" + action})
}

// Lookup finds the token that a secret belongs to.
func (c *Client) Lookup(ctx context.Context, secret string) (Token, error) {
	return c.token(ctx, call{method: http.MethodPost, path: "/lookup", body: map[string]string{"token": secret}})
}

// Clock is the result of [Client.AcceptClock]: the times that the server used before and
// after the call.
type Clock struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Changed bool      `json:"changed"`
}

// AcceptClock makes the server accept its current clock after the clock wrongly ran ahead.
func (c *Client) AcceptClock(ctx context.Context) (clock Clock, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/clock"}, &clock)
	return clock, err
}

// token makes a call whose response is a token.
func (c *Client) token(ctx context.Context, call call) (token Token, err error) {
	err = c.value(ctx, call, &token)
	return token, err
}

// value makes a call and decodes its JSON response.
func (c *Client) value(ctx context.Context, call call, into any) error {
	var response json.RawMessage
	call.response = &response
	if err := c.do(ctx, call); err != nil {
		return err
	}
	return decode(response, into)
}
