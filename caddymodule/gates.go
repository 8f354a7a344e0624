package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// gates holds a configuration's gates. What "*" allows at one gate depends on the route tables
// of all gates, but Caddy provisions handlers one by one, in no particular order. Therefore,
// the first gate to be provisioned reads every gate's routes from the http app's
// configuration. A gates value doesn't change after provisioning.
type gates struct {
	mu sync.Mutex
	// configured lists the gates in the order in which they appear in the http app's
	// configuration. It is nil until the first gate is provisioned.
	configured []configuredGate
	explicit   gate.ScopePrefixes
	granted    token.Catalog
}

// catalog returns the scopes that can be granted to tokens.
func (g *gates) catalog() token.Catalog {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.configured == nil {
		return gate.Catalog()
	}
	return g.granted
}

// configuredGate is a gate in the configuration. Identically configured gates share a
// [gate.Gate].
type configuredGate struct {
	name   string
	url    string // where clients reach the gate, or empty if that isn't known
	config string // as JSON
	table  gate.Table
	gate   *gate.Gate // nil until provisioned
	// backend is the state of the gate's backend. It is nil until the gate is provisioned.
	backend *backendState
	// handler is one of the handlers with this configuration. It is nil until provisioned.
	handler *BearerAuth
}

// readGates reads all of the configuration's gates, unless another gate has already done so,
// and checks the settings that depend on all gates. own is the gate that is being provisioned.
func (a *App) readGates(ctx caddy.Context, own configuredGate) (gate.ScopePrefixes, error) {
	explicit, first, err := a.gates.read(ctx, own)
	if err == nil && first {
		_, scopesErr := a.maxScopes()
		_, resourcesErr := a.maxResources()
		err = errors.Join(scopesErr, resourcesErr)
	}
	return explicit, err
}

// read reads all gates on its first call, and reports whether this is the first call.
func (g *gates) read(ctx caddy.Context, own configuredGate) (explicit gate.ScopePrefixes, first bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.configured != nil {
		if !slices.ContainsFunc(g.configured, own.sameConfig) {
			return nil, false, errOutsideRoutes
		}
		return g.explicit, false, nil
	}
	for _, module := range ctx.Modules() {
		web, ok := module.(*caddyhttp.App)
		if !ok {
			continue
		}
		if g.configured, err = gatesOf(web); err != nil {
			return nil, true, err
		}
	}
	if !slices.ContainsFunc(g.configured, own.sameConfig) {
		g.configured = append(g.configured, own)
	}
	tables := make([]gate.Table, 0, len(g.configured))
	for _, c := range g.configured {
		tables = append(tables, c.table)
	}
	g.explicit, g.granted = gate.ExplicitPrefixes(tables...), gate.Catalog(tables...)
	return g.explicit, true, nil
}

var errOutsideRoutes = errors.New("bearer_auth must be in a route of the http app's configuration, " +
	"because a token's permissions depend on the routes of all gates")

// addGate records a provisioned gate.
func (a *App) addGate(own configuredGate) {
	g := &a.gates
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.configured {
		if own.sameConfig(g.configured[i]) {
			g.configured[i].gate, g.configured[i].backend, g.configured[i].handler = own.gate, own.backend, own.handler
		}
	}
}

// named returns the provisioned gates and their names.
func (g *gates) named() []gate.NamedGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []gate.NamedGate
	for _, c := range g.configured {
		if c.gate != nil {
			all = append(all, gate.NamedGate{Name: c.name, URL: c.url, Gate: c.gate})
		}
	}
	return all
}

// newConfiguredGate returns the entry for a gate that hasn't been provisioned yet. It must be
// called before the handler's defaults are set.
func newConfiguredGate(h *BearerAuth) (configuredGate, error) {
	config, err := json.Marshal(h)
	if err != nil {
		return configuredGate{}, err
	}
	table, err := h.table()
	return configuredGate{name: "bearer_auth", config: string(config), table: table}, err
}

func (c configuredGate) sameConfig(other configuredGate) bool { return c.config == other.config }

// gatesOf returns the gates in an http app's routes. The app must not have provisioned any of
// them yet.
func gatesOf(web *caddyhttp.App) ([]configuredGate, error) {
	var found gateFinder
	for _, name := range slices.Sorted(maps.Keys(web.Servers)) {
		server := web.Servers[name]
		here := location{host: strings.Join(server.Listen, ", "), site: siteOf(web, server)}
		found.inRoutes(here, server.Routes)
		if server.Errors != nil {
			found.inRoutes(here, server.Errors.Routes)
		}
		for _, name := range slices.Sorted(maps.Keys(server.NamedRoutes)) {
			found.inRoutes(here, caddyhttp.RouteList{*server.NamedRoutes[name]})
		}
	}
	return found.gates, found.err
}

// gateFinder collects gates. Any kind of handler can contain routes, so it searches each
// handler's whole configuration.
type gateFinder struct {
	gates []configuredGate
	err   error // from the first invalid gate
}

// location tells operators where in the configuration a gate is.
type location struct {
	host, path string
	site       site
}

func (l location) String() string { return strings.TrimSpace(l.host + " " + l.path) }

// within returns the location of handlers behind a matcher.
func (l location) within(hosts, paths []string) location {
	return location{cmp.Or(strings.Join(hosts, ", "), l.host), cmp.Or(strings.Join(paths, ", "), l.path),
		l.site.within(hosts, paths)}
}

func (f *gateFinder) inRoutes(here location, routes caddyhttp.RouteList) {
	for _, route := range routes {
		var hosts, paths []string
		for _, set := range route.MatcherSets { // matchers are already provisioned
			for _, matcher := range set {
				switch m := matcher.(type) {
				case *caddyhttp.MatchHost:
					hosts = append(hosts, *m...)
				case *caddyhttp.MatchPath:
					paths = append(paths, *m...)
				}
			}
		}
		for _, set := range route.MatcherSetsRaw {
			hosts, paths = append(hosts, texts(set["host"])...), append(paths, texts(set["path"])...)
		}
		for _, raw := range route.HandlersRaw {
			f.inJSON(here.within(hosts, paths), raw)
		}
	}
}

func (f *gateFinder) inJSON(here location, raw json.RawMessage) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, element := range list {
			f.inJSON(here, element)
		}
		return
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return
	}
	if isGate(object) {
		delete(object, "handler")
		f.add(here, object)
		return
	}
	var matchers []map[string]json.RawMessage
	if json.Unmarshal(object["match"], &matchers) == nil {
		var hosts, paths []string
		for _, set := range matchers {
			hosts, paths = append(hosts, texts(set["host"])...), append(paths, texts(set["path"])...)
		}
		here = here.within(hosts, paths)
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		f.inJSON(here, object[key])
	}
}

func isGate(handler map[string]json.RawMessage) bool {
	var name string
	return json.Unmarshal(handler["handler"], &name) == nil && name == "bearer_auth"
}

func (f *gateFinder) add(here location, options map[string]json.RawMessage) {
	h, c := new(BearerAuth), configuredGate{}
	raw, err := json.Marshal(options)
	if err == nil {
		err = json.Unmarshal(raw, h)
	}
	if err == nil {
		c, err = newConfiguredGate(h)
	}
	if err != nil {
		f.err = cmp.Or(f.err, err)
		return
	}
	c.name, c.url = here.String(), here.site.url()
	for n := 2; slices.ContainsFunc(f.gates, func(other configuredGate) bool { return other.name == c.name }); n++ {
		c.name = fmt.Sprintf("%s #%d", here, n)
	}
	f.gates = append(f.gates, c)
}

// texts returns the strings in a JSON array, or nil if the value isn't an array of strings.
func texts(raw json.RawMessage) (list []string) {
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}
