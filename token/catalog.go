package token

import (
	"fmt"
	"slices"
	"strings"
)

// Catalog is what tokens can be granted: the scopes of every route that the
// configured gates know, and named sets of grants.
type Catalog struct {
	// Scopes are sorted by name, without doubles.
	Scopes []CatalogScope
	// Presets are named sets of grants.
	Presets map[string]Grants
}

// CatalogScope is a scope and what it opens.
type CatalogScope struct {
	Scope
	// Routes are "METHOD /path".
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

// check returns the grants sorted and without doubles, or says which of them
// means nothing here.
func (c Catalog) check(grants Grants) (Grants, error) {
	for _, grant := range grants {
		if !c.knows(grant) {
			return nil, fmt.Errorf("%s is not a scope here; known are %s", quote(grant), c.Known())
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

// exceeding returns a grant that opens more than most does, if there is one. What
// opens the actions of a resource that there are is less than what opens all that
// there will be.
func (c Catalog) exceeding(grants, most Grants) (grant string, exceeds bool) {
	for _, grant := range grants {
		if !c.within(grant, most) {
			return grant, true
		}
	}
	return "", false
}

func (c Catalog) within(grant string, most Grants) bool {
	if slices.Contains(most, grant) {
		return true
	}
	resource, wild := strings.CutSuffix(grant, "*")
	within := false
	for _, scope := range c.Scopes {
		switch {
		case !wild && scope.Name == grant:
			return most.Cover(scope.Scope)
		case wild && resource != "" && strings.HasPrefix(scope.Name, resource):
			if scope.Explicit {
				return false
			}
			within = slices.Contains(most, "*")
		}
	}
	return within
}

// Expand returns the grants with those of the presets in place of their names, which
// are told from grants by having neither ":" nor "*". The error names what isn't
// known.
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

// Known returns a list of what can be granted, for an error.
func (c Catalog) Known() string {
	names := make([]string, 0, len(c.Scopes)+2)
	for _, scope := range c.Scopes {
		names = append(names, scope.Name)
	}
	return strings.Join(append(names, "a resource with :* for all its actions", "*"), ", ")
}

func (c Catalog) presetNames() []string {
	names := make([]string, 0, len(c.Presets))
	for name := range c.Presets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
