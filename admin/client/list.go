package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxPage is the most tokens that the server gives in one page.
const MaxPage = 200

// ListQuery chooses tokens. What is zero isn't asked for.
type ListQuery struct {
	// Limit is the size of a page, up to MaxPage; 0 is the server's default.
	Limit int
	// Cursor is the NextCursor of the page before.
	Cursor string
	// Sort is a field's name, with "-" before it for descending.
	Sort string
	// Q is part of a name, or the beginning of an id. A whole token must not be
	// sent: URLs are logged.
	Q       string
	Status  string
	Account string
	Scope   string
	// NeverUsed asks for tokens that never were, or that were, used; nil for both.
	NeverUsed *bool
	// UnusedSince asks for tokens that were neither used nor made since.
	UnusedSince time.Time
	// Count asks for the number of all tokens chosen, which the server finds out by
	// looking at all there are.
	Count bool
}

func (q ListQuery) values() url.Values {
	values := url.Values{}
	for name, value := range map[string]string{
		"cursor": q.Cursor, "sort": q.Sort, "q": q.Q, "status": q.Status, "account": q.Account, "scope": q.Scope,
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
	if !q.UnusedSince.IsZero() {
		values.Set("unused_since", q.UnusedSince.UTC().Format(time.RFC3339))
	}
	if q.Count {
		values.Set("count", "true")
	}
	return values
}

// Page is part of the list of tokens.
type Page struct {
	Tokens []Token `json:"data"`
	// NextCursor leads to the next page; it is empty on the last.
	NextCursor string `json:"next_cursor"`
	// Total is the number of all tokens chosen, if it was asked for.
	Total *int `json:"total"`
}

// List returns one page.
func (c *Client) List(ctx context.Context, query ListQuery) (page Page, err error) {
	err = c.value(ctx, call{method: http.MethodGet, path: "/tokens", query: query.values()}, &page)
	return page, err
}

// Pages goes from the query's page to the last. It ends after the first error.
// Only the first page has a Total.
func (c *Client) Pages(ctx context.Context, query ListQuery) iter.Seq2[Page, error] {
	return pages("list", query.Cursor, func(cursor string) (Page, string, error) {
		query.Cursor = cursor
		page, err := c.List(ctx, query)
		query.Count = false
		return page, page.NextCursor, err
	})
}
