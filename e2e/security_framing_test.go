package e2e

import "strings"

// raw joins the lines of a request's head; the last argument is what follows it.
func raw(lines ...string) wireRequest {
	last := len(lines) - 1
	return wireRequest{raw: strings.Join(lines[:last], "\r\n") + "\r\n\r\n" + lines[last]}
}

// framed is a POST with these framing headers and this body, by a token that may.
func framed(path, body string, framing ...string) wireRequest {
	lines := append([]string{"POST " + path + " HTTP/1.1", "Host: gated.test", bearerLine("$C")}, framing...)
	return raw(append(lines, body)...)
}

const (
	writes, uploads = "POST /plain/write", "POST /plain/upload"
	chunkedCoding   = "Transfer-Encoding: chunked"
)

// both is two verdicts, of two requests on a connection.
func both(first, second []verdict) []verdict { return append(first[:1:1], second...) }

// framingAttacks are about where a message ends: section 1.6.
var framingAttacks = []attack{
	{id: "FRM-01 length and chunked", wireRequest: framed("/plain/write", "0\r\n\r\nG", "Content-Length: 6", chunkedCoding), want: passedAs("$C", writes)},
	{id: "FRM-01 length and chunked, upload", wireRequest: framed("/plain/upload", "0\r\n\r\nG", "Content-Length: 6", chunkedCoding), want: passedAs("$C", uploads)},
	{id: "FRM-01 chunked and length", wireRequest: framed("/plain/write", "0\r\n\r\nG", chunkedCoding, "Content-Length: 6"), want: passedAs("$C", writes)},
	{id: "FRM-01 request behind the last chunk", wireRequest: framed("/plain/upload", "0\r\n\r\n"+smuggledRequest, "Content-Length: 5", chunkedCoding), want: both(passedAs("$C", uploads), refused(401, "missing_token"))},
	{id: "FRM-01 request within the length", wireRequest: framed("/plain/upload", "0\r\n\r\n"+smuggledRequest, "Content-Length: 300", chunkedCoding), want: both(passedAs("$C", uploads), refused(401, "missing_token"))},
	{id: "FRM-02 chunked and identity", wireRequest: framed("/plain/write", "0\r\n\r\n", chunkedCoding, "Transfer-Encoding: identity"), want: dropped(400, 501)},
	{id: "FRM-02 chunked twice", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding: chunked, chunked"), want: dropped(400, 501)},
	{id: "FRM-02 chunked in two lines", wireRequest: framed("/plain/write", "0\r\n\r\n", chunkedCoding, chunkedCoding), want: dropped(400, 501)},
	{id: "FRM-02 xchunked", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding: xchunked"), want: dropped(400, 501)},
	{id: "FRM-02 gzip, chunked", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), want: dropped(400, 501)},
	{id: "FRM-02 identity", wireRequest: framed("/plain/write", "", "Transfer-Encoding: identity"), want: dropped(400, 501)},
	{id: "FRM-02 empty", wireRequest: framed("/plain/write", "", "Transfer-Encoding:"), want: dropped(400, 501)},
	{id: "FRM-02 tab", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding:\tchunked"), want: passedAs("$C", writes)},
	{id: "FRM-02 vertical tab", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding: \x0bchunked"), want: dropped(400, 501)},
	{id: "FRM-02 letter case", wireRequest: framed("/plain/write", "0\r\n\r\n", "tRANSFER-eNCODING: cHUNKED"), want: passedAs("$C", writes)},
	{id: "FRM-02 underscore", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer_Encoding: chunked", "Content-Length: 5"), want: passedAs("$C", writes)},
	{id: "FRM-02 blank before the colon", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding : chunked"), want: dropped(400)},
	{id: "FRM-02 folded", wireRequest: framed("/plain/write", "0\r\n\r\n", "Transfer-Encoding:\r\n chunked"), want: passedAs("$C", writes)},
	{id: "FRM-03 HTTP/1.0 chunked", wireRequest: raw("POST /plain/write HTTP/1.0", "Host: gated.test", bearerLine("$C"), chunkedCoding, "0\r\n\r\n"), want: passedAs("$C", writes)},
	{id: "FRM-04 two lengths", wireRequest: framed("/plain/write", "012345", "Content-Length: 5", "Content-Length: 6"), want: dropped(400)},
	{id: "FRM-04 plus", wireRequest: framed("/plain/write", "01234", "Content-Length: +5"), want: dropped(400)},
	{id: "FRM-04 minus", wireRequest: framed("/plain/write", "01234", "Content-Length: -1"), want: dropped(400)},
	{id: "FRM-04 hexadecimal", wireRequest: framed("/plain/write", "01234", "Content-Length: 0x5"), want: dropped(400)},
	{id: "FRM-04 underscore", wireRequest: framed("/plain/write", "01234", "Content-Length: 1_0"), want: dropped(400)},
	{id: "FRM-04 list", wireRequest: framed("/plain/write", "01234", "Content-Length: 5, 5"), want: dropped(400)},
	{id: "FRM-04 two numbers", wireRequest: framed("/plain/write", "01234", "Content-Length: 5 6"), want: dropped(400)},
	{id: "FRM-04 too large", wireRequest: framed("/plain/write", "01234", "Content-Length: 99999999999999999999"), want: dropped(400)},
	{id: "FRM-04 the same twice", wireRequest: framed("/plain/write", "01234", "Content-Length: 5", "Content-Length: 5"), want: passedAs("$C", writes)},
	{id: "FRM-04 leading zeros", wireRequest: framed("/plain/write", "01234", "Content-Length: 00005"), want: passedAs("$C", writes)},
	{id: "FRM-05 extension and line feed", wireRequest: framed("/plain/write", "5;\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 line feed after the size", wireRequest: framed("/plain/write", "5\nhello\n0\n\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 hexadecimal", wireRequest: framed("/plain/write", "0x5\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 17 digits", wireRequest: framed("/plain/write", "00000000000000005\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 negative", wireRequest: framed("/plain/write", "-5\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 chunk too short", wireRequest: framed("/plain/write", "9\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 chunk too long", wireRequest: framed("/plain/write", "2\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: broken("$C", 400)},
	{id: "FRM-05 extension and line feed, upload", wireRequest: framed("/plain/upload", "5;\nhello\r\n0\r\n\r\n", chunkedCoding), want: abortedUpload},
	{id: "FRM-05 hexadecimal, upload", wireRequest: framed("/plain/upload", "5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n", chunkedCoding), want: abortedUpload},
	{id: "FRM-05 request in a broken chunk, upload", wireRequest: framed("/plain/upload", "5\r\nhello\r\n-1\r\n"+smuggledRequest, chunkedCoding), want: abortedUpload},
	{id: "FRM-06 extensions", wireRequest: framed("/plain/upload", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", chunkedCoding), want: passedAs("$C", uploads), then: bodyIs("hello")},
	{id: "FRM-07 GET with a length", wireRequest: wireRequest{header: by("$R"), body: "hello"}, want: passed("$R")},
	{id: "FRM-07 GET chunked", wireRequest: wireRequest{header: by("$R"), body: "hello", chunked: true}, want: passed("$R")},
	{id: "FRM-07 DELETE chunked", wireRequest: wireRequest{method: "DELETE", target: "/plain/write", header: by("$C"), body: "hello", chunked: true}, want: passed("$C"), then: bodyIs("hello")},
	{id: "FRM-07 GET with a length, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css", body: smuggledRequest}, want: untouched(200), then: bodyIs(smuggledRequest)},
	{id: "FRM-07 GET chunked, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css", body: smuggledRequest, chunked: true}, want: untouched(200), then: bodyIs(smuggledRequest)},
	{id: "FRM-08 two hosts", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test", "Host: gated.test", bearerLine("$R"), ""), want: dropped(400)},
	{id: "FRM-08 user in the host", wireRequest: wireRequest{host: "a@gated.test", header: by("$R")}, want: dropped(400, 200, 0)},
	{id: "FRM-08 no host", wireRequest: raw("GET /plain/read HTTP/1.1", bearerLine("$R"), ""), want: dropped(400)},
	{id: "FRM-08 no host in HTTP/1.0", wireRequest: raw("GET /plain/read HTTP/1.0", bearerLine("$R"), ""), want: dropped(200)},
	{id: "FRM-08 empty host", wireRequest: raw("GET /plain/read HTTP/1.1", "Host:", bearerLine("$R"), ""), want: dropped(400)},
	{id: "FRM-08 port", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test:1", bearerLine("$R"), ""), want: passed("$R")},
	{id: "FRM-08 letter case", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: GaTeD.tEsT", bearerLine("$R"), ""), want: passed("$R")},
	{id: "FRM-08 dot at the end", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test.", bearerLine("$R"), ""), want: dropped(200, 400, 404)},
	{id: "FRM-08 slash in the host", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test/../evil", bearerLine("$R"), ""), want: dropped(400, 200)},
	{id: "FRM-08 host and authority", over: []string{"h2", "h2c", "h3"}, wireRequest: get("/plain/read", by("$R", "host: evil.example")...), want: dropped(0)},
	{id: "FRM-08 no authority", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":scheme https", ":path /plain/read"}}, want: dropped(400, 200, 0)},
	{id: "FRM-09 next without a token", wireRequest: wireRequest{raw: pipelined("$R") + "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\n\r\n"}, want: both(passed("$R"), refused(401, "missing_token"))},
	{id: "FRM-09 next with another", wireRequest: wireRequest{raw: pipelined("$R") + pipelined("$A")}, want: both(passed("$R"), passed("$A"))},
	{id: "FRM-09 next with a bad one", wireRequest: wireRequest{raw: pipelined("$R") + pipelined("$U")}, want: both(passed("$R"), refused(401, "unknown_token"))},
	{id: "FRM-09 good after bad", wireRequest: wireRequest{raw: pipelined("$U") + pipelined("$R")}, want: both(refused(401, "unknown_token"), passed("$R"))},
	{id: "FRM-09 other site", wireRequest: wireRequest{raw: pipelined("$R") + "GET /style.css HTTP/1.1\r\nHost: browser.test\r\nX-Token-Name: root\r\n\r\n"}, want: both(passed("$R"), []verdict{{outcome: passesUntouched, status: []int{200}, sees: "GET /style.css"}})},
	{id: "FRM-09 behind a refused body", wireRequest: wireRequest{raw: "POST /plain/write HTTP/1.1\r\nHost: gated.test\r\nContent-Length: 4\r\n\r\nbody" + pipelined("$R")}, want: both(refused(401, "missing_token"), dropped(0))},
	{id: "FRM-09 behind a refused CONNECT", wireRequest: wireRequest{raw: "CONNECT gated.test:80 HTTP/1.1\r\nHost: gated.test:80\r\n\r\n" + pipelined("$R")}, want: both(refused(405, "method_not_allowed"), dropped(0))},
	{id: "FRM-11 body longer than its length", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "content-length: 5"), body: "hello" + smuggledRequest}, want: broken("$C", 400, 0)},
	{id: "FRM-11 body longer than its length, upload", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/upload", header: by("$C", "content-length: 5"), body: "hello" + smuggledRequest}, want: abortedUpload},
	{id: "FRM-11 body shorter than its length", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "content-length: 50"), body: "hello"}, want: broken("$C", 400, 0)},
	{id: "FRM-11 body shorter than its length, upload", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/upload", header: by("$C", "content-length: 50"), body: "hello"}, want: abortedUpload},
	{id: "FRM-11 length of nothing", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "content-length: 0"), body: smuggledRequest}, want: broken("$C", 200, 400, 0)},
	{id: "FRM-11 two lengths", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{method: "POST", target: "/plain/write", header: by("$C", "content-length: 5", "content-length: 6"), body: "hello"}, want: passed("$C"), otherwise: map[string][]verdict{"h3": dropped(400, 0)}},
	{id: "FRM-11 two lengths, upload", over: []string{"h2", "h2c"}, wireRequest: wireRequest{method: "POST", target: "/plain/upload", header: by("$C", "content-length: 5", "content-length: 6"), body: "hello"}, want: passed("$C"), then: bodyIs("hello")},
	{id: "FRM-11 two lengths, untouched", over: []string{"h2", "h2c"}, wireRequest: wireRequest{host: browserHost, method: "POST", target: "/login", header: []string{"content-length: 5", "content-length: 6"}, body: "hello"}, want: untouched(200), then: bodyIs("hello")},
	{id: "FRM-12 pseudo header after others", over: []string{"h2", "h2c", "h3"}, wireRequest: get("/plain/read", by("$R", ":path: /plain/write")...), want: dropped(0, 400)},
	{id: "FRM-12 unknown pseudo header", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":scheme https", ":authority gated.test", ":path /plain/read", ":evil x"}}, want: dropped(0, 400)},
	{id: "FRM-12 two paths", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":scheme https", ":authority gated.test", ":path /plain/read", ":path /plain/write"}}, want: dropped(0, 400)},
	{id: "FRM-12 path with a request in it", over: []string{"h2", "h2c", "h3"}, wireRequest: get("/plain/read HTTP/1.1\r\nHost: x\r\n\r\nGET /plain/write", by("$R")...), want: dropped(0, 400)},
	{id: "FRM-12 path with a blank", over: []string{"h2", "h2c", "h3"}, wireRequest: get("/plain/read x", by("$R")...), want: dropped(0, 400), otherwise: map[string][]verdict{"h2": refused(400, "invalid_path")}},
	{id: "FRM-12 scheme of its own", over: []string{"h2", "h2c"}, wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":scheme gopher://x/", ":authority gated.test", ":path /plain/read"}}, want: dropped(0)},
	{id: "FRM-12 name with a colon", over: []string{"h2", "h2c", "h3"}, wireRequest: wireRequest{header: by("$R"), pseudo: []string{":method GET", ":scheme https", ":authority gated.test", ":path /plain/read", "x-a:x-token-name root"}}, want: dropped(0, 400)},
	{id: "FRM-13 2,000 parameters", wireRequest: get("/plain/read?"+strings.Repeat("a=1&", 2000), by("$R")...), want: passed("$R")},
	{id: "FRM-13 1,000 headers", wireRequest: get("/plain/read", append(strings.Split(strings.Repeat("A: b,", 999)+"A: b", ","), bearerLine("$R"))...), want: passed("$R"), otherwise: map[string][]verdict{"h2": dropped(431, 0), "h3": dropped(431, 0)}},
	{id: "FRM-13 large header", wireRequest: get("/plain/read", by("$R", "X-Large: "+strings.Repeat("a", 30<<10))...), want: dropped(431, 0)},
	{id: "FRM-14 line feed in a value", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test", bearerLine("$R"), "X-A: b\nX-Token-Name: root", ""), want: passed("$R")},
	{id: "FRM-14 carriage return in a value", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test", bearerLine("$R"), "X-A: b\rX-Token-Name: root", ""), want: dropped(400)},
	{id: "FRM-14 NUL in a name", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test", bearerLine("$R"), "X-A\x00: b", ""), want: dropped(400)},
	{id: "FRM-14 no colon", wireRequest: raw("GET /plain/read HTTP/1.1", "Host: gated.test", bearerLine("$R"), "X-Token-Name", ""), want: dropped(400)},
	{id: "FRM-14 preface of HTTP/2", wireRequest: wireRequest{raw: "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + pipelined("$R")}, want: dropped(200, 400, 0)},
}

// pipelined is a whole request, to be followed by another.
func pipelined(token string) string {
	return "GET /plain/read HTTP/1.1\r\nHost: gated.test\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}

// abortedUpload is what may come of an upload whose body breaks off: it has
// passed, and the backend may have seen a part of it.
var abortedUpload = []verdict{{outcome: mayPass, status: []int{0, 400, 502}, token: "$C", sees: uploads}}
