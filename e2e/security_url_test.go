package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// urlAttacks put a token where Caddy would log it. The invariants check that no log contains
// the token.
var urlAttacks = []attack{
	{name: "token in the query", wireRequest: get("/plain/read?access_token=$R"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the query, with a credential", wireRequest: get("/plain/read?access_token=$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "another token in the query", wireRequest: get("/plain/read?a=b&token=$C&c=d", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, no name", wireRequest: get("/plain/read?$R"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the query, within text", wireRequest: get("/plain/read?xx$Ryy"),
		want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the query, escaped underscores", wireRequest: get("/plain/read?t=$r"),
		want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the query, escaped", wireRequest: get("/plain/read?t=" + escapedName("$R")),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, escaped twice", wireRequest: get("/plain/read?t=" + escapedTwice("$R")),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the path, escaped twice", wireRequest: get("/wild/"+escapedTwice("$R"), by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "two tokens in the query", wireRequest: get("/plain/read?t=$R$C"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "admin token in the query", wireRequest: get("/plain/read?t=$M"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "unknown token in the query", wireRequest: get("/plain/read?t=$U"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the path", wireRequest: get("/wild/$R", by("$R")...), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token in the path, escaped underscores", wireRequest: get("/wild/$r", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the path, escaped", wireRequest: get("/wild/"+escapedName("$R"), by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in an unlisted path", wireRequest: get("/$R"), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token before dots", wireRequest: get("/$R/../plain/read", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the fragment", over: []string{"h1", "h2", "h2c"}, wireRequest: get("/plain/read#$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css?t=$R"},
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, untouched, with session",
		wireRequest: wireRequest{host: browserHost, target: "/plain/read?t=$R",
			header: []string{"Cookie: molly_session=$Q"}}, want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, POST",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?t=$C", header: by("$C"),
			body: "x"}, want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, TRACE", wireRequest: wireRequest{method: "TRACE", target: "/plain/read?t=$R"},
		want: refused(405, "method_not_allowed")},
	{name: "token in the query, CONNECT", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/read?t=$R"},
		want:        refused(405, "method_not_allowed")},
	{name: "token removed by a path rewrite",
		wireRequest: wireRequest{host: rewriteHost, target: "/old/$R", header: by("$R")},
		want:        refused(400, "token_in_url"), then: redactedLine},
	{name: "token removed by a query rewrite", wireRequest: wireRequest{host: rewriteHost, target: "/query?t=$R",
		header: by("$R")}, want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, prefix stripped",
		wireRequest: wireRequest{host: pathHost, target: "/v1/plain/read?t=$R", header: by("$R")},
		want:        refused(400, "token_in_url"), then: redactedLine},
	{name: "token in the query, absolute form", over: []string{"h1"},
		wireRequest: get("http://gated.test/plain/read?t=$R"),
		want:        refused(400, "token_in_url"), then: redactedLine},
	{name: "token as the user in an absolute URL", over: []string{"h1"},
		wireRequest: get("http://$R@gated.test/plain/read",
			by("$R")...), want: refused(400, "token_in_url"), then: redactedLine},
	{name: "token as the password in an absolute URL", over: []string{"h1"},
		wireRequest: get("http://a:$R@gated.test/plain/read", by("$R")...), want: refused(400, "token_in_url"),
		then: redactedLine},
	{name: "token after an invalid escape", wireRequest: get("/plain/read?t=%zz$R", by("$R")...),
		want: refused(400, "token_in_url"), then: redactedLine},
	{name: "truncated token",
		wireRequest: get("/plain/read?t=mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7", by("$R")...),
		want:        passed("$R")},
	{name: "forged client address",
		wireRequest: get("/plain/read", by("$R", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1",
			"Forwarded: for=192.0.2.1")...), want: passed("$R"), then: realAddress("$R")},
	{name: "forged client address, refused",
		wireRequest: get("/plain/read", by("$U", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1")...),
		want:        refused(401, "unknown_token"), then: realAddress("")},
	{name: "token in Referer",
		wireRequest: get("/plain/read", by("$R", "Referer: https://gated.test/plain/read?t=$C")...),
		want:        passed("$R")},
	{name: "token in Referer, untouched", wireRequest: wireRequest{host: browserHost, target: "/favicon.ico",
		header: []string{"Referer: https://browser.test/?t=$C"}}, want: untouched(200)},
	{name: "token in another header", wireRequest: get("/plain/read", by("$R", "X-Api-Key: $C")...),
		want: passed("$R")},
	{name: "token in another header, refused", wireRequest: get("/plain/read", "X-Api-Key: $C"),
		want: refused(401, "missing_token")},
	{name: "token in a header that Caddy drops", wireRequest: get("/plain/read", by("$R", "X_Api_Key: $C")...),
		want: passed("$R")},
	{name: "token in a header that the gate drops", wireRequest: get("/plain/read", by("$R", "X-Token-Id: $C")...),
		want: passed("$R")},
	{name: "token in another header, escaped twice",
		wireRequest: get("/plain/read", by("$R", "X-Api-Key: "+escapedTwice("$C"))...),
		want:        passed("$R")},
	{name: "token in another header, backend down", wireRequest: wireRequest{host: awayHost, target: "/plain/read",
		header: by("$R", "X-Api-Key: $C")}, want: answeredByNobody("$R", 502, "backend_unreachable")},
	{name: "token in a cookie", wireRequest: get("/plain/read", by("$R", "Cookie: token=$C")...), want: passed("$R")},
}

// realAddress checks that neither the log nor the token's last use contains an address that
// the client made up.
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
				t.Errorf("the log contains a forged address: %s", line)
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
			t.Errorf("the token's last-used address is %q", object.LastUsedIP)
		}
	}
}

// redactedLine checks that the access log line for a request with a token in its URL exists
// and doesn't contain the secret.
func redactedLine(t *testing.T, x *exchange) {
	if !strings.Contains(x.responses[0].body, "token_in_url") {
		return // the test has already failed
	}
	eventually(t, "the access log contains the refusal", func() bool {
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
