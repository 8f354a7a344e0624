package admin

import (
	_ "embed"
)

// description is the API in OpenAPI 3.1. A test holds it against what the API
// really takes and answers.
//
//go:embed openapi.json
var description []byte

func (c *call) describe() *Refusal {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = c.w.Write(description) // the client may be gone
	return nil
}
