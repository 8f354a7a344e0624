package mollymawk

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// readQuery reads a query. It refuses malformed escapes, which programs read differently.
func readQuery(query string) (values, error) {
	v := values{place: "The query"}
	for raw := range strings.SplitSeq(query, "&") {
		if raw == "" {
			continue
		}
		name, value, _ := strings.Cut(raw, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return values{}, invalid("The query has a malformed escape, or one that isn't UTF-8.")
		}
		v.members = append(v.members, quotedMember(name, value))
	}
	return v, nil
}

// query returns the values as a query.
func (v values) query() string {
	pairs := make([]string, 0, len(v.members))
	for _, m := range v.members {
		pairs = append(pairs, url.QueryEscape(m.name)+"="+url.QueryEscape(m.text()))
	}
	return strings.Join(pairs, "&")
}
