package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditQuery selects audit log entries. Fields with zero values don't filter.
type AuditQuery struct {
	// Limit is the page size, at most MaxPage. 0 means the server's default.
	Limit int
	// Cursor is the NextCursor of the previous page.
	Cursor  string
	TokenID string
	Actor   string
	Action  string
}

func (q AuditQuery) values() url.Values {
	values := url.Values{}
	for name, value := range map[string]string{"cursor": q.Cursor, "token_id": q.TokenID, "actor": q.Actor,
		"action": q.Action} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return values
}

// AuditEntry is an audit log entry.
type AuditEntry struct {
	Time      time.Time         `json:"time"`
	Actor     string            `json:"actor"`
	Action    string            `json:"action"`
	TokenID   string            `json:"token_id"`
	TokenName string            `json:"token_name"`
	Address   string            `json:"address"`
	Changes   map[string]string `json:"changes"`

	raw json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler]. It keeps a copy of the JSON text for
// [AuditEntry.JSON].
func (e *AuditEntry) UnmarshalJSON(text []byte) error {
	type plain AuditEntry
	var p plain
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	*e = AuditEntry(p)
	e.raw = append(json.RawMessage(nil), text...)
	return nil
}

// JSON returns the object as the server sent it.
func (e AuditEntry) JSON() json.RawMessage { return e.raw }

// AuditPage is a page of the audit log, newest entry first.
type AuditPage struct {
	Entries []AuditEntry `json:"data"`
	// NextCursor is the cursor of the next page. It is empty on the last page.
	NextCursor string `json:"next_cursor"`
}

// AuditPages returns an iterator over the pages from the query's cursor to the last page.
// It stops after the first error.
func (c *Client) AuditPages(ctx context.Context, query AuditQuery) iter.Seq2[AuditPage, error] {
	return pages("audit log", query.Cursor, func(cursor string) (page AuditPage, next string, err error) {
		query.Cursor = cursor
		err = c.value(ctx, call{method: http.MethodGet, path: "/audit", query: query.values()}, &page)
		return page, page.NextCursor, err
	})
}
