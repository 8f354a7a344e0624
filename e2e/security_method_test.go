package e2e

import (
	"strings"
	"testing"
)

// smuggledRequest is a request hidden in a body, which some backends would treat as the next
// request.
const smuggledRequest = "GET /plain/read?smuggled HTTP/1.1\r\nHost: gated.test\r\nX-Token-Name: root\r\n\r\n"

// tunnel returns an HTTP/2 or HTTP/3 CONNECT request.
func tunnel(host string, header ...string) wireRequest {
	return wireRequest{host: host, method: "CONNECT", pseudo: []string{":method CONNECT", ":authority " + host},
		header: header, body: smuggledRequest, chunked: true}
}

// extendedTunnel returns the CONNECT request that opens a websocket (RFC 8441, RFC 9220).
func extendedTunnel(host, path, protocol string, header ...string) wireRequest {
	return wireRequest{host: host, method: "CONNECT", header: header, body: smuggledRequest, chunked: true,
		pseudo: []string{":method CONNECT", ":protocol " + protocol, ":scheme https", ":path " + path,
			":authority " + host}}
}

// method returns a request with the given method.
func method(name string, header ...string) wireRequest {
	return wireRequest{method: name, header: header}
}

// post returns a POST request with a body.
func post(body string, header ...string) wireRequest {
	return wireRequest{method: "POST", target: "/plain/write", header: header, body: body}
}

// methodAttacks use methods that some components treat specially.
var methodAttacks = []attack{
	{name: "tunnel, reader", wireRequest: tunnel(gatedHost, by("$R")...),
		want: refused(405, "method_not_allowed")},
	{name: "tunnel, all scopes", wireRequest: tunnel(gatedHost, by("$A")...),
		want: refused(405, "method_not_allowed")},
	{name: "tunnel, admin", wireRequest: tunnel(gatedHost, by("$M")...), want: refused(405, "method_not_allowed")},
	{name: "tunnel, no token", wireRequest: tunnel(gatedHost), want: refused(405, "method_not_allowed")},
	{name: "tunnel, bad token", wireRequest: tunnel(gatedHost, by("$U")...),
		want: refused(405, "method_not_allowed")},
	{name: "tunnel, browser", wireRequest: tunnel(browserHost), want: refused(405, "method_not_allowed")},
	{name: "tunnel, browser with session", wireRequest: tunnel(browserHost, "Cookie: molly_session=$Q"),
		want: refused(405, "method_not_allowed")},
	{name: "tunnel, Mollymawk", wireRequest: tunnel(gatedMollyHost, by("$A")...),
		want: refused(405, "method_not_allowed")},
	{name: "extended CONNECT, websocket", wireRequest: extendedTunnel(gatedHost, "/plain/socket", "websocket",
		by("$A")...), want: refused(405, "method_not_allowed")},
	{name: "extended CONNECT, websocket on a plain route", wireRequest: extendedTunnel(gatedHost, "/plain/read",
		"websocket", by("$A")...), want: refused(405, "method_not_allowed")},
	{name: "extended CONNECT, no token", wireRequest: extendedTunnel(gatedHost, "/plain/socket", "websocket"),
		want: refused(405, "method_not_allowed")},
	{name: "extended CONNECT, browser", wireRequest: extendedTunnel(browserHost, "/anything", "websocket"),
		want: refused(405, "method_not_allowed")},
	{name: "extended CONNECT, connect-udp", wireRequest: extendedTunnel(gatedHost, "/plain/socket", "connect-udp",
		by("$A")...), want: refused(405, "method_not_allowed")},
	{name: "GET with :protocol", wireRequest: wireRequest{target: "/plain/socket", header: by("$A"),
		pseudo: []string{":method GET", ":protocol websocket", ":scheme https", ":path /plain/socket",
			":authority gated.test"}}, want: broken("$A", 0, 200, 400, 502)},
	{name: "tunnel with a path",
		wireRequest: wireRequest{header: by("$A"), pseudo: []string{":method CONNECT", ":scheme https",
			":path /plain/read", ":authority gated.test"}}, want: dropped(0)},
	{name: "CONNECT with an authority", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "gated.test:80",
			header: by("$A")}, want: refused(405, "method_not_allowed")},
	{name: "CONNECT with an authority, no token", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "gated.test:80"}, want: refused(405, "method_not_allowed")},
	{name: "CONNECT with an authority, browser", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "browser.test:80", host: browserHost},
		want:        refused(405, "method_not_allowed")},
	{name: "CONNECT to the admin endpoint", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "127.0.0.1:2019", header: by("$A")},
		want:        dropped(200, 400, 404)},
	{name: "CONNECT with a path", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/read",
			header: by("$A")}, want: refused(405, "method_not_allowed")},
	{name: "CONNECT with a path, browser", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "/plain/read", host: browserHost},
		want:        refused(405, "method_not_allowed")},
	{name: "CONNECT with a body", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "gated.test:80", header: by("$A"), body: smuggledRequest},
		want:        refused(405, "method_not_allowed")},
	{name: "CONNECT with a chunked body", over: []string{"h1"},
		wireRequest: wireRequest{method: "CONNECT", target: "gated.test:80", header: by("$A"), body: smuggledRequest,
			chunked: true}, want: refused(405, "method_not_allowed")},
	{name: "CONNECT in lower case", over: []string{"h1"},
		wireRequest: wireRequest{method: "connect", target: "/plain/read",
			header: by("$A")}, want: refused(405, "method_not_allowed", "$A")},
	{name: "TRACE", wireRequest: method("TRACE", by("$R")...), want: refused(405, "method_not_allowed")},
	{name: "TRACE, no token", wireRequest: method("TRACE"), want: refused(405, "method_not_allowed")},
	{name: "TRACE, browser", wireRequest: wireRequest{method: "TRACE", host: browserHost, target: "/style.css",
		header: by("$R")}, want: refused(405, "method_not_allowed")},
	{name: "TRACE with Max-Forwards", wireRequest: method("TRACE", by("$R", "Max-Forwards: 0")...),
		want: refused(405, "method_not_allowed")},
	{name: "TRACE in lower case", wireRequest: method("trace", by("$R")...),
		want: refused(405, "method_not_allowed", "$R")},
	{name: "TRACE in lower case, browser", wireRequest: wireRequest{method: "trace", host: browserHost,
		target: "/style.css"}, want: untouched(200)},
	{name: "HEAD", wireRequest: method("HEAD", by("$R")...), want: refused(405, "method_not_allowed", "$R")},
	{name: "HEAD, insufficient scope", wireRequest: method("HEAD", by("$C")...),
		want: refused(405, "method_not_allowed", "$C")},
	{name: "HEAD, no token", wireRequest: method("HEAD"), want: refused(401, "missing_token")},
	{name: "HEAD, browser with session", wireRequest: wireRequest{method: "HEAD", host: browserHost,
		target: "/plain/read", header: []string{"Cookie: molly_session=$Q"}}, want: refused(405, "method_not_allowed")},
	{name: "GET in lower case", wireRequest: method("get", by("$R")...),
		want: refused(405, "method_not_allowed", "$R")},
	{name: "GET in mixed case", wireRequest: method("GeT", by("$R")...),
		want: refused(405, "method_not_allowed", "$R")},
	{name: "PROPFIND", wireRequest: method("PROPFIND", by("$R")...),
		want: refused(405, "method_not_allowed", "$R")},
	{name: "QUERY", wireRequest: method("QUERY", by("$R")...), want: refused(405, "method_not_allowed", "$R")},
	{name: "PRI", wireRequest: method("PRI", by("$R")...), want: refused(405, "method_not_allowed", "$R")},
	{name: "unknown method", wireRequest: method("FOO", by("$R")...), want: refused(405, "method_not_allowed", "$R")},
	{name: "method with punctuation", wireRequest: method("GET!", by("$R")...),
		want: refused(405, "method_not_allowed", "$R")},
	{name: "PATCH", wireRequest: wireRequest{method: "PATCH", target: "/plain/write", header: by("$C"), body: "x"},
		want: refused(405, "method_not_allowed", "$C")},
	{name: "method of 33 letters", wireRequest: method(strings.Repeat("A", 33), by("$R")...), want: dropped(405)},
	{name: "line break in the method", over: []string{"h2", "h2c", "h3"},
		wireRequest: method("GET /plain/read HTTP/1.1\r\nX: y",
			by("$R")...), want: dropped(400, 0)},
	{name: "line break in the method, untouched", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{host: browserHost, method: "GET /plain/read HTTP/1.1\r\nX: y", target: "/style.css"},
		want:        dropped(400, 0)},
	{name: "space in the method", over: []string{"h2", "h2c", "h3"}, wireRequest: method("GET ", by("$R")...),
		want: refused(405, "method_not_allowed", "$R"), otherwise: map[string][]verdict{"h3": dropped(400, 0)}},
	{name: "space in the method, untouched", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{host: browserHost, method: "GET /plain/write ", target: "/style.css"},
		want:        dropped(502, 400, 0)},
	{name: "no method", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{header: by("$R"), pseudo: []string{":scheme https", ":authority gated.test",
			":path /plain/read"}}, want: dropped(400, 0)},
	{name: "two methods", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":method POST", ":scheme https",
			":authority gated.test", ":path /plain/read"}}, want: dropped(400, 0)},
	{name: "two spaces after the method",
		wireRequest: wireRequest{
			raw: "GET  /plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\n\r\n"},
		want: dropped(400)},
	{name: "space before the method",
		wireRequest: wireRequest{
			raw: " GET /plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\n\r\n"},
		want: dropped(400)},
	{name: "tab after the method",
		wireRequest: wireRequest{
			raw: "GET\t/plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer $R\r\n\r\n"},
		want: dropped(400)},
	{name: "GET with a body", wireRequest: wireRequest{header: by("$R"), body: smuggledRequest},
		want: passed("$R")},
	{name: "DELETE with a body", wireRequest: wireRequest{method: "DELETE", target: "/plain/write",
		header: by("$C"), body: smuggledRequest}, want: passed("$C")},
	{name: "method override",
		wireRequest: post("x", by("$C", "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE",
			"X-Method-Override: DELETE")...), want: passed("$C")},
	{name: "method override to a method without scope", wireRequest: wireRequest{method: "GET", target: "/wild/write",
		header: by("$R", "X-HTTP-Method-Override: POST")}, want: passed("$R")},
	{name: "method override, other case", wireRequest: post("x", by("$C", "x-http-METHOD-override: DELETE")...),
		want: passed("$C")},
	{name: "method override, underscores", aliases: true,
		wireRequest: post("x", by("$C", "X_HTTP_METHOD_OVERRIDE: DELETE")...), want: passed("$C")},
	{name: "method override, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		header: []string{"X-HTTP-Method-Override: DELETE", "X-Method-Override: TRACE"}, body: "x"},
		want: untouched(200)},
	{name: "method override in the query",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?_method=DELETE",
			header: by("$C"), body: "_method=DELETE"}, want: passed("$C")},
	{name: "preflight, no token", wireRequest: wireRequest{method: "OPTIONS", target: "/plain/write",
		header: []string{"Origin: https://evil", "Access-Control-Request-Method: POST"}},
		want: refused(401, "missing_token"), then: noCORS},
	{name: "preflight, token", wireRequest: wireRequest{method: "OPTIONS", target: "/plain/write",
		header: by("$C", "Origin: https://evil", "Access-Control-Request-Method: POST")},
		want: refused(405, "method_not_allowed", "$C"), then: noCORS},
	{name: "preflight, browser", wireRequest: wireRequest{host: browserHost, method: "OPTIONS",
		target: "/plain/write", header: []string{"Origin: https://evil", "Access-Control-Request-Method: POST"}},
		want: refused(401, "missing_token"), then: noCORS},
	{name: "preflight, browser, unlisted", wireRequest: wireRequest{host: browserHost, method: "OPTIONS",
		target: "/login", header: []string{"Origin: https://evil", "Access-Control-Request-Method: POST"}},
		want: untouched(200), then: noCORS},
	{name: "preflight with many commas", wireRequest: wireRequest{method: "OPTIONS", target: "/plain/write",
		header: []string{"Origin: https://evil", "Access-Control-Request-Headers: " + strings.Repeat(",", 10_000)}},
		want: refused(401, "missing_token")},
	{name: "forwarded method and path", wireRequest: post("x", "X-Forwarded-Method: GET", "X-Original-Method: GET",
		"X-Forwarded-Uri: /public/x", "X-Original-URL: /public/x", "X-Rewrite-URL: /public/x"),
		want: refused(401, "missing_token")},
	{name: "forwarded method and path, reader",
		wireRequest: post("x", by("$R", "X-Forwarded-Method: GET", "X-Original-Method: GET",
			"X-Forwarded-Uri: /plain/read")...), want: refused(403, "insufficient_scope", "$R")},
	{name: "forwarded method and path, writer",
		wireRequest: post("x", by("$C", "X-Forwarded-Method: GET", "X-Original-Method: GET",
			"X-Forwarded-Uri: /plain/read", "X-Original-URL: /x", "X-Rewrite-URL: /x")...), want: passed("$C")},
	{name: "method in the body",
		wireRequest: post("x", by("$R", "Content-Type: application/x-www-form-urlencoded")...),
		want:        refused(403, "insufficient_scope", "$R")},
	{name: "internal headers", wireRequest: post("x", "x-middleware-subrequest: middleware:middleware:middleware",
		"X-Internal: 1", "X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"),
		want: refused(401, "missing_token")},
	{name: "internal headers, token",
		wireRequest: post("x", by("$C", "x-middleware-subrequest: middleware:middleware",
			"X-Middleware-Prefetch: 1")...), want: passed("$C")},
	{name: "forged client address",
		wireRequest: get("/plain/read", by("$I", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1",
			"Forwarded: for=192.0.2.1", "Client-IP: 192.0.2.1", "CF-Connecting-IP: 192.0.2.1")...),
		want: refused(403, "ip_denied", "$I")},
}

func noCORS(t *testing.T, x *exchange) {
	for _, response := range x.responses {
		for name := range response.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("the response must not have the header %s", name)
			}
		}
	}
}
