package mollymawk

import (
	"net/http"
	"slices"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
)

// generation is a version of Mollymawk's API. Clients may use either one; the gate converts
// their requests to match the backend's generation.
type generation uint8

const (
	// current backends use /api/block (since 17 April 2026) and expect the name of the
	// unikernel to restart in the query (since 19 June 2026).
	current generation = iota
	// generation2025 backends use /api/volume and expect the name of the unikernel to
	// restart in the body, as described in the December 2025 handbook. They support neither
	// scaling nor monitoring.
	generation2025
)

func init() {
	gate.RegisterTable("mollymawk", table(current))
	gate.RegisterTable("mollymawk-2025", table(generation2025))
}

// table returns the table for a backend of generation g. It contains every route on which
// Mollymawk accepts tokens; Mollymawk's other paths are for browsers only.
func table(g generation) gate.Table {
	routes := []gate.Route{
		{Method: http.MethodGet, Path: "/api/unikernels", Scope: scope("unikernel:list"),
			Listing: unikernelListing()},
		// The body includes the image.
		{Method: http.MethodPost, Path: "/api/unikernel/create", Scope: scope("unikernel:create"), Upload: true,
			AdaptUpload: g.createForm().adaptUpload},
		{Method: http.MethodPost, Path: "/api/unikernel/destroy", Scope: scope("unikernel:destroy"),
			Targets: fromBody(instance(bodyInstance), unikernel(bodyUnikernel))},
		{Method: http.MethodPost, Path: "/api/unikernel/restart", Scope: scope("unikernel:restart"), Adapt: g.restart,
			Targets: g.restartTargets()},
		{Method: http.MethodPost, Path: "/api/unikernel/update", Scope: scope("unikernel:update"), Adapt: checkUpdate,
			Targets: fromBody(instance(bodyInstance), unikernel("unikernel_name"),
				optionalObject("unikernel_arguments", devices))},
		{Method: http.MethodPost, Path: "/api/unikernel/rollback", Scope: scope("unikernel:rollback"),
			Targets: fromBody(instance(bodyInstance), unikernel("unikernel_name"))},
		// Mollymawk sends no response headers until the unikernel writes its next line.
		{Method: http.MethodGet, Path: "/api/unikernel/console", Scope: scope("unikernel:console"), Stream: true,
			Targets: fromQuery(instance(queryInstance), unikernel(queryUnikernel))},
		{Method: http.MethodPost, Path: "/api/unikernel/scaling/update", Scope: scope("unikernel:scale"),
			Adapt: adaptFields, Targets: fromQuery(instance(queryInstance), unikernel(queryUnikernel))},
		// Monitoring covers every user's unikernels, so "*" doesn't grant it, and tokens that are
		// bound to resources can't use it.
		{Method: http.MethodGet, Path: "/api/unikernel/monitoring/status", Scope: explicit("monitoring:read")},
		{Method: http.MethodPost, Path: "/api/unikernel/monitoring/update", Scope: explicit("monitoring:write"),
			Adapt: adaptFields},
		{Method: http.MethodPost, Path: "/api/block/create", Scope: scope("block:create"), Upload: true,
			AdaptUpload: blockForm().adaptUpload},
		{Method: http.MethodPost, Path: "/api/block/upload", Scope: scope("block:upload"), Upload: true,
			AdaptUpload: blockForm().adaptUpload},
		{Method: http.MethodPost, Path: "/api/block/download", Scope: scope("block:download"), Stream: true,
			Adapt: download, Targets: fromBody(instance(bodyInstance), block(bodyBlock))},
		{Method: http.MethodPost, Path: "/api/block/delete", Scope: scope("block:delete"),
			Targets: fromBody(instance(bodyInstance), block(bodyBlock))},
	}
	routes = slices.DeleteFunc(routes, g.lacks)
	for i := range routes {
		routes[i].CredentialRefused, routes[i].ReadError = credentialRefused, readError
		g.renameBlock(&routes[i])
	}
	return gate.Table{Routes: routes, Presets: presets(), CheckBody: checkBody, Backend: "Mollymawk",
		ResourceTypes: resourceTypes(),
		SessionPaths:  sessionPaths(), KeyPaths: keyPaths()}
}

// presets returns named sets of scopes for common uses.
func presets() map[string]token.Grants {
	return map[string]token.Grants{
		"read": {"unikernel:list", "unikernel:console"},
		"deploy": {"unikernel:list", "unikernel:create", "unikernel:restart", "unikernel:update", "unikernel:rollback",
			"unikernel:console"},
		"backup": {"block:download"},
		"full":   {"*"},
	}
}

func scope(name string) token.Scope { return token.Scope{Name: name} }

func explicit(name string) token.Scope { return token.Scope{Name: name, Explicit: true} }
