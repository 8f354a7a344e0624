package admin

import (
	"net/http"
	"slices"

	"github.com/mollygate/mollygate/tokenstore"
)

// resourceUse is one of a token's resources and when it was last used.
type resourceUse struct {
	Resource string `json:"resource"`
	// LastUsedOn is the beginning of the day (UTC), or null if the resource wasn't used since the
	// token was bound to it.
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
