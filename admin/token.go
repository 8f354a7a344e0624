package admin

import (
	"net/http"
	"strings"

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
	c.w.Header().Set("ETag", etag(found.Token))
	return c.answer(http.StatusOK, newObject(found.Token, found.Usage, store.Now()))
}

func (c *call) deleteToken() *Refusal {
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	found, err := store.Get(c.id)
	if err != nil {
		return c.storeRefusal(err)
	}
	// Who names a version wants to delete nothing else.
	if wanted := c.r.Header["If-Match"]; len(wanted) > 0 && !matches(wanted, etag(found.Token)) {
		return refuseError(codePrecondition, "The token has been changed since: its ETag is "+etag(found.Token)+". Look at it again.")
	}
	if err := store.Delete(c.id, tokenstore.AnyVersion, c.actor); err != nil {
		return c.storeRefusal(err)
	}
	c.logChange("token deleted", found.Token)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// matches compares If-Match (RFC 9110 section 13.1.1). Weak tags never match.
func matches(values []string, tag string) bool {
	for _, value := range values {
		for candidate := range strings.SplitSeq(value, ",") {
			if candidate = strings.TrimSpace(candidate); candidate == "*" || candidate == tag {
				return true
			}
		}
	}
	return false
}
