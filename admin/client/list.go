package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxPage is the maximum number of items that the server returns in one page.
const MaxPage = 200

// ListQuery selects tokens. Fields with zero values don't filter.
type ListQuery struct {
	// Limit is the page size, at most MaxPage. 0 means the server's default.
	Limit int
	// Cursor is the NextCursor of the previous page.
	Cursor string
	// Sort is the name of a field, prefixed with "-" for descending order.
	Sort string
	// Q is part of a name or the start of an ID. It must not be a complete token, because
	// servers log URLs.
	Q       string
	Kind    string
	Status  string
	Account string
	// Owner and Tag select by the metadata "owner" and "tags".
	Owner string
	Tag   string
	Scope string
	// NeverUsed selects tokens that have never been used (true) or have been used (false).
	// Nil selects both.
	NeverUsed *bool
	// UnusedSince selects tokens that were neither used nor created since that time.
	UnusedSince time.Time
	// ExpiresBefore selects tokens that expire before that time.
	ExpiresBefore time.Time
	// Count requests the total number of selected tokens. The server scans all tokens to
	// count them.
	Count bool
}

func (q ListQuery) values() url.Values {
	values := url.Values{}
	for name, value := range map[string]string{
		"cursor": q.Cursor, "sort": q.Sort, "q": q.Q, "kind": q.Kind, "status": q.Status, "account": q.Account,
		"owner": q.Owner, "tag": q.Tag, "scope": q.Scope,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.NeverUsed != nil {
		values.Set("never_used", strconv.FormatBool(*q.NeverUsed))
	}
	for name, at := range map[string]time.Time{"unused_since": q.UnusedSince, "expires_before": q.ExpiresBefore} {
		if !at.IsZero() {
			values.Set(name, at.UTC().Format(time.RFC3339))
		}
	}
	if q.Count {
		values.Set("count", "true")
	}
	return values
}

// Page is one page of a token list.
type Page struct {
	Tokens []Token `json:"data"`
	// NextCursor is the cursor of the next page. It is empty on the last page.
	NextCursor string `json:"next_cursor"`
	// Total is the total number of selected tokens, or nil if the query didn't set Count.
	Total *int `json:"total"`
}

// List returns one page of the selected tokens.
func (c *Client) List(ctx context.Context, query ListQuery) (page Page, err error) {
	err = c.value(ctx, call{method: http.MethodGet, path: "/tokens", query: query.values()}, &page)
	return page, err
}

// Pages returns an iterator over the pages from the query's cursor to the last page. It
// stops after the first error. Only the first page has a Total.
func (c *Client) Pages(ctx context.Context, query ListQuery) iter.Seq2[Page, error] {
	return pages("list", query.Cursor, func(cursor string) (Page, string, error) {
		query.Cursor = cursor
		page, err := c.List(ctx, query)
		query.Count = false
		return page, page.NextCursor, err
	})
}
