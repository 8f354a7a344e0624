package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// upgrading returns a handshake with a token that may use websockets on the given path.
func upgrading(target, protocol string, header ...string) wireRequest {
	return wireRequest{target: target,
		header: append(by("$R", "Connection: Upgrade", "Upgrade: "+protocol, "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), header...)}
}

// switched wants the gate to allow the request and the backend to switch protocols.
func switched(token string) []verdict {
	return []verdict{{outcome: passes, status: []int{101}, token: token}}
}

const handshake = "GET /plain/socket HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\n" +
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "

// upgradeAttacks try to obtain an unchecked connection to the backend.
var upgradeAttacks = []attack{
	{name: "websocket", wireRequest: upgrading("/plain/socket", "websocket"), want: switched("$R")},
	{name: "websocket, mixed case", wireRequest: upgrading("/plain/socket", "WebSocket"), want: switched("$R")},
	{name: "websocket, several connection options", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: keep-alive, upgrade", "Upgrade: websocket")}, want: switched("$R")},
	{name: "websocket, Connection names the credential",
		wireRequest: wireRequest{target: "/plain/socket",
			header: by("$R", "Connection: Upgrade, Authorization, X-Token-Name", "Upgrade: websocket",
				"X-Token-Name: root")}, want: switched("$R")},
	{name: "no upgrade", wireRequest: get("/plain/socket", by("$R")...), want: passed("$R")},
	{name: "h2c",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade, HTTP2-Settings",
			"Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")}, want: passed("$R"),
		then: absent("Upgrade", "Http2-Settings")},
	{name: "h2c on a plain route",
		wireRequest: wireRequest{header: by("$R", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")}, want: passed("$R"),
		then: absent("Upgrade", "Http2-Settings")},
	{name: "h2c, no token",
		wireRequest: wireRequest{header: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}}, want: refused(401, "missing_token")},
	{name: "h2c, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css",
		header: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}}, want: untouched(200),
		then: absent("Upgrade", "Http2-Settings")},
	{name: "h2c without settings",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABk")}, want: passed("$R"), then: absent("Upgrade", "Http2-Settings")},
	{name: "h2c, upper case", wireRequest: upgrading("/plain/socket", "H2C"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "list of protocols", wireRequest: upgrading("/plain/socket", "websocket, h2c"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "list of protocols, h2c first", wireRequest: upgrading("/plain/socket", "h2c, websocket"),
		want: passed("$R"),
		then: absent("Upgrade")},
	{name: "two Upgrade lines", wireRequest: upgrading("/plain/socket", "websocket", "Upgrade: h2c"),
		want: passed("$R"),
		then: absent("Upgrade")},
	{name: "unknown protocol", wireRequest: upgrading("/plain/socket", "foo"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "upgrade to TLS", wireRequest: upgrading("/plain/socket", "TLS/1.0, HTTP/1.1"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "websocket with a version", wireRequest: upgrading("/plain/socket", "websocket/13"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "Upgrade not named in Connection", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: keep-alive", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{name: "Upgrade without Connection", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{name: "websocket, no token", wireRequest: wireRequest{target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: refused(401, "missing_token")},
	{name: "websocket, bad token", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$U", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(401, "unknown_token")},
	{name: "websocket, insufficient scope", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$C", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(403, "insufficient_scope", "$C")},
	{name: "websocket, POST", wireRequest: wireRequest{method: "POST", target: "/plain/socket",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket")}, want: refused(405, "method_not_allowed", "$R")},
	{name: "websocket on a plain route", wireRequest: upgrading("/plain/read", "websocket"), want: passed("$R"),
		then: absent("Upgrade")},
	{name: "websocket on an upload route", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Connection: Upgrade", "Upgrade: websocket"), body: "hello"}, want: passed("$C"),
		then: absent("Upgrade")},
	{name: "websocket at Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket")}, want: passed("$R"), then: absent("Upgrade")},
	{name: "websocket, untouched", wireRequest: wireRequest{host: browserHost, target: "/anything",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: untouched(200), then: absent("Upgrade")},
	{name: "websocket, listed, with session", wireRequest: wireRequest{host: browserHost, target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(101)},
	{name: "websocket on a plain route, with session",
		wireRequest: wireRequest{host: browserHost, target: "/plain/read",
			header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(200), then: absent("Upgrade")},
	{name: "websocket, listed, without session", wireRequest: wireRequest{host: browserHost, target: "/plain/socket",
		header: []string{"Connection: Upgrade", "Upgrade: websocket"}}, want: refused(401, "missing_token")},
	{name: "wrong websocket version, then a request",
		wireRequest: wireRequest{raw: handshake + "777\r\n\r\n" + smuggledRequest},
		want: both([]verdict{{outcome: passes, status: []int{426}, token: "$R", sees: "GET /plain/socket"}},
			refused(401, "missing_token"))},
	{name: "request before the switch", wireRequest: wireRequest{raw: handshake + "13\r\n\r\n" + smuggledRequest},
		want: []verdict{{outcome: passes, status: []int{101}, token: "$R", sees: "GET /plain/socket"}}},
	{name: "request after an upgrade on a plain route",
		wireRequest: wireRequest{
			raw: "GET /plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\nConnection: Upgrade\r\n" +
				"Upgrade: websocket\r\n\r\n" + smuggledRequest},
		want: both(passed("$R"), refused(401, "missing_token"))},
	{name: "Early-Data header", wireRequest: post("x", by("$C", "Early-Data: 1")...),
		want: refused(425, "too_early")},
	{name: "two invalid Early-Data headers",
		wireRequest: post("x", by("$C", "Early-Data: 0", "Early-Data: no")...), want: refused(425, "too_early")},
	{name: "Early-Data header, GET", wireRequest: get("/plain/read", by("$R", "Early-Data: 1")...),
		want: passed("$R"), then: sawHeader("Early-Data", "1")},
	{name: "websocket with a body", wireRequest: wireRequest{target: "/plain/socket",
		header: by("$R", "Connection: Upgrade", "Upgrade: websocket"), body: smuggledRequest}, want: switched("$R")},
	{name: "websocket with a chunked body",
		wireRequest: wireRequest{target: "/plain/socket", header: by("$R", "Connection: Upgrade", "Upgrade: websocket"),
			body: smuggledRequest, chunked: true}, want: switched("$R")},
	{name: "websocket headers in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/socket", by("$R", "sec-websocket-version: 13", "sec-websocket-key: x")...),
		want:        passed("$R")},
	{name: "hop-by-hop headers in a 101", wireRequest: upgrading("/plain/socket?answer=upgrade-hop", "websocket"),
		want: switched("$R"), then: func(t *testing.T, x *exchange) {
			onlyEndToEnd(t, x)
			if got := x.responses[0].header.Get("X-Kept"); got != "yes" {
				t.Errorf("the client got X-Kept: %q", got)
			}
		}},
	{name: "hop-by-hop headers in a 101, with session",
		wireRequest: wireRequest{host: browserHost, target: "/plain/socket?answer=upgrade-hop",
			header: []string{"Connection: Upgrade", "Upgrade: websocket", "Cookie: molly_session=$Q"}},
		want: untouched(101), then: onlyEndToEnd},
	{name: "unrequested switch", wireRequest: get("/plain/read?answer=switch", by("$R")...),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{name: "unrequested switch on a websocket route", wireRequest: get("/plain/socket?answer=switch", by("$R")...),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{name: "switch on a plain route", wireRequest: upgrading("/plain/read?answer=switch", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{name: "unrequested switch, POST", wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=switch",
		header: by("$C"), body: "x"}, want: answered("$C", 502, "backend_error"),
		then: withoutHeader("Upgrade", "X-Kept")},
	{name: "unrequested switch, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=switch",
		header: by("$C"), body: "x"}, want: answered("$C", 502, "backend_error"),
		then: withoutHeader("Upgrade", "X-Kept")},
	{name: "unrequested switch to an unnamed protocol",
		wireRequest: get("/plain/read?answer=switch-unnamed", by("$R")...),
		want:        answered("$R", 502, "backend_error"), then: withoutHeader("X-Kept")},
	{name: "unrequested switch to an unnamed protocol, POST",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=switch-unnamed", header: by("$C"),
			body: "x"}, want: answered("$C", 502, "backend_error"), then: withoutHeader("X-Kept")},
	{name: "switch to another protocol", wireRequest: upgrading("/plain/socket?answer=switch-other", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{name: "switch to an unprintable protocol", wireRequest: upgrading("/plain/socket?answer=switch-odd", "websocket"),
		want: answered("$R", 502, "backend_error"), then: withoutHeader("Upgrade", "X-Kept")},
	{name: "cookie in a 101", wireRequest: upgrading("/plain/socket?answer=cookie-upgrade", "websocket"),
		want: switched("$R")},
	{name: "hop-by-hop headers in interim responses", wireRequest: asking("interim", "$R"), want: passed("$R"),
		then: func(t *testing.T, x *exchange) {
			onlyEndToEnd(t, x)
			var statuses []int
			for _, interim := range x.responses[0].interim {
				statuses = append(statuses, interim.status)
			}
			if !slices.Equal(statuses, []int{http.StatusProcessing, http.StatusEarlyHints}) {
				t.Errorf("the client got interim responses %v", statuses)
			}
		}},
}

// onlyEndToEnd checks that no response, including interim ones, contains the credential or a
// header specific to the backend connection.
func onlyEndToEnd(t *testing.T, x *exchange) {
	for _, response := range append(x.responses[0].interim, x.responses[0]) {
		for name, values := range response.header {
			hop := slices.Contains([]string{"Keep-Alive", "Proxy-Authenticate", "Trailer", "X-Hop"}, name)
			foreign := name == "Alt-Svc" && strings.Contains(values[0], "evil") // Caddy sends its own
			if hop || foreign || name == "X-Echo" && values[0] != "" {
				t.Errorf("the client got %s: %q in response %d", name, values, response.status)
			}
		}
	}
}
