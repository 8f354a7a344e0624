package admin

import (
	"net/http"
	"time"

	"github.com/mollygate/mollygate/gate"
)

// Settings describes a configuration to admins. It affects nothing.
type Settings struct {
	// Version is Mollygate's version, or empty if it isn't known.
	Version string
	// AuditRetention and HistoryRetention are how long audit entries and usage history are
	// kept, as written in the configuration.
	AuditRetention, HistoryRetention string
	// Dashboards returns the addresses of the sites that serve the dashboard. Nil means that
	// they aren't known.
	Dashboards func() []string
}

type settings struct {
	Version          textOrNull        `json:"version"`
	Prefixes         []string          `json:"prefixes"`
	MaxLifetime      string            `json:"max_lifetime"`
	WarnBefore       string            `json:"warn_before"`
	AuditRetention   textOrNull        `json:"audit_retention"`
	HistoryRetention textOrNull        `json:"history_retention"`
	SessionHours     int               `json:"session_hours"`
	Dashboards       []string          `json:"dashboards"`
	Store            storeSettings     `json:"store"`
	Accounts         []accountSettings `json:"accounts"`
	ResourceTypes    []resourceType    `json:"resource_types"`
	Gates            []gateSettings    `json:"gates"`
}

type storeSettings struct {
	// Size is the store's size in bytes, and DiskFree the number of bytes that can still be
	// written, or null if that isn't known.
	Size     int64  `json:"size"`
	DiskFree *int64 `json:"disk_free"`
}

type accountSettings struct {
	Name string `json:"name"`
	// MaxScopes is null if the account's tokens can have all scopes.
	MaxScopes []string `json:"max_scopes"`
	// MaxResources is null if the account's tokens can act on everything.
	MaxResources []string `json:"max_resources"`
}

// resourceType is a type of resources to which tokens can be bound.
type resourceType struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases"`
	// Container reports whether resources of other types are inside those of this type.
	Container bool `json:"container"`
}

type gateSettings struct {
	Name   string          `json:"name"`
	URL    textOrNull      `json:"url"`
	Routes []routeSettings `json:"routes"`
}

type routeSettings struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Scope  string `json:"scope"`
}

// showSettings responds with the settings that matter to admins.
func (c *call) showSettings() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	if err := store.Ping(); err != nil {
		return c.storeRefusal(err)
	}
	health := store.Health()
	response := settings{
		Version: textOrNull(c.Settings.Version), Prefixes: c.Policy.Prefixes,
		MaxLifetime: c.Policy.MaxLifetime.String(), WarnBefore: c.WarnBefore.String(),
		AuditRetention:   textOrNull(c.Settings.AuditRetention),
		HistoryRetention: textOrNull(c.Settings.HistoryRetention),
		SessionHours:     int(sessionLifetime / time.Hour),
		Store:            storeSettings{Size: health.Size},
		Dashboards:       []string{},
		Accounts:         []accountSettings{}, ResourceTypes: []resourceType{}, Gates: []gateSettings{},
	}
	if c.Settings.Dashboards != nil {
		response.Dashboards = append(response.Dashboards, c.Settings.Dashboards()...)
	}
	if health.DiskFree >= 0 {
		response.Store.DiskFree = &health.DiskFree
	}
	for _, name := range c.Policy.Accounts {
		response.Accounts = append(response.Accounts, accountSettings{name, c.Policy.MaxScopes[name],
			c.Policy.MaxResources[name]})
	}
	for _, t := range c.Policy.Catalog.ResourceTypes {
		response.ResourceTypes = append(response.ResourceTypes, resourceType{t.Name, append([]string{}, t.Aliases...),
			t.Container})
	}
	for _, g := range c.Gates {
		response.Gates = append(response.Gates, gateSettings{g.Name, textOrNull(g.URL), routesOf(g.Gate)})
	}
	return c.respond(http.StatusOK, response)
}

func routesOf(g *gate.Gate) []routeSettings {
	routes := []routeSettings{}
	for _, r := range g.Routes() {
		routes = append(routes, routeSettings{r.Method, r.Path, r.Scope.Name})
	}
	return routes
}
