package e2e

import (
	"slices"
	"testing"
)

// cacheAttacks try to get a response cached and served to other clients. The invariants check
// that no refusal is cacheable.
var cacheAttacks = []attack{
	{name: "backend's refusal of the credential", wireRequest: asking("401", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: notStored},
	{name: "backend's error page", wireRequest: asking("html", "$R"), want: answered("$R", 404, "backend_error"),
		then: notStored},
	{name: "backend's error page that may be stored", wireRequest: asking("html-public", "$R"),
		want: answered("$R", 404, "backend_error"), then: notStored},
	{name: "backend's redirect", wireRequest: asking("redirect", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: notStored},
	// The gate keeps the backend's own Cache-Control on a successful response; security.md
	// explains what to do if there are caches.
	{name: "public response", wireRequest: asking("public", "$R"), want: passed("$R"),
		then: hasHeader("Cache-Control", "public, max-age=60")},
	{name: "public response, no token",
		wireRequest: wireRequest{target: "/plain/read?answer=public"}, want: refused(401, "missing_token")},
	{name: "conditional request",
		wireRequest: get("/plain/read",
			by("$R", `If-None-Match: "x"`, "If-Modified-Since: Tue, 24 Nov 2026 00:00:00 GMT")...), want: passed("$R")},
	{name: "conditional request, no token", wireRequest: get("/plain/read", `If-None-Match: "x"`, "If-None-Match: *"),
		want: refused(401, "missing_token")},
	{name: "from caches only",
		wireRequest: get("/plain/read", "Cache-Control: only-if-cached, max-stale=999999"),
		want:        refused(401, "missing_token")},
	{name: "path with a suffix", wireRequest: get("/plain/read/x.css", by("$R")...),
		want: refused(403, "route_not_allowed", "$R")},
	{name: "path with an escaped suffix", wireRequest: get("/plain/read%2fx.css", by("$R")...),
		want: refused(400, "invalid_path")},
	{name: "path with a parameter", wireRequest: get("/plain/read;x.css", by("$R")...),
		want: refused(400, "invalid_path")},
	{name: "two tokens on one connection", wireRequest: wireRequest{raw: pipelined("$R") + pipelined("$W")},
		want: both(passed("$R"), passed("$W"))},
}

// hasHeader checks that the client got exactly the given values for a header.
func hasHeader(name string, values ...string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.responses[0].header[name]; !slices.Equal(got, values) {
			t.Errorf("the client got %s: %q, want %q", name, got, values)
		}
	}
}

// notStored checks that a response from the gate isn't cacheable.
func notStored(t *testing.T, x *exchange) {
	if got := x.responses[0].header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
}
