package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/mollygate/mollygate/tokenstore"
)

var resourcesParameters = []string{"account"}

// knownResources are the resources that an account has in the backends.
type knownResources struct {
	Data []string `json:"data"`
	// Incomplete says why resources may be missing, or null.
	Incomplete textOrNull `json:"incomplete"`
}

// listResources responds with the names of the resources that a token of an account could be
// bound to.
func (c *call) listResources() *Refusal {
	account, given := c.parameters["account"]
	if !given {
		account = "default"
	}
	if !slices.Contains(c.Policy.Accounts, account) {
		return refuseParameter("account", "is not configured; the accounts are "+strings.Join(c.Policy.Accounts, ", "))
	}
	response := knownResources{Data: []string{}, Incomplete: "the backend can't be asked"}
	if c.ResourceNames != nil {
		names, err := c.ResourceNames(c.r.Context(), account)
		response.Data, response.Incomplete = append(response.Data, names...), ""
		if err != nil {
			response.Incomplete = textOrNull(err.Error())
		}
	}
	return c.respond(http.StatusOK, response)
}

// resourceUse is one of a token's resources and when it was last used.
type resourceUse struct {
	Resource string `json:"resource"`
	// LastUsedOn is the beginning of the day (UTC) of the last recorded use, or null if there is
	// none. The day is kept if the token is unbound and bound again.
	LastUsedOn timeOrNull `json:"last_used_on"`
}

// tokenResources responds with the resources to which a token is bound, and when each was last
// used.
func (c *call) tokenResources() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	found, err := store.Get(c.id)
	if err != nil {
		return c.storeRefusal(err)
	}
	response := list[resourceUse]{Data: make([]resourceUse, 0, len(found.Token.Resources))}
	for _, pattern := range found.Token.Resources {
		use := resourceUse{Resource: pattern}
		if i := slices.IndexFunc(found.Usage.Resources, func(u tokenstore.ResourceUse) bool {
			return u.Pattern == pattern
		}); i >= 0 {
			use.LastUsedOn = timeOrNull(found.Usage.Resources[i].Day.Start())
		}
		response.Data = append(response.Data, use)
	}
	return c.respond(http.StatusOK, response)
}
