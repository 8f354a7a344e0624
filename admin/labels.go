package admin

import (
	"slices"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// Metadata keys with a meaning for the dashboard and for lists.
const (
	ownerKey = "owner"
	// tagsKey is the key of a comma-separated list of tags.
	tagsKey = "tags"
)

// tagsOf returns a token's tags.
func tagsOf(t *token.Token) []string {
	tags := strings.Split(t.Metadata[tagsKey], ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return slices.DeleteFunc(tags, func(tag string) bool { return tag == "" })
}
