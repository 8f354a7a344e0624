package token

import (
	"fmt"
	"slices"
	"strings"
)

// Catalog lists what tokens can be granted: the scopes of all routes at the configured gates,
// and named sets of grants.
type Catalog struct {
	// Scopes are sorted by name, without duplicates.
	Scopes []CatalogScope
	// Presets are named sets of grants.
	Presets map[string]Grants
	// ResourceTypes are the types of resources to which tokens can be bound, in the order of
	// error messages.
	ResourceTypes []ResourceType
}

// CatalogScope is a scope and the routes that it allows.
type CatalogScope struct {
	Scope
	// Routes are the names of the routes, "METHOD /path".
	Routes []string
}

// PresetsWith returns the names of the presets that cover the scope, sorted.
func (c Catalog) PresetsWith(scope Scope) []string {
	names := []string{}
	for name, grants := range c.Presets {
		if grants.Cover(scope) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// check returns the grants sorted and without duplicates, or an error that names an unknown
// grant.
func (c Catalog) check(grants Grants) (Grants, error) {
	for _, grant := range grants {
		if !c.knows(grant) {
			return nil, fmt.Errorf("%s is not a known scope; the known scopes are %s", quote(grant), c.Known())
		}
	}
	grants = slices.Clone(grants)
	slices.Sort(grants)
	return slices.Compact(grants), nil
}

func (c Catalog) knows(grant string) bool {
	if grant == "*" {
		return true
	}
	resource, wild := strings.CutSuffix(grant, "*")
	wild = wild && strings.HasSuffix(resource, ":")
	return slices.ContainsFunc(c.Scopes, func(s CatalogScope) bool {
		return s.Name == grant || (wild && strings.HasPrefix(s.Name, resource))
	})
}

// exceeding returns a grant that allows more than maximum does, if there is one. Granting
// every existing action of a resource allows less than "resource:*", which also covers future
// actions.
func (c Catalog) exceeding(grants, maximum Grants) (grant string, exceeds bool) {
	for _, grant := range grants {
		if !c.within(grant, maximum) {
			return grant, true
		}
	}
	return "", false
}

func (c Catalog) within(grant string, maximum Grants) bool {
	if slices.Contains(maximum, grant) {
		return true
	}
	resource, wild := strings.CutSuffix(grant, "*")
	within := false
	for _, scope := range c.Scopes {
		switch {
		case !wild && scope.Name == grant:
			return maximum.Cover(scope.Scope)
		case wild && resource != "" && strings.HasPrefix(scope.Name, resource):
			if scope.Explicit {
				return false
			}
			within = slices.Contains(maximum, "*")
		}
	}
	return within
}

// Expand returns the grants in texts, with each preset name replaced by its grants. Preset
// names contain neither ":" nor "*". The error names an unknown grant.
func (c Catalog) Expand(texts []string) (Grants, error) {
	var grants Grants
	for _, text := range texts {
		if preset, ok := c.Presets[text]; ok {
			grants = append(grants, preset...)
		} else {
			grants = append(grants, text)
		}
	}
	return c.check(grants)
}

// Known lists everything that can be granted, for error messages.
func (c Catalog) Known() string {
	names := make([]string, 0, len(c.Scopes)+2)
	for _, scope := range c.Scopes {
		names = append(names, scope.Name)
	}
	return strings.Join(append(names, "a resource followed by :* for all its actions", "*"), ", ")
}

func (c Catalog) presetNames() []string {
	names := make([]string, 0, len(c.Presets))
	for name := range c.Presets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
