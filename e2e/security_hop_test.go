package e2e

import (
	"slices"
	"testing"
)

// nominating returns a request with a token and a Connection header that names other headers.
func nominating(connection string, header ...string) wireRequest {
	return wireRequest{header: append(by("$R", "Connection: "+connection), header...)}
}

// hopAttacks send hop-by-hop headers, and name headers in Connection that the proxy must not
// delete.
var hopAttacks = []attack{
	{name: "Connection names the credential", wireRequest: nominating("close, Authorization"), want: passed("$R")},
	{name: "Connection names the credential, lower case", wireRequest: nominating("authorization"), want: passed("$R")},
	{name: "Connection names the credential, mixed case", wireRequest: nominating("AuThOrIzAtIoN"), want: passed("$R")},
	{name: "Connection names the credential, white space", wireRequest: nominating(" \t Authorization \t ,,, "),
		want: passed("$R")},
	{name: "Connection names the credential, second line",
		wireRequest: nominating("keep-alive", "Connection: Authorization"),
		want:        passed("$R")},
	{name: "Connection names the credential, first line",
		wireRequest: wireRequest{header: []string{"connection: authorization", bearerLine("$R"), "CONNECTION: x"}},
		want:        passed("$R")},
	{name: "Connection names the credential, quoted", wireRequest: nominating(`"Authorization"`), want: passed("$R")},
	{name: "Connection names the credential, with Upgrade", wireRequest: wireRequest{target: "/plain/read",
		header: by("$R", "Connection: Upgrade, Authorization", "Upgrade: websocket")}, want: passed("$R")},
	{name: "Connection names the credential, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"Connection: Authorization", "Authorization: Basic YTpi"}}, want: untouched(200)},
	{name: "Connection names the credential, and bad token",
		wireRequest: wireRequest{header: []string{"Connection: Authorization", bearerLine("$U")}},
		want:        refused(401, "unknown_token")},
	{name: "Connection names the credential, and bad token, untouched path",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"Connection: Authorization", bearerLine("$U")}}, want: refused(401, "unknown_token")},
	{name: "Connection names identity headers", wireRequest: nominating("X-Token-Name, X-Token-Id, X-Token-Account"),
		want: passed("$R")},
	{name: "Connection names identity headers, lower case",
		wireRequest: nominating("x-token-name,x-token-id,x-token-account"),
		want:        passed("$R")},
	{name: "Connection names identity headers, spoofed", wireRequest: nominating("X-Token-Name", "X-Token-Name: root"),
		want: passed("$R")},
	{name: "Connection names identity headers, two lines",
		wireRequest: nominating("X-Token-Name", "Connection: close, X-Token-Id"),
		want:        passed("$R")},
	{name: "Connection names Cookie", wireRequest: nominating("Cookie", "Cookie: a=b"), want: passed("$R")},
	{name: "Connection names Cookie, session",
		wireRequest: wireRequest{host: browserHost, header: []string{"Connection: Cookie", "Cookie: molly_session=$Q"}},
		want:        refused(401, "missing_token")},
	{name: "Connection names X-Forwarded headers",
		wireRequest: nominating("X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via",
			"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: gopher"), want: passed("$R"),
		then: forwardedByCaddy},
	{name: "X-Forwarded headers",
		wireRequest: get("/plain/read", by("$R", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil",
			"X-Forwarded-Proto: gopher")...), want: passed("$R"), then: forwardedByCaddy},
	{name: "Connection names Content-Length", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: Content-Length"), body: "0123456789"}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{name: "Connection names Transfer-Encoding", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: Transfer-Encoding"), body: "0123456789", chunked: true}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{name: "Connection names Host, Content-Type, Cookie",
		wireRequest: wireRequest{method: "POST", target: "/plain/write",
			header: by("$C", "Connection: Host, Content-Type, Cookie", "Content-Type: a/b"), body: "0123456789"},
		want: passed("$C"), then: bodyIs("0123456789")},
	{name: "Connection names Content-Length, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Connection: Content-Length, Transfer-Encoding, Host"), body: "0123456789"},
		want: passed("$C"), then: bodyIs("0123456789")},
	{name: "Connection names Transfer-Encoding, upload",
		wireRequest: wireRequest{method: "POST", target: "/plain/upload",
			header: by("$C", "Connection: Transfer-Encoding"), body: "0123456789", chunked: true}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{name: "Connection names Content-Length, untouched",
		wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
			header: []string{"Connection: Content-Length, Transfer-Encoding, Host"}, body: "0123456789"},
		want: untouched(200), then: bodyIs("0123456789")},
	{name: "Connection names TE and Trailer", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: TE, Trailer", "TE: trailers", "Trailer: X-Token-Name"), body: "x",
		trailer: []string{"X-Token-Name: root"}}, want: passed("$C")},
	{name: "Keep-Alive", wireRequest: nominating("keep-alive", "Keep-Alive: timeout=999",
		"Proxy-Connection: Authorization"), want: passed("$R"), then: absent("Keep-Alive", "Proxy-Connection")},
	{name: "Proxy-Connection alone",
		wireRequest: get("/plain/read", by("$R", "Proxy-Connection: keep-alive, X-Token-Name")...),
		otherwise:   map[string][]verdict{"h2": dropped(400), "h3": dropped(0)}, want: passed("$R"),
		then: absent("Proxy-Connection")},
	{name: "connection field in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "connection: x-token-name")...), want: dropped(400, 0)},
	{name: "connection field in HTTP/2 and HTTP/3 names the credential", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "connection: authorization")...), want: dropped(400, 0)},
	{name: "transfer-encoding field in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "transfer-encoding: chunked"),
			body: "0\r\n\r\n" + smuggledRequest}, want: dropped(400, 0)},
	{name: "upgrade field in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/socket", by("$R", "upgrade: h2c")...), want: dropped(400, 0)},
	{name: "te field in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "te: gzip")...),
		want:        dropped(400, 0)},
	{name: "te: trailers in HTTP/2", over: []string{"h2", "h2c"},
		wireRequest: get("/plain/read", by("$R", "te: trailers")...), want: passed("$R")},
	{name: "keep-alive field in HTTP/2 and HTTP/3", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "keep-alive: timeout=5")...), want: dropped(400, 0)},
	{name: "Connection names other headers",
		wireRequest: nominating("X-One, X-Two", "X-One: 1", "X-Two: 2", "X-Three: 3"),
		want:        passed("$R"), then: absent("X-One", "X-Two")},
	{name: "Connection names Early-Data", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: close, Early-Data", "Early-Data: 1"), body: "x"},
		want: refused(425, "too_early")},
	{name: "Connection names Early-Data, other case", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: eArLy-dAtA", "Early-Data: 1"), body: "x"}, want: refused(425, "too_early")},
	{name: "Connection names Early-Data, second line",
		wireRequest: wireRequest{method: "DELETE", target: "/plain/write",
			header: by("$C", "Connection: keep-alive", "Connection: Early-Data", "Early-Data: 1")},
		want: refused(425, "too_early")},
	{name: "Connection names Early-Data, GET", wireRequest: nominating("Early-Data", "Early-Data: 1"),
		want: passed("$R"),
		then: sawHeader("Early-Data", "1")},
	{name: "Connection names Early-Data, token bound to an address",
		wireRequest: wireRequest{header: by("$I", "Connection: Early-Data", "Early-Data: 1")},
		want:        refused(425, "too_early", "$I")},
	{name: "Connection names Early-Data, untouched",
		wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
			header: []string{"Connection: Early-Data", "Early-Data: 1"}, body: "x"}, want: untouched(200),
		then: sawHeader("Early-Data", "1")},
	{name: "Connection names headers of a proxy in front, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"Connection: X-Forwarded-User, Remote-User, Forwarded, X-Real-IP",
				"X-Forwarded-User: alice", "Remote-User: alice", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"}},
		want: untouched(200), then: func(t *testing.T, x *exchange) {
			for name, value := range map[string]string{"X-Forwarded-User": "alice", "Remote-User": "alice",
				"Forwarded": "for=192.0.2.1", "X-Real-Ip": "192.0.2.1"} {
				sawHeader(name, value)(t, x)
			}
		}},
	{name: "Connection of only commas", wireRequest: nominating(",,, ,\t,"), want: passed("$R")},
	{name: "Connection with invalid names", wireRequest: nominating("@, (Authorization), Bearer $1"),
		want: passed("$R")},
	{name: "many Connection lines",
		wireRequest: wireRequest{header: append(slices.Repeat([]string{"Connection: X-Token-Id, Authorization"}, 200),
			bearerLine("$R"))}, want: passed("$R")},
}

// forwardedByCaddy checks that the backend saw Caddy's values for the forwarding headers.
func forwardedByCaddy(t *testing.T, x *exchange) {
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": gatedHost} {
		if got := x.seen[0].header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("the backend saw %s: %q, want %q", name, got, want)
		}
	}
	if got := x.seen[0].header.Get("X-Forwarded-Proto"); got != "http" && got != "https" {
		t.Errorf("the backend saw X-Forwarded-Proto: %q", got)
	}
}

// bodyIs checks that the backend got exactly the given body.
func bodyIs(want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if len(x.seen) == 0 || x.seen[0].body != want || x.seen[0].broken {
			t.Errorf("the backend didn't get the body %q: %+v", want, x.seen)
		}
	}
}

// absent checks that no header with one of the given names reached the backend.
func absent(names ...string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		for _, seen := range x.seen {
			for _, name := range names {
				if values, ok := seen.header[name]; ok {
					t.Errorf("the backend saw %s: %q", name, values)
				}
			}
		}
	}
}
