package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
	"github.com/mollygate/mollygate/caddymodule"
)

const (
	dialTimeout = 5 * time.Second
	// responseTimeout is longer than the server waits for its store to open.
	responseTimeout = 30 * time.Second
)

// client returns a client for the admin API on Caddy's admin endpoint.
func (i *invocation) client() (*endpointClient, error) {
	address, err := i.adminAddress()
	if err != nil {
		return nil, usageErrorf("finding Caddy's admin endpoint: %v; set its address with --address", err)
	}
	api, err := newEndpointClient(address)
	if err == nil {
		api.flags = i.flags.FlagSet
	}
	return api, err
}

// patientClient is like client, but waits for responses for as long as the run does.
func (i *invocation) patientClient() (*endpointClient, error) {
	api, err := i.client()
	if err == nil {
		api.transport.ResponseHeaderTimeout = 0
	}
	return api, err
}

// adminAddress is the address of Caddy's admin endpoint, in the format of the "admin" option.
type adminAddress struct {
	text string
	// adjacent reports whether the address comes from a Caddyfile that Caddy found in the
	// current directory, without --config. The directory may be a checkout of someone else's
	// repository, and commands send whole tokens to the address, so the address must be on
	// this machine. Errors don't include the address, because it may contain any value from
	// the environment.
	adjacent bool
}

// adminAddress finds the endpoint in the same way as "caddy reload" does.
func (i *invocation) adminAddress() (adminAddress, error) {
	address, file, adapter := i.flags.String("address"), i.flags.String("config"), i.flags.String("adapter")
	if address != "" {
		return adminAddress{text: address}, nil
	}
	caddy.BufferedLog() // LoadConfig logs what it does, which isn't a result
	config, found, _, err := caddycmd.LoadConfig(file, adapter)
	adjacent := file == "" && adapter == ""
	if err == nil {
		address, err = caddycmd.DetermineAdminAPIAddress("", config, found, adapter)
	}
	if err != nil && adjacent {
		err = errors.New(
			"the Caddyfile in the current directory is invalid or can't be read; run `caddy adapt` to see why")
	}
	// The default address comes from Caddy or CADDY_ADMIN, not from the file.
	return adminAddress{text: address, adjacent: adjacent && found != "" && address != caddy.DefaultAdminListen}, err
}

// isLocal reports whether connections to a network address are certain to stay on this
// machine. The only host name that it accepts is localhost, because resolving any other name
// would already reveal the name to a DNS server.
func isLocal(address caddy.NetworkAddress) bool {
	switch address.Network {
	case "unix", "unix+h2c":
		return true
	case "tcp", "tcp4", "tcp6":
		return address.Host == "localhost" || isLocalIP(address.Host)
	}
	return false
}

// isLocalIP reports whether a connection to ip stays on this machine. It accepts the
// unspecified address, because that is the configured address of an endpoint that listens on
// all addresses.
func isLocalIP(ip string) bool {
	if ip == "" {
		return true // net.Dial uses the local system
	}
	parsed, err := netip.ParseAddr(ip)
	parsed = parsed.Unmap()
	return err == nil && parsed.Zone() == "" && (parsed.IsLoopback() || parsed.IsUnspecified())
}

// localOnly is a Control function for net.Dialer that refuses connections to other machines,
// in case localhost doesn't resolve to a loopback address.
func localOnly(network, address string, _ syscall.RawConn) error {
	if host, _, err := net.SplitHostPort(address); !strings.HasPrefix(network, "tcp") || err == nil && isLocalIP(host) {
		return nil
	}
	return errors.New("localhost doesn't resolve to a loopback address")
}

// endpointClient is a client.Client that includes its address in errors.
type endpointClient struct {
	*client.Client
	address string // for errors
	// flags are the command's flags, which errors name.
	flags     *pflag.FlagSet
	transport *http.Transport
}

// unreachableError means that no response arrived, or that the response wasn't from the admin
// API.
type unreachableError struct {
	text string
	err  error
}

func (e *unreachableError) Error() string { return e.text }

func (e *unreachableError) Unwrap() error { return e.err }

// sent reports whether the request may have reached the server.
func (e *unreachableError) sent() bool {
	operation, ok := errors.AsType[*net.OpError](e.err)
	return !ok || operation.Op != "dial"
}

// explain adds user-facing advice to an error from a client.
func (c *endpointClient) explain(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*client.Error](err); ok {
		if refused.Code == "" && refused.Status == http.StatusNotFound {
			return &unreachableError{err: err,
				text: fmt.Sprintf("the Caddy at %s doesn't serve %s: does this build include Mollygate?", c.address,
					caddymodule.EndpointMount)}
		}
		return flagError(c.flags, err)
	}
	if _, ok := errors.AsType[*client.TransportError](err); ok {
		unreachable := &unreachableError{err: err}
		unreachable.text = c.noResponse(unreachable.sent(), withoutAddress(err))
		return unreachable
	}
	return &unreachableError{err: err, text: err.Error()}
}

// StartCommand is the command that starts the gate, for advice, or "" if it isn't known.
var StartCommand string

// noResponse describes the failure of a request that may or may not have reached the server.
func (c *endpointClient) noResponse(sent bool, cause error) string {
	switch {
	case sent:
		return fmt.Sprintf("no response from Caddy's admin endpoint at %s: %v", c.address, cause)
	case StartCommand != "":
		return fmt.Sprintf("no gate is running at %s (%v). Start it with %s.\nIf it is already running, its terminal "+
			"shows commands with the --address that you need.", c.address, cause, StartCommand)
	}
	return fmt.Sprintf("can't connect to Caddy's admin endpoint at %s: %v. Start Caddy first.\n"+
		"If Caddy is already running, set the address of its admin endpoint with --address. If its configuration "+
		"contains `admin off`, it has no admin endpoint, and only a site with api_tokens_admin can manage keys.",
		c.address, cause)
}

// withoutAddress removes the addresses that package net adds to its errors. Messages include
// [endpointClient.address] instead.
func withoutAddress(err error) error {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return operation.Err
	}
	return err
}

var addressForms = "write, for example, " + caddy.DefaultAdminListen + " or unix//run/caddy.sock"

// newEndpointClient returns a client for the endpoint at the given address.
func newEndpointClient(address adminAddress) (*endpointClient, error) {
	parsed, err := caddy.ParseNetworkAddress(address.text)
	switch {
	case address.adjacent && (err != nil || !isLocal(parsed)):
		return nil, usageErrorf("the admin endpoint in the Caddyfile in the current directory isn't a loopback " +
			"address or a unix socket; if you trust the Caddyfile, add `--config Caddyfile`, or use --address")
	case err != nil:
		return nil, usageErrorf("the admin endpoint's address %q: %v; %s", address.text, err, addressForms)
	case parsed.IsFdNetwork():
		return nil, usageErrorf("the admin endpoint's address %q is a file descriptor of the server; "+
			"set an address that can be reached with --address", address.text)
	case parsed.IsUnixNetwork():
	case !strings.HasPrefix(parsed.Network, "tcp") || parsed.PortRangeSize() != 1 || parsed.StartPort == 0:
		return nil, usageErrorf("the admin endpoint's address %q must have a host and a single port; %s", address.text,
			addressForms)
	}
	network, target, shown := parsed.Network, parsed.JoinHostPort(0), address.text
	origin := "http://" + target
	e := &endpoint{origin: origin}
	if parsed.IsUnixNetwork() {
		// The address may end with the socket's permissions. Caddy accepts this host at any
		// endpoint, and browsers can't connect to a unix socket.
		network = strings.TrimSuffix(network, "+h2c")
		target, _, _ = strings.Cut(target, "|")
		origin, e.origin = "http://127.0.0.1", ""
		if address.adjacent {
			shown = "the unix socket in the Caddyfile in the current directory"
		}
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	if address.adjacent {
		dialer.Control = localOnly
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		ResponseHeaderTimeout: responseTimeout,
		ExpectContinueTimeout: dialTimeout,
	}
	e.transport = transport
	c, err := client.New(&http.Client{
		Transport:     e,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, origin+caddymodule.EndpointMount)
	if err != nil {
		return nil, usageErrorf("the admin endpoint's address %q: %v", address.text, err)
	}
	return &endpointClient{Client: c, address: shown, transport: transport}, nil
}

// endpoint sends all requests to one admin endpoint, regardless of their URL. It adds the
// Origin header, which Caddy requires if its origin check is enabled.
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
