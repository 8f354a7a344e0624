// Package etag matches an entity tag against a request's preconditions, even if an
// intermediary has changed the tag.
//
// Servers that compress responses change strong tags because the bytes differ: nginx and
// Cloudflare make the tag weak; Caddy, Apache and Jetty append the coding's name. Clients
// send back the changed tag (caddyserver/caddy#7096, mdn/content#4343). Under RFC 9110
// section 13.1.1, a changed tag doesn't match If-Match, because it may identify different
// bytes. The tags here identify a version of the content, which compression doesn't
// change.
package etag

import (
	"regexp"
	"strings"
)

// Match reports whether the lines of an If-Match or If-None-Match header contain tag or a
// weak or suffixed form of it. The tag argument must be strong and include the quotes.
// Lines that aren't a valid list of tags match nothing (RFC 9110 sections 5.6.1 and 8.8.3).
func Match(lines []string, tag string) bool {
	list := strings.Join(lines, ",")
	found := false
	for {
		list = strings.TrimLeft(list, ", \t") // elements may be empty
		if list == "" {
			return found
		}
		next := entityTag.FindString(list)
		list = strings.TrimLeft(list[len(next):], " \t")
		if next == "" || list != "" && list[0] != ',' {
			return false
		}
		found = found || isForm(next, tag)
	}
}

// entityTag matches a tag at the start of a list. A tag may contain commas but no quotes
// or white space.
var entityTag = regexp.MustCompile(`^(W/)?"[^"\x00-\x20\x7f]*"`)

// maxAdded is the maximum number of bytes that intermediaries may add to a tag. Longer
// tags don't match. The limit bounds the time spent on matching.
const maxAdded = 64

// isForm reports whether received is tag or a form of tag that intermediaries produce.
func isForm(received, tag string) bool {
	received = strings.TrimPrefix(received, "W/")
	for len(received) <= len(tag)+maxAdded {
		if received == tag {
			return true
		}
		coding := codingSuffix.FindStringIndex(received)
		if coding == nil {
			return false
		}
		received = received[:coding[0]] + `"` // several intermediaries may have added a coding
	}
	return false
}

// codingSuffix matches the suffixes that servers add, such as "-gzip" (Caddy, Apache),
// "--gzip" and ";gzip" (Jetty). It covers all content codings.
var codingSuffix = regexp.MustCompile(
	`(?i)[-;:_.+]{1,2}(?:(?:x-)?(?:gzip|gz|compress)|deflate|br|zstd|dcb|dcz|identity)"$`)
