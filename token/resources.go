package token

import "strings"

// Resource is something in the backend that a request acts on, such as unikernel/webshop.
type Resource struct {
	// Type is in lower case.
	Type string
	// Name is compared exactly. If the backend ignores the case of names, Name is in lower case.
	Name string
	// Container reports whether resources of other types are inside this one, as unikernels are
	// inside an instance.
	Container bool
}

// String returns "type/name".
func (r Resource) String() string { return r.Type + "/" + r.Name }

// Resources are the patterns of the resources that a token may act on: "type/name", or
// "type/prefix*" for all names with the prefix. Without patterns, a token isn't bound: it may
// act on everything that its scopes allow.
type Resources []string

// Allow reports whether a token that is bound to r may send a request that acts on targets. If
// not, it returns the first target that no pattern covers, or the zero Resource if the request
// names nothing to which the token is bound.
//
// Patterns of one type are alternatives, and a request must satisfy the patterns of every type
// that it names. A token without patterns for a type can't act on resources of that type, with
// two exceptions: it may act inside any container, and a token that is bound only to containers
// may act on everything inside them.
func (r Resources) Allow(targets []Resource) (refused Resource, ok bool) {
	if len(r) == 0 {
		return Resource{}, true
	}
	containersOnly, bound := r.onlyContainers(targets), false
	for _, target := range targets {
		switch {
		case r.Cover(target):
			bound = true
		case r.Name(target.Type), !target.Container && !containersOnly:
			return target, false
		}
	}
	return Resource{}, bound
}

// Cover reports whether a pattern matches the resource.
func (r Resources) Cover(target Resource) bool {
	for _, pattern := range r {
		typ, name, _ := strings.Cut(pattern, "/")
		if typ != target.Type {
			continue
		}
		if prefix, wild := strings.CutSuffix(name, "*"); name == target.Name || wild &&
			strings.HasPrefix(target.Name, prefix) {
			return true
		}
	}
	return false
}

// Name reports whether there is a pattern for resources of the type.
func (r Resources) Name(typ string) bool {
	for _, pattern := range r {
		if t, _, _ := strings.Cut(pattern, "/"); t == typ {
			return true
		}
	}
	return false
}

// onlyContainers reports whether all patterns are for types of the containers among targets.
func (r Resources) onlyContainers(targets []Resource) bool {
	for _, pattern := range r {
		typ, _, _ := strings.Cut(pattern, "/")
		found := false
		for _, target := range targets {
			found = found || target.Container && target.Type == typ
		}
		if !found {
			return false
		}
	}
	return true
}
