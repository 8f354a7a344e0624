package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Backup is a copy of the token store that is being received.
type Backup struct {
	io.ReadCloser
	// Length is its length in bytes, or -1 if that is unknown.
	Length int64
	// Damaged is how many tokens it lacks because they can't be read.
	Damaged int
	// Unsaved is of how many tokens it lacks the last counts, because they can't be saved.
	Unsaved int
}

// Backup asks for a copy of the token store. The caller closes it.
func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	request, err := c.request(ctx, call{method: http.MethodGet, path: "/backup"})
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/octet-stream, application/problem+json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, transportError(err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, readError(response)
	}
	number := func(header string) int {
		n, _ := strconv.Atoi(response.Header.Get(header)) // 0 if it is missing
		return n
	}
	return &Backup{response.Body, response.ContentLength, number("Mollygate-Damaged-Tokens"),
		number("Mollygate-Unsaved-Tokens")}, nil
}

// Compacted is the length of the store's file in bytes, before and after it was rebuilt.
type Compacted struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Compact makes the server rebuild the store's file.
func (c *Client) Compact(ctx context.Context) (compacted Compacted, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/compact"}, &compacted)
	return compacted, err
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
