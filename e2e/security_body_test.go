package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// announced returns a request that announces a body but never sends it.
func announced(target string, header ...string) wireRequest {
	return wireRequest{method: "POST", target: target, header: header, unfinished: true}
}

const gigabyte = "Content-Length: 1000000000"

// bodyAttacks send bodies that are too large or never arrive. A response that takes longer
// than [exchangeTimeout] counts as missing; Caddy would wait a minute for a body.
var bodyAttacks = []attack{
	{name: "body announced", wireRequest: announced("/plain/write", gigabyte), want: refused(401, "missing_token"),
		then: noInterim},
	{name: "body announced, Expect", wireRequest: announced("/plain/write", gigabyte, "Expect: 100-continue"),
		want: refused(401, "missing_token"), then: noInterim},
	{name: "body announced, upload", wireRequest: announced("/plain/upload", gigabyte, "Expect: 100-continue"),
		want: refused(401, "missing_token"), then: noInterim},
	{name: "body announced, bad token",
		wireRequest: announced("/plain/upload", by("$U", gigabyte, "Expect: 100-continue")...),
		want:        refused(401, "unknown_token"), then: noInterim},
	{name: "body announced, insufficient scope",
		wireRequest: announced("/plain/upload", by("$R", gigabyte, "Expect: 100-continue")...),
		want:        refused(403, "insufficient_scope", "$R"), then: noInterim},
	{name: "body announced, too large",
		wireRequest: announced("/plain/write", by("$C", gigabyte, "Expect: 100-continue")...),
		want:        refused(413, "body_too_large", "$C"), then: noInterim},
	{name: "body announced, too large, upload",
		wireRequest: announced("/plain/upload", by("$C", gigabyte, "Expect: 100-continue")...),
		want:        refused(413, "body_too_large", "$C"), then: noInterim},
	{name: "body announced, unlisted", wireRequest: announced("/nowhere", by("$C", gigabyte)...),
		want: refused(403, "route_not_allowed", "$C"), then: noInterim},
	{name: "body announced, invalid path", wireRequest: announced("/plain//write", by("$C", gigabyte)...),
		want: refused(400, "invalid_path"), then: noInterim},
	{name: "body announced, CONNECT", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/write", header: []string{gigabyte},
			unfinished: true}, want: refused(405, "method_not_allowed"), then: noInterim},
	{name: "body announced, browser", wireRequest: wireRequest{host: browserHost, method: "POST",
		target: "/plain/write", header: []string{gigabyte}, unfinished: true}, want: refused(401, "missing_token"),
		then: noInterim},
	{name: "body begun",
		wireRequest: wireRequest{raw: "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\n" + gigabyte + "\r\n\r\n" +
			strings.Repeat("x", 100)}, want: refused(401, "missing_token")},
	{name: "chunk begun",
		wireRequest: wireRequest{
			raw: "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nx"},
		want: refused(401, "missing_token")},
	{name: "no chunk", wireRequest: wireRequest{method: "POST", target: "/plain/write", chunked: true,
		unfinished: true}, want: refused(401, "missing_token")},
	{name: "Expect, allowed", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Expect: 100-continue"), body: "hello"}, want: passed("$C"), then: bodyIs("hello")},
	{name: "Expect, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Expect: 100-continue"), body: "hello"}, want: passed("$C"), then: bodyIs("hello")},
	{name: "Expect with an unknown value", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Expect: 200-ok"), body: "hello"}, want: dropped(417),
		otherwise: map[string][]verdict{"h2": passed("$C"), "h3": passed("$C")}},
	{name: "Expect without a body", wireRequest: get("/plain/read", by("$R", "Expect: 100-continue")...),
		want: passed("$R")},
	{name: "declared body at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1024)}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 1024))},
	{name: "declared body above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1025)}, want: refused(413, "body_too_large", "$C")},
	{name: "undeclared body at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1024), chunked: true}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 1024))},
	{name: "undeclared body above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1025), chunked: true}, want: refused(413, "body_too_large", "$C")},
	{name: "declared upload at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10)}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 64<<10))},
	{name: "declared upload above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10+1)}, want: refused(413, "body_too_large", "$C")},
	{name: "undeclared upload at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10), chunked: true}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 64<<10))},
	{name: "undeclared upload above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10+1), chunked: true},
		want: []verdict{{outcome: mayPass, status: []int{http.StatusRequestEntityTooLarge}, code: "body_too_large",
			token: "$C", sees: uploads}}},
	{name: "websocket, undeclared above the limit",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: strings.Repeat("x", 1025), chunked: true}, want: refused(413, "body_too_large", "$R")},
	{name: "websocket, declared above the limit",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: strings.Repeat("x", 1025)}, want: refused(413, "body_too_large", "$R")},
	{name: "token in the body", wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C"),
		body: "access_token=$A"}, want: passed("$C")},
}

func noInterim(t *testing.T, x *exchange) {
	for _, response := range x.responses {
		if len(response.interim) > 0 {
			t.Errorf("got interim response %d", response.interim[0].status)
		}
	}
}
