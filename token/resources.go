package token

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

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

// ResourceType is a type of resources at a backend.
type ResourceType struct {
	Name string
	// Aliases are other names of the type. Patterns may use them; tokens have only Name.
	Aliases []string
	// Container is as in [Resource].
	Container bool
	// Check returns an error for a name that no resource of the type has. It may return the name
	// in another spelling, which is how targets and patterns are compared. It is also called with
	// the prefix of a pattern. Nil accepts any name.
	Check func(name string) (string, error)
}

// Names reports whether name is the type's name or an alias of it.
func (t ResourceType) Names(name string) bool {
	return t.Name == name || slices.Contains(t.Aliases, name)
}

// CheckResources returns the patterns in their canonical spelling, sorted and without
// duplicates, or an error about a pattern.
func (c Catalog) CheckResources(patterns []string) (Resources, error) {
	if n := len(patterns); n > maxResources {
		return nil, fmt.Errorf("%d given; at most %d are allowed", n, maxResources)
	}
	var checked Resources
	for _, pattern := range patterns {
		canonical, err := c.checkResource(pattern)
		if err != nil {
			return nil, err
		}
		checked = append(checked, canonical)
	}
	slices.Sort(checked)
	return slices.Compact(checked), nil
}

// Resource returns the resource that a canonical pattern without * names.
func (c Catalog) Resource(pattern string) Resource {
	typ, name, _ := strings.Cut(pattern, "/")
	i := slices.IndexFunc(c.ResourceTypes, func(t ResourceType) bool { return t.Name == typ })
	return Resource{Type: typ, Name: name, Container: i >= 0 && c.ResourceTypes[i].Container}
}

func (c Catalog) checkResource(pattern string) (string, error) {
	name, rest, ok := strings.Cut(pattern, "/")
	if !ok || rest == "" {
		return "", fmt.Errorf("%s: write a type, a slash and a name, such as unikernel/web or unikernel/web-*",
			quote(pattern))
	}
	i := slices.IndexFunc(c.ResourceTypes, func(t ResourceType) bool { return t.Names(name) })
	if i < 0 {
		if len(c.ResourceTypes) == 0 {
			return "", fmt.Errorf("%s: none of the configured routes can be bound to resources", quote(pattern))
		}
		return "", fmt.Errorf("%s: %s is not a type of resource; the types are %s", quote(pattern), quote(name),
			strings.Join(c.resourceTypes(), ", "))
	}
	prefix, partial := strings.CutSuffix(rest, "*")
	switch r, found := findRune(prefix, isControl); {
	case strings.Contains(prefix, "*"):
		return "", fmt.Errorf("%s: write * only at the end", quote(pattern))
	case found:
		return "", fmt.Errorf("%s: contains the control character %U", quote(pattern), r)
	case !utf8.ValidString(prefix):
		return "", fmt.Errorf("%s: is not valid UTF-8", quote(pattern))
	case utf8.RuneCountInString(prefix) > maxResourceName:
		return "", fmt.Errorf("a name has more than %d characters", maxResourceName)
	}
	typ := c.ResourceTypes[i]
	if typ.Check != nil && prefix != "" {
		var err error
		if prefix, err = typ.Check(prefix); err != nil {
			return "", fmt.Errorf("%s: %w", quote(pattern), err)
		}
	}
	if partial {
		prefix += "*"
	}
	return typ.Name + "/" + prefix, nil
}

// resourceTypes returns the names of the types, sorted as in the catalog.
func (c Catalog) resourceTypes() []string {
	names := make([]string, 0, len(c.ResourceTypes))
	for _, t := range c.ResourceTypes {
		names = append(names, t.Name)
	}
	return names
}

// resourcesWithin reports whether patterns allow nothing that maximum doesn't.
func (c Catalog) resourcesWithin(patterns, maximum Resources) bool {
	container := func(pattern string) bool { return c.Resource(pattern).Container }
	content := func(pattern string) bool { return !container(pattern) }
	if len(patterns) == 0 || slices.ContainsFunc(maximum, content) && !slices.ContainsFunc(patterns, content) {
		return false // more than the maximum inside a container
	}
	for _, pattern := range maximum {
		if typ, _, _ := strings.Cut(pattern, "/"); container(pattern) && !patterns.Name(typ) {
			return false // any container
		}
	}
	return !slices.ContainsFunc(patterns, func(pattern string) bool {
		typ, _, _ := strings.Cut(pattern, "/")
		switch {
		case maximum.includes(pattern):
			return false
		case container(pattern):
			return maximum.Name(typ) // other containers only narrow
		}
		return maximum.Name(typ) || slices.ContainsFunc(maximum, content)
	})
}

// within reports whether r allows nothing that other doesn't. It may return false even if that
// is so.
func (r Resources) within(other Resources) bool {
	return len(other) == 0 || len(r) > 0 && !slices.ContainsFunc(other, func(pattern string) bool {
		typ, _, _ := strings.Cut(pattern, "/")
		return !r.Name(typ)
	}) && !slices.ContainsFunc(r, func(pattern string) bool { return !other.includes(pattern) })
}

// includes reports whether a pattern covers everything that another pattern does.
func (r Resources) includes(pattern string) bool {
	return slices.ContainsFunc(r, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, "*")
		return p == pattern || wild && strings.HasPrefix(pattern, prefix)
	})
}
