package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// EditRequest changes members of a token: a merge patch (RFC 7396). Only what is
// put in is changed; nil removes what is there.
type EditRequest map[string]any

// Edit changes a token. With a version other than 0 it is changed only if it still
// has that. Ids are checked as by [Client.Get].
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

// RotateRequest says how a token gets its new secret. What is zero isn't sent.
type RotateRequest struct {
	// Grace is how long the old secret works on: "24h", "0s".
	Grace     Lifetime  `json:"grace,omitempty"`
	ExpiresIn Lifetime  `json:"expires_in,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Rotate gives a token a new secret, which is in the answer. After a
// [*TransportError] it may have been made all the same, and is lost.
func (c *Client) Rotate(ctx context.Context, id string, request RotateRequest) (Created, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Created{}, err
	}
	return c.created(ctx, call{method: http.MethodPost, path: path + "/rotate", body: request})
}

// Revoke ends a token permanently.
func (c *Client) Revoke(ctx context.Context, id string) (Token, error) {
	return c.act(ctx, id, "revoke")
}

// Disable stops a token until [Client.Enable].
func (c *Client) Disable(ctx context.Context, id string) (Token, error) {
	return c.act(ctx, id, "disable")
}

// Enable undoes [Client.Disable].
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

// Clock is what counted as the time before and after it was set right.
type Clock struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Changed bool      `json:"changed"`
}

// AcceptClock makes the server take its clock for right.
func (c *Client) AcceptClock(ctx context.Context) (clock Clock, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/clock"}, &clock)
	return clock, err
}

// token makes a call that is answered with a token.
func (c *Client) token(ctx context.Context, call call) (token Token, err error) {
	err = c.value(ctx, call, &token)
	return token, err
}

// value makes a call and reads the part of its answer that is of interest.
func (c *Client) value(ctx context.Context, call call, into any) error {
	var answer json.RawMessage
	call.answer = &answer
	if err := c.do(ctx, call); err != nil {
		return err
	}
	return decode(answer, into)
}
