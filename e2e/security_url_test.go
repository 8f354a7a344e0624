package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// urlAttacks put a token where it is logged. That no log has it is one of the invariants.
var urlAttacks = []attack{
	{id: "LOG-03 query", wireRequest: get("/plain/read?access_token=$R"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 query, with a credential", wireRequest: get("/plain/read?access_token=$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 query, another's", wireRequest: get("/plain/read?a=b&token=$C&c=d", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 query, no name", wireRequest: get("/plain/read?$R"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 query, within a text", wireRequest: get("/plain/read?xx$Ryy"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 query, escaped underscores", wireRequest: get("/plain/read?t=$r"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 query, escaped", wireRequest: get("/plain/read?t=" + escapedName("$R")),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 query, escaped twice", wireRequest: get("/plain/read?t=" + escapedTwice("$R")),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 path, escaped twice", wireRequest: get("/wild/"+escapedTwice("$R"), by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 query, two", wireRequest: get("/plain/read?t=$R$C"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 admin token", wireRequest: get("/plain/read?t=$M"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 unknown token", wireRequest: get("/plain/read?t=$U"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 path", wireRequest: get("/wild/$R", by("$R")...), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 path, escaped underscores", wireRequest: get("/wild/$r", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 path, escaped", wireRequest: get("/wild/"+escapedName("$R"), by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 path, unlisted", wireRequest: get("/$R"), want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 path before dots", wireRequest: get("/$R/../plain/read", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 fragment", over: []string{"h1", "h2", "h2c"}, wireRequest: get("/plain/read#$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css?t=$R"},
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 untouched, with session", wireRequest: wireRequest{host: browserHost, target: "/plain/read?t=$R",
		header: []string{"Cookie: molly_session=$Q"}}, want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 POST", wireRequest: wireRequest{method: "POST", target: "/plain/write?t=$C", header: by("$C"),
		body: "x"}, want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 TRACE", wireRequest: wireRequest{method: "TRACE", target: "/plain/read?t=$R"},
		want: refused(405, "method_not_allowed")},
	{id: "LOG-03 CONNECT", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/read?t=$R"},
		want:        refused(405, "method_not_allowed")},
	{id: "LOG-03 rewritten away", wireRequest: wireRequest{host: rewriteHost, target: "/old/$R", header: by("$R")},
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 query rewritten away", wireRequest: wireRequest{host: rewriteHost, target: "/query?t=$R",
		header: by("$R")}, want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 stripped", wireRequest: wireRequest{host: pathHost, target: "/v1/plain/read?t=$R", header: by("$R")},
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 absolute form", over: []string{"h1"}, wireRequest: get("http://gated.test/plain/read?t=$R"),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 user of the absolute form", over: []string{"h1"}, wireRequest: get("http://$R@gated.test/plain/read",
		by("$R")...), want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 password of the absolute form", over: []string{"h1"},
		wireRequest: get("http://a:$R@gated.test/plain/read", by("$R")...), want: refused(400, "token_in_url"),
		then: redactedLine},
	{id: "LOG-03 opaque query", wireRequest: get("/plain/read?t=%zz$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{id: "LOG-03 one letter short",
		wireRequest: get("/plain/read?t=mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7", by("$R")...),
		want:        passed("$R")},
	{id: "LOG-16 address",
		wireRequest: get("/plain/read", by("$R", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1",
			"Forwarded: for=192.0.2.1")...), want: passed("$R"), then: realAddress("$R")},
	{id: "LOG-16 address, refused",
		wireRequest: get("/plain/read", by("$U", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1")...),
		want:        refused(401, "unknown_token"), then: realAddress("")},
	{id: "LOG-05 Referer", wireRequest: get("/plain/read", by("$R", "Referer: https://gated.test/plain/read?t=$C")...),
		want: passed("$R")},
	{id: "LOG-05 Referer, untouched", wireRequest: wireRequest{host: browserHost, target: "/favicon.ico",
		header: []string{"Referer: https://browser.test/?t=$C"}}, want: untouched(200)},
	{id: "LOG-05 another header", wireRequest: get("/plain/read", by("$R", "X-Api-Key: $C")...), want: passed("$R")},
	{id: "LOG-05 another header, refused", wireRequest: get("/plain/read", "X-Api-Key: $C"),
		want: refused(401, "missing_token")},
	{id: "LOG-05 a header that Caddy drops", wireRequest: get("/plain/read", by("$R", "X_Api_Key: $C")...),
		want: passed("$R")},
	{id: "LOG-05 a header that the gate drops", wireRequest: get("/plain/read", by("$R", "X-Token-Id: $C")...),
		want: passed("$R")},
	{id: "LOG-05 escaped twice", wireRequest: get("/plain/read", by("$R", "X-Api-Key: "+escapedTwice("$C"))...),
		want: passed("$R")},
	{id: "LOG-05 backend away", wireRequest: wireRequest{host: awayHost, target: "/plain/read",
		header: by("$R", "X-Api-Key: $C")}, want: answeredByNobody("$R", 502, "backend_unreachable")},
	{id: "LOG-05 cookie", wireRequest: get("/plain/read", by("$R", "Cookie: token=$C")...), want: passed("$R")},
}

// realAddress checks that the address that is logged, and kept of the token, is
// none that the client has made up.
func realAddress(token string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		for line := range strings.Lines(x.log) {
			var entry struct {
				ClientIP string `json:"client_ip"`
				Request  struct {
					ClientIP string `json:"client_ip"`
				}
			}
			if json.Unmarshal([]byte(line), &entry) == nil &&
				(entry.ClientIP == "192.0.2.1" || entry.Request.ClientIP == "192.0.2.1") {
				t.Errorf("the log says %s", line)
			}
		}
		if token == "" {
			return
		}
		var object struct {
			LastUsedIP string `json:"last_used_ip"`
		}
		x.decode(x.getAdmin("/api_tokens/v1/tokens/"+tokenID(x.tokens[token])), &object)
		if object.LastUsedIP != "127.0.0.1" {
			t.Errorf("the token was last used from %q", object.LastUsedIP)
		}
	}
}

// redactedLine checks that the access log has its line of a request with a token in
// its URL, without the secret.
func redactedLine(t *testing.T, x *exchange) {
	if !strings.Contains(x.answers[0].body, "token_in_url") {
		return // which has been told
	}
	eventually(t, "the access log has the refusal", func() bool {
		for line := range strings.Lines(x.logSince(x.mark)) {
			var entry accessLine
			if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(entry.Logger, "http.log.access") &&
				entry.Status == 400 {
				return strings.Contains(entry.Request.URI, "REDACTED")
			}
		}
		return false
	}, noNote{})
}
