package admin

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// parameters are the query's, each given once.
type parameters map[string]string

// parseParameters reads a query. Unlike net/url's, it takes a parameter once
// only and none that isn't allowed: a filter that is misspelt would be taken for
// none.
func parseParameters(query string, allowed []string) (parameters, *Refusal) {
	found := make(parameters)
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || !utf8.ValidString(name) {
			return nil, refuseParameter(strings.ToValidUTF8(rawName, "�"), "isn't percent-encoded UTF-8")
		}
		if !slices.Contains(allowed, name) {
			return nil, refuseParameter(name, unknownParameter(allowed))
		}
		if _, twice := found[name]; twice {
			return nil, refuseParameter(name, "is given more than once")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil || !utf8.ValidString(value) {
			return nil, refuseParameter(name, "isn't percent-encoded UTF-8")
		}
		found[name] = value
	}
	return found, nil
}

func unknownParameter(allowed []string) string {
	if len(allowed) == 0 {
		return "isn't known; this call has no parameters"
	}
	return "isn't known; known are " + strings.Join(allowed, ", ")
}
