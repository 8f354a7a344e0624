package caddymodule

import (
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// runningDashboards returns the addresses of the running configuration's dashboards.
func runningDashboards() []string {
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return nil
	}
	web, ok := app.(*caddyhttp.App)
	if !ok {
		return nil
	}
	return dashboards(web)
}

// dashboards returns the addresses of the sites with a [SiteAdmin] handler, sorted. Of a site
// with several names, it returns only one. It skips sites whose address it can't determine,
// such as those with a wildcard or on a unix socket.
func dashboards(web *caddyhttp.App) (found []string) {
	for _, server := range web.Servers {
		search := dashboardSearch{site: siteOf(web, server)}
		if search.site.host == "" {
			search.site.host = "localhost" // listens on all addresses
		}
		search.routes(server.Routes)
		found = append(found, search.found...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// dashboardSearch collects the addresses of dashboards in a server's routes.
type dashboardSearch struct {
	// site is the site of the routes being searched, and path the prefix that they remove from
	// paths.
	site  site
	path  string
	found []string
}

// routes searches a list of routes.
func (s *dashboardSearch) routes(routes caddyhttp.RouteList) {
	for i := range routes {
		outer, path := s.site, s.path
		s.site = s.site.within(matchedHosts(&routes[i]), nil)
		for _, handler := range routes[i].Handlers {
			s.handler(handler)
		}
		s.site = outer
		if len(routes[i].MatcherSets) > 0 {
			s.path = path // otherwise, a rewrite applies to the routes after it
		}
	}
}

func (s *dashboardSearch) handler(handler caddyhttp.MiddlewareHandler) {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		path := s.path
		s.routes(h.Routes)
		s.path = path
	case *rewrite.Rewrite:
		s.path += h.StripPathPrefix
	case *SiteAdmin:
		if address := s.site.url(); address != "" {
			s.found = append(s.found, address+strings.TrimSuffix(s.path, "/")+"/")
		}
	}
}

// matchedHosts returns the hosts that a route matches, names before addresses, or nil if it
// matches all.
func matchedHosts(route *caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *m...)
			}
		}
	}
	rank := func(host string) int {
		if net.ParseIP(host) != nil {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(hosts, func(a, b string) int { return rank(a) - rank(b) })
	return hosts
}
