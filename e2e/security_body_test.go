package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// announced is a request whose body is announced and never sent.
func announced(target string, header ...string) wireRequest {
	return wireRequest{method: "POST", target: target, header: header, unfinished: true}
}

const gigabyte = "Content-Length: 1000000000"

// bodyAttacks are bodies that are too large, or don't come: section 1.8. An
// answer that takes longer than [wirePatience] is none; Caddy would wait a minute
// for a body.
var bodyAttacks = []attack{
	{id: "BODY-01 announced", wireRequest: announced("/plain/write", gigabyte), want: refused(401, "missing_token"),
		then: noInterim},
	{id: "BODY-01 announced, expecting", wireRequest: announced("/plain/write", gigabyte, "Expect: 100-continue"),
		want: refused(401, "missing_token"), then: noInterim},
	{id: "BODY-01 announced, upload", wireRequest: announced("/plain/upload", gigabyte, "Expect: 100-continue"),
		want: refused(401, "missing_token"), then: noInterim},
	{id: "BODY-01 announced, bad token",
		wireRequest: announced("/plain/upload", by("$U", gigabyte, "Expect: 100-continue")...),
		want:        refused(401, "unknown_token"), then: noInterim},
	{id: "BODY-01 announced, scope missing",
		wireRequest: announced("/plain/upload", by("$R", gigabyte, "Expect: 100-continue")...),
		want:        refused(403, "insufficient_scope", "$R"), then: noInterim},
	{id: "BODY-01 announced, too large",
		wireRequest: announced("/plain/write", by("$C", gigabyte, "Expect: 100-continue")...),
		want:        refused(413, "body_too_large", "$C"), then: noInterim},
	{id: "BODY-01 announced, too large, upload",
		wireRequest: announced("/plain/upload", by("$C", gigabyte, "Expect: 100-continue")...),
		want:        refused(413, "body_too_large", "$C"), then: noInterim},
	{id: "BODY-01 announced, unlisted", wireRequest: announced("/nowhere", by("$C", gigabyte)...),
		want: refused(403, "route_not_allowed", "$C"), then: noInterim},
	{id: "BODY-01 announced, path", wireRequest: announced("/plain//write", by("$C", gigabyte)...),
		want: refused(400, "invalid_path"), then: noInterim},
	{id: "BODY-01 announced, CONNECT", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/write", header: []string{gigabyte},
			unfinished: true}, want: refused(405, "method_not_allowed"), then: noInterim},
	{id: "BODY-01 announced, browser", wireRequest: wireRequest{host: browserHost, method: "POST",
		target: "/plain/write", header: []string{gigabyte}, unfinished: true}, want: refused(401, "missing_token"),
		then: noInterim},
	{id: "BODY-02 begun",
		wireRequest: wireRequest{raw: "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\n" + gigabyte + "\r\n\r\n" +
			strings.Repeat("x", 100)}, want: refused(401, "missing_token")},
	{id: "BODY-03 chunk begun",
		wireRequest: wireRequest{
			raw: "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nx"},
		want: refused(401, "missing_token")},
	{id: "BODY-03 no chunk", wireRequest: wireRequest{method: "POST", target: "/plain/write", chunked: true,
		unfinished: true}, want: refused(401, "missing_token")},
	{id: "BODY-04 expecting, allowed", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Expect: 100-continue"), body: "hello"}, want: passed("$C"), then: bodyIs("hello")},
	{id: "BODY-04 expecting, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Expect: 100-continue"), body: "hello"}, want: passed("$C"), then: bodyIs("hello")},
	{id: "BODY-04 expecting something else", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Expect: 200-ok"), body: "hello"}, want: dropped(417),
		otherwise: map[string][]verdict{"h2": passed("$C"), "h3": passed("$C")}},
	{id: "BODY-04 expecting without a body", wireRequest: get("/plain/read", by("$R", "Expect: 100-continue")...),
		want: passed("$R")},
	{id: "BODY-09 declared at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1024)}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 1024))},
	{id: "BODY-09 declared above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1025)}, want: refused(413, "body_too_large", "$C")},
	{id: "BODY-09 undeclared at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1024), chunked: true}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 1024))},
	{id: "BODY-09 undeclared above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C"), body: strings.Repeat("x", 1025), chunked: true}, want: refused(413, "body_too_large", "$C")},
	{id: "BODY-10 upload declared at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10)}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 64<<10))},
	{id: "BODY-10 upload declared above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10+1)}, want: refused(413, "body_too_large", "$C")},
	{id: "BODY-10 upload undeclared at the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10), chunked: true}, want: passed("$C"),
		then: bodyIs(strings.Repeat("x", 64<<10))},
	{id: "BODY-10 upload undeclared above the limit", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C"), body: strings.Repeat("x", 64<<10+1), chunked: true},
		want: []verdict{{outcome: mayPass, status: []int{http.StatusRequestEntityTooLarge}, code: "body_too_large",
			token: "$C", sees: uploads}}},
	{id: "BODY-11 websocket, undeclared above the limit",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: strings.Repeat("x", 1025), chunked: true}, want: refused(413, "body_too_large", "$R")},
	{id: "BODY-11 websocket, declared above the limit",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: strings.Repeat("x", 1025)}, want: refused(413, "body_too_large", "$R")},
	{id: "BODY-12 token in the body", wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C"),
		body: "access_token=$A"}, want: passed("$C")},
}

func noInterim(t *testing.T, x *exchange) {
	for _, answer := range x.answers {
		if len(answer.interim) > 0 {
			t.Errorf("there was an answer %d before", answer.interim[0].status)
		}
	}
}
