package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// Backup returns a copy of the server's store and its length in bytes. The caller
// closes it; a copy that breaks off gives io.ErrUnexpectedEOF.
func (c *Client) Backup(ctx context.Context) (io.ReadCloser, int64, error) {
	request, err := c.request(ctx, call{method: http.MethodGet, path: "/backup"})
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/octet-stream, application/problem+json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, 0, transportError(err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, 0, readError(response)
	}
	return response.Body, response.ContentLength, nil
}

// ImportRequest takes over the tokens of one of Mollymawk's users. What is zero
// isn't sent.
type ImportRequest struct {
	Account string   `json:"account,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Preset  string   `json:"preset,omitempty"`
	// Data is the user record that Mollymawk's /api/login answers with. It holds
	// secrets.
	Data json.RawMessage `json:"data"`
}

// Imported says what became of the tokens of an import.
type Imported struct {
	IDs     []string         `json:"imported"`
	Skipped []SkippedImport  `json:"skipped"`
	Capped  []CappedImported `json:"capped"`
}

// SkippedImport is a token that wasn't taken over.
type SkippedImport struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// CappedImported is a token whose end was moved to what max_lifetime allows.
type CappedImported struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Import takes over tokens. Doing it again is harmless.
func (c *Client) Import(ctx context.Context, request ImportRequest) (imported Imported, err error) {
	body := struct {
		Format string `json:"format"`
		ImportRequest
	}{"mollymawk", request}
	err = c.value(ctx, call{method: http.MethodPost, path: "/import", body: body}, &imported)
	return imported, err
}
