package e2e

import (
	"slices"
	"testing"
)

// nominating is a request with a token whose Connection header names others.
func nominating(connection string, header ...string) wireRequest {
	return wireRequest{header: append(by("$R", "Connection: "+connection), header...)}
}

// hopAttacks name in Connection what shall not be deleted, and send what is
// between two hops only: section 1.4.
var hopAttacks = []attack{
	{id: "HOP-01 credential", wireRequest: nominating("close, Authorization"), want: passed("$R")},
	{id: "HOP-01 credential, lower case", wireRequest: nominating("authorization"), want: passed("$R")},
	{id: "HOP-01 credential, mixed case", wireRequest: nominating("AuThOrIzAtIoN"), want: passed("$R")},
	{id: "HOP-01 credential, white space", wireRequest: nominating(" \t Authorization \t ,,, "), want: passed("$R")},
	{id: "HOP-01 credential, second line", wireRequest: nominating("keep-alive", "Connection: Authorization"),
		want: passed("$R")},
	{id: "HOP-01 credential, first line",
		wireRequest: wireRequest{header: []string{"connection: authorization", bearerLine("$R"), "CONNECTION: x"}},
		want:        passed("$R")},
	{id: "HOP-01 credential, quoted", wireRequest: nominating(`"Authorization"`), want: passed("$R")},
	{id: "HOP-01 credential, with Upgrade", wireRequest: wireRequest{target: "/plain/read",
		header: by("$R", "Connection: Upgrade, Authorization", "Upgrade: websocket")}, want: passed("$R")},
	{id: "HOP-01 credential, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css",
		header: []string{"Connection: Authorization", "Authorization: Basic YTpi"}}, want: untouched(200)},
	{id: "HOP-01 credential and bad token",
		wireRequest: wireRequest{header: []string{"Connection: Authorization", bearerLine("$U")}},
		want:        refused(401, "unknown_token")},
	{id: "HOP-01 credential and bad token, untouched path",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"Connection: Authorization", bearerLine("$U")}}, want: refused(401, "unknown_token")},
	{id: "HOP-02 identity", wireRequest: nominating("X-Token-Name, X-Token-Id, X-Token-Account"), want: passed("$R")},
	{id: "HOP-02 identity, lower case", wireRequest: nominating("x-token-name,x-token-id,x-token-account"),
		want: passed("$R")},
	{id: "HOP-02 identity, spoofed", wireRequest: nominating("X-Token-Name", "X-Token-Name: root"), want: passed("$R")},
	{id: "HOP-02 identity, two lines", wireRequest: nominating("X-Token-Name", "Connection: close, X-Token-Id"),
		want: passed("$R")},
	{id: "HOP-03 cookie", wireRequest: nominating("Cookie", "Cookie: a=b"), want: passed("$R")},
	{id: "HOP-03 session",
		wireRequest: wireRequest{host: browserHost, header: []string{"Connection: Cookie", "Cookie: molly_session=$Q"}},
		want:        refused(401, "missing_token")},
	{id: "HOP-04 forwarded", wireRequest: nominating("X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via",
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: gopher"), want: passed("$R"),
		then: forwardedByCaddy},
	{id: "HOP-04 forwarded, not named",
		wireRequest: get("/plain/read", by("$R", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil",
			"X-Forwarded-Proto: gopher")...), want: passed("$R"), then: forwardedByCaddy},
	{id: "HOP-05 length", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: Content-Length"), body: "0123456789"}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{id: "HOP-05 transfer coding", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: Transfer-Encoding"), body: "0123456789", chunked: true}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{id: "HOP-05 host, type, cookie", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: Host, Content-Type, Cookie", "Content-Type: a/b"), body: "0123456789"},
		want: passed("$C"), then: bodyIs("0123456789")},
	{id: "HOP-05 length, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Connection: Content-Length, Transfer-Encoding, Host"), body: "0123456789"},
		want: passed("$C"), then: bodyIs("0123456789")},
	{id: "HOP-05 transfer coding, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload",
		header: by("$C", "Connection: Transfer-Encoding"), body: "0123456789", chunked: true}, want: passed("$C"),
		then: bodyIs("0123456789")},
	{id: "HOP-05 length, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		header: []string{"Connection: Content-Length, Transfer-Encoding, Host"}, body: "0123456789"},
		want: untouched(200), then: bodyIs("0123456789")},
	{id: "HOP-05 Te and Trailer", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: TE, Trailer", "TE: trailers", "Trailer: X-Token-Name"), body: "x",
		trailer: []string{"X-Token-Name: root"}}, want: passed("$C")},
	{id: "HOP-06 keep-alive", wireRequest: nominating("keep-alive", "Keep-Alive: timeout=999",
		"Proxy-Connection: Authorization"), want: passed("$R"), then: absent("Keep-Alive", "Proxy-Connection")},
	{id: "HOP-06 Proxy-Connection alone",
		wireRequest: get("/plain/read", by("$R", "Proxy-Connection: keep-alive, X-Token-Name")...),
		otherwise:   map[string][]verdict{"h2": dropped(400), "h3": dropped(0)}, want: passed("$R"),
		then: absent("Proxy-Connection")},
	{id: "HOP-07 connection", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "connection: x-token-name")...), want: dropped(400, 0)},
	{id: "HOP-07 connection names the credential", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "connection: authorization")...), want: dropped(400, 0)},
	{id: "HOP-07 transfer coding", over: []string{"h2", "h2c", "h3"},
		wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "transfer-encoding: chunked"),
			body: "0\r\n\r\n" + smuggledRequest}, want: dropped(400, 0)},
	{id: "HOP-07 upgrade", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/socket", by("$R", "upgrade: h2c")...), want: dropped(400, 0)},
	{id: "HOP-07 te", over: []string{"h2", "h2c", "h3"}, wireRequest: get("/plain/read", by("$R", "te: gzip")...),
		want: dropped(400, 0)},
	{id: "HOP-07 te: trailers", over: []string{"h2", "h2c"},
		wireRequest: get("/plain/read", by("$R", "te: trailers")...), want: passed("$R")},
	{id: "HOP-07 keep-alive", over: []string{"h2", "h2c", "h3"},
		wireRequest: get("/plain/read", by("$R", "keep-alive: timeout=5")...), want: dropped(400, 0)},
	{id: "HOP-08 its own headers", wireRequest: nominating("X-One, X-Two", "X-One: 1", "X-Two: 2", "X-Three: 3"),
		want: passed("$R"), then: absent("X-One", "X-Two")},
	{id: "HOP-10 early data", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: close, Early-Data", "Early-Data: 1"), body: "x"},
		want: refused(425, "too_early")},
	{id: "HOP-10 early data, other letters", wireRequest: wireRequest{method: "POST", target: "/plain/write",
		header: by("$C", "Connection: eArLy-dAtA", "Early-Data: 1"), body: "x"}, want: refused(425, "too_early")},
	{id: "HOP-10 early data, second line", wireRequest: wireRequest{method: "DELETE", target: "/plain/write",
		header: by("$C", "Connection: keep-alive", "Connection: Early-Data", "Early-Data: 1")},
		want: refused(425, "too_early")},
	{id: "HOP-10 early data, GET", wireRequest: nominating("Early-Data", "Early-Data: 1"), want: passed("$R"),
		then: sawHeader("Early-Data", "1")},
	{id: "HOP-10 early data, token bound to an address",
		wireRequest: wireRequest{header: by("$I", "Connection: Early-Data", "Early-Data: 1")},
		want:        refused(425, "too_early", "$I")},
	{id: "HOP-10 early data, untouched", wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login",
		header: []string{"Connection: Early-Data", "Early-Data: 1"}, body: "x"}, want: untouched(200),
		then: sawHeader("Early-Data", "1")},
	{id: "HOP-10 what a gateway in front says, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/style.css",
			header: []string{"Connection: X-Forwarded-User, Remote-User, Forwarded, X-Real-IP",
				"X-Forwarded-User: alice", "Remote-User: alice", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"}},
		want: untouched(200), then: func(t *testing.T, x *exchange) {
			for name, value := range map[string]string{"X-Forwarded-User": "alice", "Remote-User": "alice",
				"Forwarded": "for=192.0.2.1", "X-Real-Ip": "192.0.2.1"} {
				sawHeader(name, value)(t, x)
			}
		}},
	{id: "HOP-09 nothing but commas", wireRequest: nominating(",,, ,\t,"), want: passed("$R")},
	{id: "HOP-09 names that are none", wireRequest: nominating("@, (Authorization), Bearer $1"), want: passed("$R")},
	{id: "HOP-09 many lines",
		wireRequest: wireRequest{header: append(slices.Repeat([]string{"Connection: X-Token-Id, Authorization"}, 200),
			bearerLine("$R"))}, want: passed("$R")},
}

// forwardedByCaddy checks that the backend saw Caddy's values.
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

// bodyIs checks that the backend got this body and all of it.
func bodyIs(want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if len(x.seen) == 0 || x.seen[0].body != want || x.seen[0].broken {
			t.Errorf("the backend got other bodies than %q: %+v", want, x.seen)
		}
	}
}

// absent checks that no header of these names reached the backend.
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
