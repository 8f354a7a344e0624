package e2e

import (
	"slices"
	"testing"
)

// cacheAttacks try to have an answer kept and shown to others: section 1.9. That
// refusals may not be stored is checked with every one of them.
var cacheAttacks = []attack{
	{id: "CACHE-01 backend's refusal of the credential", wireRequest: asking("401", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: notStored},
	{id: "CACHE-01 backend's page", wireRequest: asking("html", "$R"), want: answered("$R", 404, "backend_error"),
		then: notStored},
	{id: "CACHE-01 backend's page that may be stored", wireRequest: asking("html-public", "$R"),
		want: answered("$R", 404, "backend_error"), then: notStored},
	{id: "CACHE-01 backend's redirect", wireRequest: asking("redirect", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: notStored},
	// The backend's own word about a good answer is left alone; security.md says what
	// to do where caches are.
	{id: "CACHE-02 public answer", wireRequest: asking("public", "$R"), want: passed("$R"),
		then: hasHeader("Cache-Control", "public, max-age=60")},
	{id: "CACHE-02 public answer, asked for without a token",
		wireRequest: wireRequest{target: "/plain/read?answer=public"}, want: refused(401, "missing_token")},
	{id: "CACHE-03 conditional",
		wireRequest: get("/plain/read",
			by("$R", `If-None-Match: "x"`, "If-Modified-Since: Tue, 24 Nov 2026 00:00:00 GMT")...), want: passed("$R")},
	{id: "CACHE-03 conditional, no token", wireRequest: get("/plain/read", `If-None-Match: "x"`, "If-None-Match: *"),
		want: refused(401, "missing_token")},
	{id: "CACHE-03 from caches only",
		wireRequest: get("/plain/read", "Cache-Control: only-if-cached, max-stale=999999"),
		want:        refused(401, "missing_token")},
	{id: "CACHE-04 suffix", wireRequest: get("/plain/read/x.css", by("$R")...),
		want: refused(403, "route_not_allowed", "$R")},
	{id: "CACHE-04 escaped suffix", wireRequest: get("/plain/read%2fx.css", by("$R")...),
		want: refused(400, "invalid_path")},
	{id: "CACHE-04 parameter", wireRequest: get("/plain/read;x.css", by("$R")...), want: refused(400, "invalid_path")},
	{id: "CACHE-05 next client's token", wireRequest: wireRequest{raw: pipelined("$R") + pipelined("$W")},
		want: both(passed("$R"), passed("$W"))},
}

// hasHeader checks that the client was told all of a header's values.
func hasHeader(name string, values ...string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.answers[0].header[name]; !slices.Equal(got, values) {
			t.Errorf("the client got %s: %q, want %q", name, got, values)
		}
	}
}

// notStored checks that an answer that the gate made itself may not be stored.
func notStored(t *testing.T, x *exchange) {
	if got := x.answers[0].header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}
