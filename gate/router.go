package gate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// router finds routes by method and path. It never changes after newRouter returns it.
type router struct {
	exact map[string]*resource
	// patterns holds the paths that contain "*" by number of segments, most specific first.
	patterns map[int][]*resource
}

// resource is a path and its routes.
type resource struct {
	segments []string
	// routes maps methods to routes. For an exact path, it also contains the routes of
	// matching patterns.
	routes map[string]*Route
	allow  string
}

func newRouter(routes []Route, explicit ScopePrefixes) (*router, error) {
	rt := &router{exact: make(map[string]*resource), patterns: make(map[int][]*resource)}
	routes = slices.Clone(routes)
	var errs []error
	for i := range routes {
		route := &routes[i]
		if err := route.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", route.label(i, route.Path), err))
			continue
		}
		route.name, route.pattern = route.Name(), strings.Contains(route.Path, "*")
		if route.Scope.Explicit && !explicit.with(route.Scope) {
			errs = append(errs, fmt.Errorf("route %s: its scope %s is explicit here but not at the other gates",
				route.Name(), route.Scope.Name))
			continue
		}
		route.Scope.Explicit = explicit.with(route.Scope)
		for _, path := range route.paths() {
			if !rt.resource(path).add(route) {
				errs = append(errs, fmt.Errorf("%s is declared twice", route.label(i, path)))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	rt.precompute()
	return rt, nil
}

// resource returns the path's resource and creates the resource if it doesn't exist.
func (rt *router) resource(path string) *resource {
	if res := rt.exact[path]; res != nil {
		return res
	}
	res := &resource{segments: strings.Split(path[1:], "/"), routes: make(map[string]*Route)}
	if !slices.Contains(res.segments, "*") {
		rt.exact[path] = res
		return res
	}
	same := func(other *resource) bool { return slices.Equal(other.segments, res.segments) }
	list := rt.patterns[len(res.segments)]
	if i := slices.IndexFunc(list, same); i >= 0 {
		return list[i]
	}
	rt.patterns[len(res.segments)] = append(list, res)
	return res
}

// add adds a route. It returns false if the method already has a route.
func (res *resource) add(route *Route) bool {
	if res.routes[route.Method] != nil {
		return false
	}
	res.routes[route.Method] = route
	return true
}

// precompute sorts the patterns and sets the Allow values.
func (rt *router) precompute() {
	for _, patterns := range rt.patterns {
		slices.SortFunc(patterns, moreSpecific)
		for _, p := range patterns {
			p.allow = p.methods()
		}
	}
	for path, res := range rt.exact {
		for _, p := range rt.patterns[len(res.segments)] {
			if p.match(path) {
				for _, route := range p.routes {
					res.add(route)
				}
			}
		}
		res.allow = res.methods()
	}
}

// methods returns the resource's methods as the value of an Allow header.
func (res *resource) methods() string {
	return strings.Join(slices.Sorted(maps.Keys(res.routes)), ", ")
}

// moreSpecific compares patterns from left to right and sorts a literal segment before a "*",
// so that the order in the configuration doesn't matter (CVE-2026-48794).
func moreSpecific(a, b *resource) int {
	for i := range a.segments {
		if wildA, wildB := a.segments[i] == "*", b.segments[i] == "*"; wildA != wildB {
			if wildA {
				return 1
			}
			return -1
		}
	}
	return cmp.Compare(strings.Join(a.segments, "/"), strings.Join(b.segments, "/"))
}

// find returns the most specific route for this method. If there is none, allow lists the
// methods that the path supports; it is "" if the path isn't in the route table.
func (rt *router) find(method, path string) (route *Route, allow string) {
	return rt.findIn(rt.exact[path], method, path)
}

// findIn is like find, for callers that have already looked up the path in rt.exact. exact is
// the result of that lookup.
func (rt *router) findIn(exact *resource, method, path string) (route *Route, allow string) {
	if exact != nil {
		return exact.routes[method], exact.allow
	}
	for _, p := range rt.patterns[strings.Count(path, "/")] {
		switch {
		case !p.match(path):
		case p.routes[method] != nil:
			return p.routes[method], p.allow
		default:
			allow = joinMethods(allow, p.allow)
		}
	}
	return nil, allow
}

// joinMethods merges two Allow values.
func joinMethods(a, b string) string {
	if a == "" || a == b {
		return b
	}
	methods := append(strings.Split(a, ", "), strings.Split(b, ", ")...)
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}

// match reports whether the pattern matches the path. Both must have the same number of
// segments. A path with an empty segment never matches.
func (res *resource) match(path string) bool {
	if path[0] != '/' {
		return false
	}
	rest := path[1:]
	for _, want := range res.segments {
		segment, after, _ := strings.Cut(rest, "/")
		if segment == "" || (want != "*" && want != segment) {
			return false
		}
		rest = after
	}
	return true
}
