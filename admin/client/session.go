package client

import (
	"context"
	"net/http"
	"time"
)

// SignInLink is a one-time link that signs a browser in.
type SignInLink struct {
	// Code is secret.
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
}

// URL returns the link's address at a dashboard's address, which ends with a slash. Browsers
// don't send the part after the "#" to any server.
func (l SignInLink) URL(dashboard string) string { return dashboard + "#signin=" + l.Code }

// CreateSignInLink creates a link that signs a browser in with the caller's rights.
func (c *Client) CreateSignInLink(ctx context.Context) (link SignInLink, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/sign-in-links"}, &link)
	return link, err
}

// EndSignInLinks ends the caller's sign-in links and sessions.
func (c *Client) EndSignInLinks(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/sign-in-links"})
}
