package admin

import (
	"strconv"
	"strings"

	"github.com/mollygate/mollygate/admin/etag"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// tagOf returns the entity tag of a token's record. Usage doesn't change the tag.
func tagOf(t *token.Token) string { return `"` + strconv.FormatUint(t.Version, 10) + `"` }

// version returns the token version that If-Match requires (RFC 9110 section 13.1.1), or
// token.AnyVersion. The store checks the version again when it makes the change.
func (c *call) version(store *tokenstore.Store) (uint64, *Refusal) {
	values := c.r.Header["If-Match"]
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "*" {
		return token.AnyVersion, nil
	}
	found, err := store.Get(c.id)
	if err != nil {
		return 0, c.storeRefusal(err)
	}
	if !etag.Match(values, tagOf(found.Token)) {
		return 0, refuseVersion(found.Token.Version)
	}
	return found.Token.Version, nil
}

func refuseVersion(version uint64) *Refusal {
	return refuseError(codePrecondition, `If-Match doesn't match the token's current ETag "`+
		strconv.FormatUint(version, 10)+`". Get the token again to see what changed.`)
}
