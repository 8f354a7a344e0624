// Package client implements a client for Mollygate's admin API.
//
// A [Client] calls the API at one base URL: http://localhost:2019/api_tokens/v1 on Caddy's
// admin endpoint, or https://keys.example.com/api/v1 on a site with api_tokens_admin. The
// caller's [http.Client] connects to the server (for example over a unix socket) and adds
// the credential.
//
// # Errors
//
// Every method that fails returns one of these errors:
//
//   - [*Error]: the server refused the call;
//   - [*TransportError]: the response is missing or incomplete;
//   - any other error: the arguments are invalid and nothing was sent, or the response is
//     invalid.
//
// No error contains a token's secret.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Client calls an admin API. It is safe for concurrent use.
type Client struct {
	http *http.Client
	base string
}

// New returns a client for the API at baseURL, which ends with the API version, as in
// http://localhost:2019/api_tokens/v1. The API never redirects, so httpClient should not
// follow redirects.
func New(httpClient *http.Client, baseURL string) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("parsing the API's base URL: %w", err)
	}
	if base.Scheme == "" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("the API's base URL %q must have the form http://host/path", baseURL)
	}
	return &Client{http: httpClient, base: strings.TrimRight(baseURL, "/")}, nil
}

// call describes a request to the API and where to store the response.
type call struct {
	method string
	// path is relative to the base URL and starts with a slash.
	path  string
	query url.Values
	// header holds additional request headers.
	header http.Header
	// body is sent as JSON, or as it is if it is an [io.Reader]. Nil sends no body.
	body any
	// response is set to the body of a 2xx response. Nil discards the body.
	response *json.RawMessage
	// responseHeader is set to the header of a 2xx response. It may be nil.
	responseHeader *http.Header
}

// maxResponse is the maximum length of a response, in bytes. Even the largest page is
// smaller.
const maxResponse = 128 << 20

// do makes a call.
func (c *Client) do(ctx context.Context, call call) error {
	request, err := c.request(ctx, call)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return transportError(err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return readError(response)
	}
	if call.responseHeader != nil {
		*call.responseHeader = response.Header
	}
	if call.response == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return transportError(err)
	}
	if len(body) > maxResponse || !json.Valid(body) {
		return fmt.Errorf("the server's response to %s %s isn't JSON; is this Mollygate's admin API?", call.method,
			call.path)
	}
	*call.response = body
	return nil
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	body, binary := call.body.(io.Reader)
	if call.body != nil && !binary {
		text, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request as JSON: %w", err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	request.Header.Set("Accept", "application/json, application/problem+json")
	switch {
	case binary:
		request.Header.Set("Content-Type", "application/octet-stream")
	case body != nil:
		request.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(request.Header, call.header)
	return request, nil
}

// decode unmarshals a response.
func decode(response json.RawMessage, into any) error {
	if err := json.Unmarshal(response, into); err != nil {
		return errors.New("the server's response has an unexpected format: " + err.Error())
	}
	return nil
}
