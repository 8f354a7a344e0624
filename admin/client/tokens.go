package client

import (
	"context"
	"net/http"

	"github.com/mollygate/mollygate/token"
)

// Get returns a token. It fails without sending anything if the ID is malformed, so a
// secret passed by mistake never ends up in a URL.
func (c *Client) Get(ctx context.Context, id string) (Token, error) {
	path, err := tokenPath(id)
	if err != nil {
		return Token{}, err
	}
	return c.token(ctx, call{method: http.MethodGet, path: path})
}

// Delete deletes a token, which stops working immediately. Like [Client.Get], it checks the
// ID first.
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
