package admin

import "net/http"

// list is the response to calls that return several objects without paging.
type list[T any] struct {
	Data []T `json:"data"`
}

type scopeObject struct {
	Name string `json:"name"`
	// Routes are written as "METHOD /path". Presets lists the presets that include the
	// scope.
	Routes  []string `json:"routes"`
	Presets []string `json:"presets"`
}

func (c *call) listScopes() *Refusal {
	scopes := make([]scopeObject, 0, len(c.Policy.Catalog.Scopes))
	for _, scope := range c.Policy.Catalog.Scopes {
		routes := scope.Routes
		if routes == nil {
			routes = []string{}
		}
		scopes = append(scopes, scopeObject{scope.Name, routes, c.Policy.Catalog.PresetsWith(scope.Scope)})
	}
	return c.respond(http.StatusOK, list[scopeObject]{scopes})
}

type accountObject struct {
	Name string `json:"name"`
}

func (c *call) listAccounts() *Refusal {
	accounts := make([]accountObject, 0, len(c.Policy.Accounts))
	for _, name := range c.Policy.Accounts {
		accounts = append(accounts, accountObject{name})
	}
	return c.respond(http.StatusOK, list[accountObject]{accounts})
}
