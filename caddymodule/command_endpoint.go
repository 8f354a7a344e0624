package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/mollygate/mollygate/admin/client"
)

const (
	dialTimeout = 5 * time.Second
	// answerTimeout is longer than the server waits for its store to open.
	answerTimeout = 30 * time.Second
)

// client returns a client of the admin API on Caddy's admin endpoint.
func (i *invocation) client() (*endpointClient, error) {
	address, err := i.adminAddress()
	if err != nil {
		return nil, usageErrorf("finding Caddy's admin endpoint: %v; name it with --address", err)
	}
	return newEndpointClient(address)
}

// adminAddress finds the endpoint as "caddy reload" does.
func (i *invocation) adminAddress() (string, error) {
	address, file, adapter := i.flags.String("address"), i.flags.String("config"), i.flags.String("adapter")
	if address != "" {
		return address, nil
	}
	config, file, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return "", err
	}
	return caddycmd.DetermineAdminAPIAddress("", config, file, adapter)
}

// endpointClient is a client.Client whose errors know where they come from.
type endpointClient struct {
	*client.Client
	address string
}

// unreachableError says that no answer came, or none of the admin API's.
type unreachableError struct {
	text string
	err  error
}

func (e *unreachableError) Error() string { return e.text }

func (e *unreachableError) Unwrap() error { return e.err }

// sent says whether the request may have reached the server.
func (e *unreachableError) sent() bool {
	operation, ok := errors.AsType[*net.OpError](e.err)
	return !ok || operation.Op != "dial"
}

// explain makes an error of the client's say what to do about it.
func (c *endpointClient) explain(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*client.Error](err); ok {
		if refused.Code == "" && refused.Status == http.StatusNotFound {
			return &unreachableError{err: err, text: fmt.Sprintf("the Caddy at %s has no %s: is Mollygate compiled into it?", c.address, endpointMount)}
		}
		return flagError(err)
	}
	if _, ok := errors.AsType[*client.TransportError](err); ok {
		return &unreachableError{err: err, text: fmt.Sprintf("no answer from Caddy's admin endpoint at %s: %v; "+
			"is Caddy running? Another endpoint is named with --address; with `admin off` there is none", c.address, err)}
	}
	return &unreachableError{err: err, text: err.Error()}
}

var addressForms = "write for example " + caddy.DefaultAdminListen + " or unix//run/caddy.sock"

// newEndpointClient returns a client for the endpoint at an address as the
// "admin" option has it.
func newEndpointClient(address string) (*endpointClient, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	switch {
	case err != nil:
		return nil, usageErrorf("the admin endpoint's address %q: %v; %s", address, err, addressForms)
	case parsed.IsFdNetwork():
		return nil, usageErrorf("the admin endpoint's address %q is a file descriptor of the server's; name one that can be reached with --address", address)
	case parsed.IsUnixNetwork():
	case !strings.HasPrefix(parsed.Network, "tcp") || parsed.PortRangeSize() != 1 || parsed.StartPort == 0:
		return nil, usageErrorf("the admin endpoint's address %q isn't a host with one port; %s", address, addressForms)
	}
	network, target := parsed.Network, parsed.JoinHostPort(0)
	origin := "http://" + target
	e := &endpoint{origin: origin}
	if parsed.IsUnixNetwork() {
		// The address may end in the socket's permissions. The host is one that
		// Caddy takes on any endpoint; a browser couldn't get here.
		target, _, _ = strings.Cut(target, "|")
		origin, e.origin = "http://127.0.0.1", ""
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	e.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		ResponseHeaderTimeout: answerTimeout,
	}
	c, err := client.New(&http.Client{
		Transport:     e,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, origin+endpointMount)
	if err != nil {
		return nil, usageErrorf("the admin endpoint's address %q: %v", address, err)
	}
	return &endpointClient{Client: c, address: address}, nil
}

// endpoint sends requests to one admin endpoint, whatever their URL, and with the
// Origin that Caddy wants if it enforces origins.
type endpoint struct {
	transport http.RoundTripper
	origin    string
}

// RoundTrip implements http.RoundTripper.
func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	if e.origin != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Origin", e.origin)
	}
	return e.transport.RoundTrip(r)
}

var _ http.RoundTripper = (*endpoint)(nil)
