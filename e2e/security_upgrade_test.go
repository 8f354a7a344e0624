package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// upgrading is a handshake by a token that may use the path's websockets.
func upgrading(target, protocol string, header ...string) wireRequest {
	return wireRequest{target: target,
		header: append(by("$R", "Connection: Upgrade", "Upgrade: "+protocol, "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), header...)}
}

// switched wants the protocol to be switched.
func switched(token string) []verdict {
	return []verdict{{outcome: passes, status: []int{101}, token: token}}
}

const handshake = "GET /plain/socket HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "

// upgradeAttacks try to get a pipe to the backend: section 1.7.
var upgradeAttacks = []attack{
	{id: "UPG-00 websocket", wireRequest: upgrading("/plain/socket", "websocket"), want: switched("$R")},
	{id: "UPG-00 websocket, letter case", wireRequest: upgrading("/plain/socket", "WebSocket"), want: switched("$R")},
	{id: "UPG-00 websocket, list of options", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: keep-alive, upgrade", "Upgrade: websocket")}, want: switched("$R")},
	{id: "UPG-00 websocket, named headers",
		wireRequest: wireRequest{target: "/plain/socket",
			header: by("$R", "Connection: Upgrade, Authorization, X-Token-Name", "Upgrade: websocket",
				"X-Token-Name: root")}, want: switched("$R")},
	{id: "UPG-00 no upgrade", wireRequest: get("/plain/socket", by("$R")...), want: passed("$R")},
	{id: "UPG-01 h2c",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade, HTTP2-Settings",
			"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")}, want: passed("$R"),
		then: absent("Upgrade", "Http2-Settings")},
	{id: "UPG-01 h2c on a plain route",
		wireRequest: wireRequest{header: by("$R", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")}, want: passed("$R"),
		then: absent("Upgrade", "Http2-Settings")},
	{id: "UPG-01 h2c, no token",
		wireRequest: wireRequest{header: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}}, want: refused(401, "missing_token")},
	{id: "UPG-01 h2c, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css",
		header: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}}, want: untouched(200),
		then: absent("Upgrade", "Http2-Settings")},
	{id: "UPG-02 h2c without settings",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABk")}, want: passed("$R"), then: absent("Upgrade", "Http2-Settings")},
	{id: "UPG-02 h2c, upper case", wireRequest: upgrading("/plain/socket", "H2C"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 list", wireRequest: upgrading("/plain/socket", "websocket, h2c"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 list, h2c first", wireRequest: upgrading("/plain/socket", "h2c, websocket"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 two lines", wireRequest: upgrading("/plain/socket", "websocket", "Upgrade: h2c"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 foo", wireRequest: upgrading("/plain/socket", "foo"), want: passed("$R"), then: absent("Upgrade")},
	{id: "UPG-02 TLS", wireRequest: upgrading("/plain/socket", "TLS/1.0, HTTP/1.1"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 version", wireRequest: upgrading("/plain/socket", "websocket/13"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-02 not named in Connection", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: keep-alive", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{id: "UPG-02 no Connection", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{id: "UPG-03 no token", wireRequest: wireRequest{target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: refused(401, "missing_token")},
	{id: "UPG-03 bad token", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$U", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(401, "unknown_token")},
	{id: "UPG-03 scope missing", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$C", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(403, "insufficient_scope", "$C")},
	{id: "UPG-03 POST", wireRequest: wireRequest{method: "POST", target: "/plain/socket",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(405, "method_not_allowed", "$R")},
	{id: "UPG-04 on a route without", wireRequest: upgrading("/plain/read", "websocket"), want: passed("$R"),
		then: absent("Upgrade")},
	{id: "UPG-04 on an upload without", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Connection: Upgrade", "Upgrade: websocket"), body: "hello"}, want: passed("$C"),
		then: absent("Upgrade")},
	{id: "UPG-04 at a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{id: "UPG-04 untouched", wireRequest: wireRequest{host: browserHost, target: "/anything",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: untouched(200), then: absent("Upgrade")},
	{id: "UPG-04 listed, with session", wireRequest: wireRequest{host: browserHost, target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(101)},
	{id: "UPG-04 listed, without websockets, with session",
		wireRequest: wireRequest{host: browserHost, target: "/plain/read",
			header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(200), then: absent("Upgrade")},
	{id: "UPG-04 listed, without session", wireRequest: wireRequest{host: browserHost, target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: refused(401, "missing_token")},
	{id: "UPG-05 wrong version, then a request",
		wireRequest: wireRequest{raw: handshake + "777\r\n\r\n" + smuggledRequest},
		want: both([]verdict{{outcome: passes, status: []int{426}, token: "$R", sees: "GET /plain/socket"}},
			refused(401, "missing_token"))},
	{id: "UPG-06 early request", wireRequest: wireRequest{raw: handshake + "13\r\n\r\n" + smuggledRequest},
		want: []verdict{{outcome: passes, status: []int{101}, token: "$R", sees: "GET /plain/socket"}}},
	{id: "UPG-06 early request on a route without",
		wireRequest: wireRequest{
			raw: "GET /plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + smuggledRequest},
		want: both(passed("$R"), refused(401, "missing_token"))},
	{id: "UPG-07 early data, says a proxy before", wireRequest: post("x", by("$C", "Early-Data: 1")...),
		want: refused(425, "too_early")},
	{id: "UPG-07 early data, says a proxy twice and badly",
		wireRequest: post("x", by("$C", "Early-Data: 0", "Early-Data: no")...), want: refused(425, "too_early")},
	{id: "UPG-07 early data, says a proxy before, GET", wireRequest: get("/plain/read", by("$R", "Early-Data: 1")...),
		want: passed("$R"), then: sawHeader("Early-Data", "1")},
	{id: "UPG-08 with a body", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket"), body: smuggledRequest}, want: switched("$R")},
	{id: "UPG-08 with a chunked body",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: smuggledRequest, chunked: true}, want: switched("$R")},
	{id: "UPG-09 websocket in HTTP/2", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/socket", by("$R", "sec-websocket-version: 13", "sec-websocket-key: x")...),
		want:        passed("$R")},
	{id: "UPG-12 hop by hop in a 101", wireRequest: upgrading("/plain/socket?answer=upgrade-hop", "websocket"),
		want: switched("$R"), then: func(t *testing.T, x *exchange) {
			onlyEndToEnd(t, x)
			if got := x.answers[0].header.Get("X-Kept"); got != "yes" {
				t.Errorf("the client got X-Kept: %q", got)
			}
		}},
	{id: "UPG-12 hop by hop in a 101, with session",
		wireRequest: wireRequest{host: browserHost, target: "/plain/socket?answer=upgrade-hop",
			header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(101), then: onlyEndToEnd},
	{id: "UPG-13 unasked", wireRequest: get("/plain/read?answer=switch", by("$R")...),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 unasked, on a websocket's route", wireRequest: get("/plain/socket?answer=switch", by("$R")...),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 unasked, asked for in vain", wireRequest: upgrading("/plain/read?answer=switch", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 unasked, POST", wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=switch",
		header: by("$C"), body: "x"}, want: answered("$C", 502, "backend_error"),
		then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 unasked, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=switch",
		header: by("$C"), body: "x"}, want: answered("$C", 502, "backend_error"),
		then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 unasked and unnamed", wireRequest: get("/plain/read?answer=switch-unnamed", by("$R")...),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("X-Kept")},
	{id: "UPG-13 unasked and unnamed, POST",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=switch-unnamed", header: by("$C"),
			body: "x"}, want: answered("$C", 502, "backend_error"), then: withoutHeader("X-Kept")},
	{id: "UPG-13 to another protocol", wireRequest: upgrading("/plain/socket?answer=switch-other", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-13 to an unprintable protocol", wireRequest: upgrading("/plain/socket?answer=switch-odd", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{id: "UPG-12 cookie in a 101", wireRequest: upgrading("/plain/socket?answer=cookie-upgrade", "websocket"),
		want: switched("$R")},
	{id: "UPG-12 hop by hop in interim answers", wireRequest: asking("interim", "$R"), want: passed("$R"),
		then: func(t *testing.T, x *exchange) {
			onlyEndToEnd(t, x)
			var statuses []int
			for _, interim := range x.answers[0].interim {
				statuses = append(statuses, interim.status)
			}
			if !slices.Equal(statuses, []int{http.StatusProcessing, http.StatusEarlyHints}) {
				t.Errorf("the client got the interim answers %v", statuses)
			}
		}},
}

// onlyEndToEnd checks that no answer, interim ones included, brings the client a
// header that is for the connection to the backend, or repeats the credential.
func onlyEndToEnd(t *testing.T, x *exchange) {
	for _, answer := range append(x.answers[0].interim, x.answers[0]) {
		for name, values := range answer.header {
			hop := slices.Contains([]string{"Keep-Alive", "Proxy-Authenticate", "Trailer", "X-Hop"}, name)
			foreign := name == "Alt-Svc" && strings.Contains(values[0], "evil") // Caddy has one of its own
			if hop || foreign || name == "X-Echo" && values[0] != "" {
				t.Errorf("the client got %s: %q in the answer %d", name, values, answer.status)
			}
		}
	}
}
