package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// client calls one gate.
type client struct {
	c    *cluster
	gate *gate
	http *http.Client
}

// clientTimeout is how long clients wait for a response.
const clientTimeout = 10 * time.Second

func (c *cluster) newClient(g *gate) *client {
	return &client{c, g, &http.Client{Timeout: clientTimeout, Transport: &http.Transport{
		MaxIdleConnsPerHost: 4,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.clients.dial(ctx, network, address)
		},
	}}}
}

// answer is a response of the admin API, or the error if there was none.
type answer struct {
	Err    error
	Status int
	Header http.Header
	Body   []byte
}

// unknown reports whether the call may have taken effect or not.
func (a answer) unknown() bool { return a.Err != nil || a.Status >= 500 }

// notSent reports whether the gate can't have received the request.
func (a answer) notSent() bool {
	var failed *net.OpError
	return errors.As(a.Err, &failed) && failed.Op == "dial"
}

// token returns the token object in the response, or nil.
func (a answer) token() *object {
	var o object
	if a.Status/100 != 2 || json.Unmarshal(a.Body, &o) != nil || o.Version == 0 {
		return nil
	}
	return &o
}

// code returns the code of a refusal.
func (a answer) code() string {
	var problem struct{ Code string }
	_ = json.Unmarshal(a.Body, &problem)
	return problem.Code
}

func (a answer) String() string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return fmt.Sprintf("status %d: %s", a.Status, a.Body)
}

// do calls the admin API on the gate's site. It sends no Idempotency-Key and no request that
// Go's client would repeat on its own, apart from GET.
func (cl *client) do(ctx context.Context, method, path string, body any, ifMatch uint64) answer {
	header := make(http.Header)
	header.Set("Authorization", "Bearer "+cl.c.admin)
	if ifMatch != 0 {
		header.Set("If-Match", strconv.Quote(strconv.FormatUint(ifMatch, 10)))
	}
	return send(ctx, cl.http, method, cl.gate.address(adminPort)+"/api/v1/"+path, body, header)
}

func send(ctx context.Context, client *http.Client, method, url string, body any, header http.Header) answer {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{Err: err}
		}
		reader = bytes.NewReader(text)
		header.Set("Content-Type", "application/json")
	}
	request, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return answer{Err: err}
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return answer{Err: err}
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{Status: response.StatusCode, Header: response.Header}
	if a.Body, err = io.ReadAll(response.Body); err != nil {
		return answer{Err: err}
	}
	return a
}

// createAdmin creates an admin token through Caddy's own admin endpoint.
func (c *cluster) createAdmin(g *gate) (string, error) {
	a := send(c.t.Context(), g.localAdmin(), http.MethodPost, "http://caddy/api_tokens/v1/tokens",
		map[string]any{"name": "faults", "kind": "admin", "expires_in": "300d"}, make(http.Header))
	var made struct{ Token string }
	if err := json.Unmarshal(a.Body, &made); err != nil || made.Token == "" {
		return "", fmt.Errorf("creating an admin token: %s", a)
	}
	return made.Token, nil
}

// use sends a request with a token to the gate, records and returns what the client sees. The
// request is a POST, because Go's client would repeat a GET whose connection breaks.
func (cl *client) use(ctx context.Context, id string, secret int, token string) sighting {
	s := sighting{Gate: cl.gate.number, Token: id, Secret: secret, Call: cl.c.history.now()}
	header := http.Header{"Authorization": {"Bearer " + token}}
	a := send(ctx, cl.http, http.MethodPost, cl.gate.address(gatePort)+"/call", nil, header)
	s.Return = cl.c.history.now()
	if a.notSent() {
		return s
	}
	if a.Err == nil {
		s.Status, s.Name = a.Status, a.Header.Get("Token-Name")
		if s.Status != http.StatusOK {
			s.Code = a.code()
		}
	}
	cl.c.history.sighted(s)
	return s
}

// usageCount returns the count of allowed requests in a response.
func usageCount(a answer) (uint64, error) {
	var object struct {
		UsageCount *uint64 `json:"usage_count"`
	}
	if err := json.Unmarshal(a.Body, &object); err != nil || object.UsageCount == nil {
		return 0, fmt.Errorf("no usage_count in %s", a)
	}
	return *object.UsageCount, nil
}

// tokenID returns the ID in a token.
func tokenID(token string) string { return token[4:16] }
