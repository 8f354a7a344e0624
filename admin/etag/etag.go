// Package etag matches an entity tag against the preconditions of a request, even if an
// intermediary has changed the tag.
//
// Servers that compress responses change strong tags, because the bytes differ: nginx and
// Cloudflare make them weak; Caddy, Apache and Jetty append the name of the coding. Clients
// send back the tag that they have received (caddyserver/caddy#7096, mdn/content#4343). By
// RFC 9110 section 13.1.1, neither form matches in an If-Match, because it may name
// different bytes. The tags here name a version of the content, which is the same in each
// form.
package etag

import (
	"regexp"
	"strings"
)

// Match reports whether the lines of an If-Match or If-None-Match contain tag, or a weak or
// suffixed form of it. The tag is a strong one, with its quotes. Lines that aren't a valid
// list of tags match nothing (RFC 9110 sections 5.6.1 and 8.8.3).
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

// entityTag matches a tag at the start of a list. A tag may contain commas, but neither
// quotes nor white space.
var entityTag = regexp.MustCompile(`^(W/)?"[^"\x00-\x20\x7f]*"`)

// maxAdded is how many bytes intermediaries may add to a tag. Longer tags don't match; the
// limit bounds the time spent on them.
const maxAdded = 64

// isForm reports whether received is tag, or a form of it made by intermediaries.
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

// codingSuffix matches the suffixes that servers add: "-gzip" (Caddy, Apache), "--gzip" and
// ";gzip" (Jetty), with the names of all content codings.
var codingSuffix = regexp.MustCompile(
	`(?i)[-;:_.+]{1,2}(?:(?:x-)?(?:gzip|gz|compress)|deflate|br|zstd|dcb|dcz|identity)"$`)
