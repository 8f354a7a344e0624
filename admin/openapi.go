package admin

import (
	_ "embed"
)

// openAPI describes the API in OpenAPI 3.1. A test compares it with the implementation.
//
//go:embed openapi.json
var openAPI []byte

func (c *call) describe() *Refusal {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = c.w.Write(openAPI) // the client may be gone
	return nil
}
