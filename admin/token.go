package admin

import (
	"errors"
	"net/http"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func (c *call) getToken() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	found, err := store.Get(c.id)
	if err != nil {
		return c.storeRefusal(err)
	}
	c.w.Header().Set("ETag", tagOf(found.Token))
	return c.respond(http.StatusOK, c.object(found.Token, found.Usage, store.Now()))
}

// previousUse is the last use of the secret that the last rotation replaced.
type previousUse struct {
	ValidUntil        timeOrNull `json:"valid_until"`
	LastUsedAt        timeOrNull `json:"last_used_at"`
	LastUsedIP        textOrNull `json:"last_used_ip"`
	LastUsedUserAgent textOrNull `json:"last_used_user_agent"`
	LastUsedRoute     textOrNull `json:"last_used_route"`
}

func (c *call) previousSecret() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	token, last, err := store.PreviousUse(c.id)
	if err != nil {
		return c.storeRefusal(err)
	}
	return c.respond(http.StatusOK, previousUse{
		ValidUntil: timeOrNull(token.PreviousValidUntil), LastUsedAt: timeOrNull(last.Time),
		LastUsedIP: textOrNull(last.IP), LastUsedUserAgent: textOrNull(last.UserAgent),
		LastUsedRoute: textOrNull(last.Route),
	})
}

func (c *call) deleteToken() *Refusal {
	store, version, refusal := c.change()
	if refusal != nil {
		return refusal
	}
	found, err := store.Get(c.id)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return c.storeRefusal(err)
	}
	if err != nil { // a damaged token can still be deleted
		found.Token = &token.Token{ID: c.id}
	}
	if err := store.Delete(c.id, version, c.actor); err != nil {
		return c.changeRefusal(err)
	}
	c.logChange("token deleted", found.Token)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// change returns the store and the version that the token must have.
func (c *call) change() (store *tokenstore.Store, version uint64, refusal *Refusal) {
	if store, refusal = c.store(); refusal != nil {
		return nil, 0, refusal
	}
	version, refusal = c.version(store)
	return store, version, refusal
}

func (c *call) revokeToken() *Refusal {
	return c.changeState("token revoked", (*tokenstore.Store).Revoke)
}

func (c *call) disableToken() *Refusal {
	return c.changeState("token disabled", (*tokenstore.Store).Disable)
}

func (c *call) enableToken() *Refusal {
	return c.changeState("token enabled", (*tokenstore.Store).Enable)
}

func (c *call) changeState(message string,
	change func(*tokenstore.Store, token.ID, uint64, tokenstore.Actor) (*token.Token, error)) *Refusal {
	if refusal := c.decodeEmpty(); refusal != nil {
		return refusal
	}
	store, version, refusal := c.change()
	if refusal != nil {
		return refusal
	}
	token, err := change(store, c.id, version, c.actor)
	if err != nil {
		return c.changeRefusal(err)
	}
	c.logChange(message, token)
	return c.respondWithToken(store, token)
}

// lookupInput is the body of POST /lookup.
type lookupInput struct {
	Token *string `json:"token"`
}

// lookUpToken responds with the token that a secret belongs to, regardless of the token's
// status.
func (c *call) lookUpToken() *Refusal {
	var in lookupInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	if in.Token == nil {
		return refuseField("token", "is required: the complete token to look up")
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	credential, err := c.Policy.Prefixes.Parse(*in.Token)
	if err != nil {
		return refuseError(codeNotFound, "This is not a valid token. Check that you copied all of it.")
	}
	found, _, err := store.Lookup(credential)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return refuseError(codeNotFound,
			"This token is unknown here. It may have been deleted or replaced, or it belongs to another installation.")
	}
	if err != nil {
		return c.storeRefusal(err)
	}
	c.w.Header().Set("ETag", tagOf(found.Token))
	return c.respond(http.StatusOK, c.object(found.Token, found.Usage, store.Now()))
}
