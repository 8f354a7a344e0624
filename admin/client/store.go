package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Backup is a copy of the token store, read from the server.
type Backup struct {
	io.ReadCloser
	// Length is the length of the copy in bytes, or -1 if it is unknown.
	Length int64
	// Damaged is the number of tokens missing from the copy because they can't be read.
	Damaged int
	// Unsaved is the number of tokens whose latest usage is missing from the copy because
	// the server can't save it.
	Unsaved int
}

// open gets a response that is read as it arrives. The caller must close its body.
func (c *Client) open(ctx context.Context, path, accept string) (*http.Response, error) {
	request, err := c.request(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept+", application/problem+json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, transportError(err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, readError(response)
	}
	return response, nil
}

// Backup returns a copy of the token store. The caller must close the copy.
func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	response, err := c.open(ctx, "/backup", "application/octet-stream")
	if err != nil {
		return nil, err
	}
	number := func(header string) int {
		n, _ := strconv.Atoi(response.Header.Get(header)) // 0 if it is missing
		return n
	}
	return &Backup{response.Body, response.ContentLength, number("Mollygate-Damaged-Tokens"),
		number("Mollygate-Unsaved-Tokens")}, nil
}

// Restored is what a restored backup contains.
type Restored struct {
	Tokens       int `json:"tokens"`
	AuditEntries int `json:"audit_entries"`
}

// Restore replaces a token store that several gates share with a backup. Only Caddy's admin
// endpoint accepts it.
func (c *Client) Restore(ctx context.Context, backup io.Reader) (restored Restored, err error) {
	// The server can refuse the call before the file is sent.
	err = c.value(ctx, call{method: http.MethodPost, path: "/restore", body: backup,
		header: http.Header{"Expect": {"100-continue"}}}, &restored)
	return restored, err
}

// Compacted holds the lengths of the store's file before and after the rebuild, in bytes.
type Compacted struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Compact makes the server rebuild the store's file.
func (c *Client) Compact(ctx context.Context) (compacted Compacted, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/compact"}, &compacted)
	return compacted, err
}

// ImportRequest describes an import of a Mollymawk user's tokens. Zero fields aren't sent.
type ImportRequest struct {
	Account string   `json:"account,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Preset  string   `json:"preset,omitempty"`
	// Data is the user record from Mollymawk's /api/login response. It contains secrets.
	Data json.RawMessage `json:"data"`
}

// Imported is the result of an import.
type Imported struct {
	IDs     []string         `json:"imported"`
	Skipped []SkippedImport  `json:"skipped"`
	Capped  []CappedImported `json:"capped"`
}

// SkippedImport is a token that wasn't imported.
type SkippedImport struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// CappedImported is an imported token whose lifetime was shortened to max_lifetime.
type CappedImported struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Import imports tokens. It is safe to repeat: the server skips tokens that are already
// imported.
func (c *Client) Import(ctx context.Context, request ImportRequest) (imported Imported, err error) {
	body := struct {
		Format string `json:"format"`
		ImportRequest
	}{"mollymawk", request}
	err = c.value(ctx, call{method: http.MethodPost, path: "/import", body: body}, &imported)
	return imported, err
}
