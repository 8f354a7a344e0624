package admin

import (
	"strconv"
	"strings"

	"github.com/mollygate/mollygate/admin/etag"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// tagOf names a version of the token's record; its usage is no part of it.
func tagOf(t *token.Token) string { return `"` + strconv.FormatUint(t.Version, 10) + `"` }

// version returns the version of the token that the call is meant for by its
// If-Match (RFC 9110 section 13.1.1), or any. The store holds it against the
// version once more when it makes the change.
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
	return refuseError(codePrecondition, `If-Match doesn't name the token as it is now: its ETag is "`+
		strconv.FormatUint(version, 10)+`". Look at it again.`)
}
