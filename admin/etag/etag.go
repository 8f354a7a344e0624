// Package etag finds an entity tag in the preconditions of a request, also one that a
// server on the way has changed.
//
// Servers that compress answers change their strong tags, because the bytes are others:
// nginx and Cloudflare make them weak, Caddy, Apache and Jetty add the name of the
// coding. Clients send back what they have received (caddyserver/caddy#7096,
// mdn/content#4343). RFC 9110 section 13.1.1 lets neither form match in an If-Match,
// because what it names may be other bytes. The tags here name a version of what the
// bytes describe, and that is the same in each form.
package etag

import (
	"regexp"
	"strings"
)

// Match reports whether the lines of an If-Match or If-None-Match name tag, a strong
// tag with its quotes, or a weak or suffixed form of it. Lines that aren't a list of
// tags name none (RFC 9110 sections 5.6.1 and 8.8.3).
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

// entityTag allows commas between the quotes, but neither quotes nor white space.
var entityTag = regexp.MustCompile(`^(W/)?"[^"\x00-\x20\x7f]*"`)

// maxAdded is the most bytes that servers on the way add to a tag. Anybody may send
// longer ones, which should cost no time.
const maxAdded = 64

// isForm reports whether received is tag, or what servers on the way made of it.
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
		received = received[:coding[0]] + `"` // several servers may have added theirs
	}
	return false
}

// codingSuffix is what servers are known to add: "-gzip" (Caddy, Apache), "--gzip" and
// ";gzip" (Jetty), with the names of all content codings.
var codingSuffix = regexp.MustCompile(
	`(?i)[-;:_.+]{1,2}(?:(?:x-)?(?:gzip|gz|compress)|deflate|br|zstd|dcb|dcz|identity)"$`)
