package client

import (
	"context"
	"net/http"

	"github.com/mollygate/mollygate/token"
)

// Get returns a token. An id that isn't one is refused before anything is sent,
// so that no secret given by mistake gets into a URL.
func (c *Client) Get(ctx context.Context, id string) (Token, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Token{}, err
	}
	return c.token(ctx, call{method: http.MethodGet, path: path})
}

// Delete removes a token; it stops working at once. Ids are checked as by
// [Client.Get].
func (c *Client) Delete(ctx context.Context, id string) error {
	path, err := tokenPath(id)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path})
}

func tokenPath(id string) (string, error) {
	parsed, err := token.ParseID(id)
	if err != nil {
		return "", err
	}
	return "/tokens/" + parsed.String(), nil
}
