package client

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// Catalog is what the server's configuration defines for API keys.
type Catalog struct {
	Scopes   []Scope
	Accounts []string
}

// Scope is a scope that routes require.
type Scope struct {
	Name string `json:"name"`
	// Routes are written as "METHOD /path".
	Routes []string `json:"routes"`
	// Presets are the presets that include the scope.
	Presets []string `json:"presets"`
}

// Catalog returns the server's scopes and accounts.
func (c *Client) Catalog(ctx context.Context) (catalog Catalog, err error) {
	var scopes struct {
		Data []Scope `json:"data"`
	}
	if err := c.value(ctx, call{method: http.MethodGet, path: "/scopes"}, &scopes); err != nil {
		return catalog, err
	}
	var accounts struct {
		Data []struct {
			Name string `json:"name"`
		} `json:"data"`
	}
	if err := c.value(ctx, call{method: http.MethodGet, path: "/accounts"}, &accounts); err != nil {
		return catalog, err
	}
	catalog.Scopes = scopes.Data
	for _, account := range accounts.Data {
		catalog.Accounts = append(catalog.Accounts, account.Name)
	}
	return catalog, nil
}

// Presets returns the names of the presets.
func (c Catalog) Presets() (names []string) {
	for _, scope := range c.Scopes {
		names = append(names, scope.Presets...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Included returns the scopes that a preset includes.
func (c Catalog) Included(preset string) (names []string) {
	for _, scope := range c.Scopes {
		if slices.Contains(scope.Presets, preset) {
			names = append(names, scope.Name)
		}
	}
	return names
}

// Grants returns everything that a key's scopes can contain: the scopes, the wildcards for a
// resource such as "unikernel:*", and "*".
func (c Catalog) Grants() (names []string) {
	for _, scope := range c.Scopes {
		resource, _, _ := strings.Cut(scope.Name, ":")
		names = append(names, scope.Name, resource+":*")
	}
	names = append(names, "*")
	slices.Sort(names)
	return slices.Compact(names)
}
