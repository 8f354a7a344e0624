package admin

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// parameters maps the names of query parameters to their values.
type parameters map[string]string

// parseParameters parses a query. Unlike [url.ParseQuery], it refuses duplicate
// parameters. It also refuses unknown parameters, because ignoring a misspelled filter
// would return the wrong tokens.
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
			return nil, refuseParameter(name, "appears more than once")
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
		return "is unknown; this call has no parameters"
	}
	return "is unknown; known parameters are " + strings.Join(allowed, ", ")
}
