// Package client speaks Mollygate's admin API.
//
// A [Client] is made for one mount of the API: on Caddy's admin endpoint that is
// http://localhost:2019/api_tokens/v1, on a site with api_tokens_admin it is
// https://keys.example.com/api/v1. How to get there (a unix socket, a credential)
// is the business of the [http.Client] that is handed in.
//
// # Errors
//
// Every method fails with one of
//
//   - [*Error]: the server answered, and refused;
//   - [*TransportError]: no answer came, or it broke off;
//   - another error: the call was wrong and nothing was sent, or the answer made
//     no sense.
//
// No error repeats a token's secret.
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

// Client calls one admin API. It may be used by any number of goroutines.
type Client struct {
	http *http.Client
	base string
}

// New returns a client of the API that is mounted at baseURL, which ends in the
// API's version: http://localhost:2019/api_tokens/v1. The API never redirects, so
// httpClient had better not follow.
func New(httpClient *http.Client, baseURL string) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("parsing the API's address: %w", err)
	}
	if base.Scheme == "" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("the API's address %q isn't of the form http://host/path", baseURL)
	}
	return &Client{http: httpClient, base: strings.TrimRight(baseURL, "/")}, nil
}

// call is one request to the API and where its answer goes.
type call struct {
	method string
	// path is below the base and begins with a slash.
	path  string
	query url.Values
	// header is sent beside what every request has.
	header http.Header
	// body is sent as JSON; nil sends none.
	body any
	// answer gets the body of a 2xx, whatever its form; nil drops it.
	answer *json.RawMessage
	// answered gets its header.
	answered *http.Header
}

// maxAnswer is more than the largest page there can be, in bytes.
const maxAnswer = 128 << 20

// do makes the call.
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
	if call.answered != nil {
		*call.answered = response.Header
	}
	if call.answer == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return transportError(err)
	}
	if len(body) > maxAnswer || !json.Valid(body) {
		return fmt.Errorf("the server's answer to %s %s isn't JSON; is this Mollygate's admin API?", call.method,
			call.path)
	}
	*call.answer = body
	return nil
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	var body io.Reader
	if call.body != nil {
		text, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("writing the request as JSON: %w", err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(request.Header, call.header)
	return request, nil
}

// decode reads the part of an answer that is of interest.
func decode(answer json.RawMessage, into any) error {
	if err := json.Unmarshal(answer, into); err != nil {
		return errors.New("the server's answer isn't of the form that this client knows: " + err.Error())
	}
	return nil
}
