package admin

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mollygate/mollygate/token"
)

// defaultGrace is how long the old secret keeps working if the request doesn't specify it.
const defaultGrace = 24 * time.Hour

// rotateInput is the body of POST /tokens/{id}/rotate.
type rotateInput struct {
	Grace     *grace    `json:"grace"`
	ExpiresAt timestamp `json:"expires_at"`
	ExpiresIn lifetime  `json:"expires_in"`
}

func (c *call) rotateToken() *Refusal {
	if _, given := c.r.Header["Idempotency-Key"]; given {
		// Repeating a rotation would replace the secret that the first rotation created.
		return refuseError(codeInvalidHeader, "Rotations can't be repeated, so Idempotency-Key isn't supported. "+
			"If the response was lost, check the token and rotate it again.")
	}
	var in rotateInput
	if refusal := c.decodeOptional(&in); refusal != nil {
		return refusal
	}
	store, version, refusal := c.change()
	if refusal != nil {
		return refusal
	}
	rotation := token.Rotation{Grace: defaultGrace, Expiry: expiry(in.ExpiresIn, in.ExpiresAt), Version: version}
	if in.Grace != nil {
		rotation.Grace = in.Grace.from(store.Now())
	}
	token, secret, err := store.Rotate(c.Policy, c.id, rotation, c.actor)
	if err != nil {
		return c.changeRefusal(err)
	}
	c.logChange("token rotated", token)
	found := c.withUsage(store, token)
	c.w.Header().Set("ETag", tagOf(token))
	return c.respond(http.StatusOK, tokenWithSecret{object: c.object(token, found.Usage, store.Now()),
		Token: secret.Reveal()})
}

// grace is a lifetime that may also be zero: "0s" or 0.
type grace struct {
	lifetime
	none bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (g *grace) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	value, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch string(value) {
	case `0`, `"0s"`, `"0h"`, `"0d"`:
		*g = grace{none: true}
		return nil
	}
	if err := json.Unmarshal(value, &g.lifetime); err != nil {
		return err
	}
	if g.never {
		return ruleError(`can't be "never": ` + lifetimeForms + `; "0s" stops the old secret immediately`)
	}
	return nil
}

// from returns the duration of a grace period that starts now.
func (g *grace) from(now time.Time) time.Duration {
	end, err := g.From(now)
	switch {
	case g.none:
		return 0
	case err != nil: // ends after the last representable time
		return 1<<63 - 1
	}
	return end.Sub(now)
}

var _ json.UnmarshalerFrom = (*grace)(nil)
