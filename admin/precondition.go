package admin

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mollygate/mollygate/tokenstore"
)

// etag names a version of the token's record; its usage is no part of it.
func etag(t *tokenstore.Token) string { return `"` + strconv.FormatUint(t.Version, 10) + `"` }

// version returns the version of the token that the call is meant for by its
// If-Match (RFC 9110 section 13.1.1), or any. The store holds it against the
// version once more when it makes the change.
func (c *call) version(store *tokenstore.Store) (uint64, *Refusal) {
	values := c.r.Header["If-Match"]
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "*" {
		return tokenstore.AnyVersion, nil
	}
	found, err := store.Get(c.id)
	if err != nil {
		return 0, c.storeRefusal(err)
	}
	if !slices.Contains(entityTags(strings.Join(values, ",")), etag(found.Token)) { // weak tags never match
		return 0, refuseVersion(found.Token.Version)
	}
	return found.Token.Version, nil
}

// entityTags returns the tags of a list, or none if it isn't one (RFC 9110 sections
// 5.6.1 and 8.8.3): elements may be empty, and commas may stand between the quotes of
// a tag, but no quotes and no white space.
func entityTags(list string) (tags []string) {
	for {
		list = strings.TrimLeft(list, ", \t")
		if list == "" {
			return tags
		}
		tag := entityTag.FindString(list)
		list = strings.TrimLeft(list[len(tag):], " \t")
		if tag == "" || list != "" && list[0] != ',' {
			return nil
		}
		tags = append(tags, tag)
	}
}

var entityTag = regexp.MustCompile(`^(W/)?"[^"\x00-\x20\x7f]*"`)

func refuseVersion(version uint64) *Refusal {
	return refuseError(codePrecondition, `If-Match doesn't name the token as it is now: its ETag is "`+strconv.FormatUint(version, 10)+`". Look at it again.`)
}
