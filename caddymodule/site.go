package caddymodule

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// site is where clients reach a handler, as far as the configuration tells.
type site struct {
	scheme, host, port string
	// moved is set if a matcher or handler may serve the handler's paths at other paths.
	moved bool
}

// siteOf returns the site of a server. Automatic HTTPS must already have set the server's
// connection policies, as it has when Caddy provisions the server's routes.
func siteOf(web *caddyhttp.App, server *caddyhttp.Server) site {
	if len(server.Listen) == 0 {
		return site{}
	}
	address, err := caddy.ParseNetworkAddress(server.Listen[0])
	if err != nil || address.IsUnixNetwork() || address.StartPort == 0 {
		return site{}
	}
	httpPort, httpsPort := uint(web.HTTPPort), uint(web.HTTPSPort)
	if httpPort == 0 {
		httpPort = caddyhttp.DefaultHTTPPort
	}
	if httpsPort == 0 {
		httpsPort = caddyhttp.DefaultHTTPSPort
	}
	s := site{scheme: "http", host: address.Host, port: strconv.FormatUint(uint64(address.StartPort), 10)}
	if ip := net.ParseIP(s.host); ip != nil && ip.IsUnspecified() {
		s.host = ""
	}
	if len(server.TLSConnPolicies) > 0 && address.StartPort != httpPort {
		s.scheme = "https"
	}
	if s.scheme == "http" && address.StartPort == httpPort && httpPort == caddyhttp.DefaultHTTPPort ||
		s.scheme == "https" && address.StartPort == httpsPort && httpsPort == caddyhttp.DefaultHTTPSPort {
		s.port = ""
	}
	return s
}

// within returns the site of handlers behind a matcher. Of several hosts, it takes the first
// one that is complete.
func (s site) within(hosts, paths []string) site {
	if len(hosts) > 0 {
		s.host = ""
		if i := slices.IndexFunc(hosts, func(host string) bool { return !strings.ContainsAny(host, "*{") }); i >= 0 {
			s.host = hosts[i]
		}
	}
	s.moved = s.moved || slices.ContainsFunc(paths, func(path string) bool {
		return path != "*" && path != "/*" && !strings.HasPrefix(path, "/api")
	})
	return s
}

// url returns the URL without a path, or "" if it isn't known.
func (s site) url() string {
	if s.scheme == "" || s.host == "" || s.moved {
		return ""
	}
	if s.port == "" {
		if strings.Contains(s.host, ":") {
			return s.scheme + "://[" + s.host + "]"
		}
		return s.scheme + "://" + s.host
	}
	return s.scheme + "://" + net.JoinHostPort(s.host, s.port)
}
