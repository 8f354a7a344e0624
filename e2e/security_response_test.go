package e2e

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// echo returns the credential that a backend received, for use in its response.
func echo(r *http.Request) string { return r.Header.Get("Authorization") }

// respond returns a handler that responds with a content type, a status and a body.
func respond(contentType string, status int, body func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{contentType}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body(r))
	}
}

// respondHeader returns a handler that responds with a header line, replacing $ with the
// credential.
func respondHeader(name, value string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(name, strings.ReplaceAll(value, "$", strings.TrimPrefix(echo(r), "Bearer ")))
		w.WriteHeader(status)
	}
}

func text(body string) func(*http.Request) string {
	return func(*http.Request) string { return body }
}

const (
	htmlPage = "<!DOCTYPE html><html><body>It broke.</body></html>"
	jsonText = `{"status":404,"title":"404","success":false,"data":"not here"}`
)

// backendResponses holds the net/http backend's responses to ?answer=name.
var backendResponses = map[string]http.HandlerFunc{
	"template": respond("text/html", 200, text(`{{$r := .Req}}rendered {{.Req.Header.Get "Authorization"}} `+
		`{{.Req.Header}} {{.OriginalReq.Header}} {{placeholder "http.request.header.Authorization"}}`)),
	"include": respond("text/html", 200, text(`{{httpInclude "/plain/read?included"}}`)),
	"ok-html": respond("text/html", 200, text(htmlPage)),
	"html-public": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		respond("text/html", 404, text(htmlPage))(w, r)
	},
	"public": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		respond("text/plain", 200, text(""))(w, r)
	},
	"json":          respond("application/json", 404, text(jsonText)),
	"html":          respond("text/html; charset=utf-8", 404, text(htmlPage)),
	"html-500":      respond("TEXT/HTML", 500, text(htmlPage)),
	"xhtml":         respond("application/xhtml+xml", 503, text(htmlPage)),
	"untyped":       respond("", 404, text(htmlPage)),
	"redirect":      respondHeader("Location", "/select/instance", 302),
	"permanent":     respondHeader("Location", "/elsewhere", 301),
	"see-other":     respondHeader("Location", "/elsewhere", 303),
	"not-modified":  respond("", 304, text("")),
	"no-content":    respond("", 204, text("")),
	"401":           respond("application/json", 401, echo),
	"401-html":      respond("text/html", 401, func(r *http.Request) string { return "<html>" + echo(r) }),
	"401-challenge": respondHeader("WWW-Authenticate", `Basic realm="$"`, 401),
	"403":           respond("application/json", 403, text(jsonText)),
	"echo-400":      respond("application/json", 400, func(r *http.Request) string { return "Failed: " + echo(r) }),
	"echo-500":      respond("text/plain", 500, echo),
	"echo-json": respond("application/json", 400, func(r *http.Request) string {
		quoted := ""
		for _, c := range echo(r) {
			quoted += fmt.Sprintf(`\u%04x`, c)
		}
		return `{"data":"` + quoted + `"}`
	}),
	"echo-url": respond("text/plain", 400,
		func(r *http.Request) string { return strings.ReplaceAll(echo(r), "-", "%2D") }),
	"echo-html": respond("text/plain", 400,
		func(r *http.Request) string { return strings.ReplaceAll(echo(r), "-", "&#45;") }),
	"echo-header":     respondHeader("X-Echo", "Bearer $", 200),
	"echo-cookie":     respondHeader("Set-Cookie", "last=$; Path=/", 200),
	"echo-location":   respondHeader("Location", "/x?token=$", 307),
	"echo-redirect":   respondHeader("Location", "/x?token=$", 302),
	"echo-400-header": respondHeader("X-Echo", "$", 400),
	"gzip":            gzipped("gzip", 400),
	"gzip-302":        gzipped("gzip", 302),
	"encoded":         gzipped("unheard-of", 400),
	"large": respond("application/json", 400,
		func(r *http.Request) string { return strings.Repeat(" ", 2<<20) + echo(r) }),
	"cut": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		respond("application/json", 400, echo)(w, r)
	},
	"echo-early": func(w http.ResponseWriter, r *http.Request) {
		early(w, r)
		respond("text/plain", 200, text("late"))(w, r)
	},
	"echo-trailer":         trailed(200),
	"echo-trailer-unnamed": unannounced,
	"hop": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3="evil:443"`)
		w.Header().Set("Keep-Alive", "timeout=9")
		respond("text/plain", 200, text(""))(w, r)
	},
	"interim": func(w http.ResponseWriter, r *http.Request) {
		for _, status := range []int{http.StatusProcessing, http.StatusEarlyHints} {
			w.Header().Set("Alt-Svc", `h3="evil:443"`)
			w.Header().Set("Keep-Alive", "timeout=9")
			w.Header().Set("X-Echo", echo(r))
			w.WriteHeader(status)
		}
		clear(w.Header())
		respond("text/plain", 200, text("late"))(w, r)
	},
	// Respond with 101, hop-by-hop headers and the credential.
	"upgrade-hop": func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nKeep-Alive: timeout=9\r\nX-Echo: "+echo(r)+"\r\n\r\n"+
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\n"+
			"Alt-Svc: h3=\"evil:443\"\r\nKeep-Alive: timeout=9\r\n"+
			"Proxy-Authenticate: Basic\r\nTrailer: X-Sum\r\nX-Hop: x\r\nX-Echo: "+echo(r)+"\r\nX-Kept: yes\r\n\r\n")
	},
	"echo-upper": respond("text/plain", 400, func(r *http.Request) string { return strings.ToUpper(echo(r)) }),
	"echo-base64": respond("text/plain", 500,
		func(r *http.Request) string { return base64.StdEncoding.EncodeToString([]byte(echo(r))) }),
	"echo-hex": respond("application/json", 400,
		func(r *http.Request) string { return `{"sent":"` + hex.EncodeToString([]byte(echo(r))) + `"}` }),
	"echo-twice": respond("text/plain", 400, func(r *http.Request) string {
		return url.QueryEscape(url.QueryEscape(strings.ReplaceAll(echo(r), "-", "%2d")))
	}),
	"echo-utf16": respond("text/plain; charset=utf-16le", 400, func(r *http.Request) string {
		return "\xff\xfe" + strings.Join(strings.Split(echo(r), ""), "\x00") + "\x00"
	}),
	"echo-utf16be": respond("text/plain", 500,
		func(r *http.Request) string { return "\x00" + strings.Join(strings.Split(echo(r), ""), "\x00") }),
	"echo-gzip": compressedError("application/json", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
	"echo-zlib": compressedError("text/plain", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
	"echo-deflate": compressedError("text/plain",
		func(w io.Writer) io.WriteCloser { z, _ := flate.NewWriter(w, 9); return z }),
	"echo-300": respond("text/html", 300,
		func(r *http.Request) string { return `<a href="/x?` + echo(r) + `">this</a>` }),
	"echo-301":  moved(301),
	"echo-303":  moved(303),
	"echo-307":  moved(307),
	"echo-308":  moved(308),
	"plain-301": respond("text/html", 301, text(`<a href="/elsewhere">Moved Permanently</a>.`)),
	"base64-header": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", base64.StdEncoding.EncodeToString([]byte(echo(r))))
	},
	"upper-header": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", "<"+strings.ToUpper(echo(r))+">")
	},
	"name-header": func(w http.ResponseWriter, r *http.Request) {
		w.Header()[strings.ToUpper(strings.TrimPrefix(echo(r), "Bearer "))] = []string{"x"}
	},
	"name-trailer": func(w http.ResponseWriter, r *http.Request) {
		name := strings.ToUpper(strings.TrimPrefix(echo(r), "Bearer "))
		w.Header().Set("Trailer", name)
		_, _ = io.WriteString(w, "body")
		w.Header().Set(name, "x")
	},
	"name-trailer-unnamed": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+strings.ToUpper(strings.TrimPrefix(echo(r), "Bearer ")), "x")
	},
	// After each of these responses, the backend would continue in another protocol.
	"switch": respondRaw(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: yes\r\n\r\n"),
	"switch-other": respondRaw(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\nX-Kept: yes\r\n\r\n"),
	"switch-odd": respondRaw(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: w\xc3\xa9b\r\nX-Kept: yes\r\n\r\n"),
	"switch-unnamed": respondRaw("HTTP/1.1 101 Switching Protocols\r\nX-Kept: yes\r\n\r\nbytes of another protocol"),
	"nothing":        respondRaw(""),
	"half-a-head":    respondRaw("HTTP/1.1 200 OK\r\nX-Echo: $\r\n"),
	"bad-status":     respondRaw("HTTP/1.1 4$ Bad\r\n\r\n"),
	"bad-version":    respondRaw("HTTP/$ 200 OK\r\n\r\n"),
	"bad-header":     respondRaw("HTTP/1.1 200 OK\r\n$\r\n\r\n"),
	"bad-length":     respondRaw("HTTP/1.1 200 OK\r\nContent-Length: $\r\n\r\n"),
	"bad-coding":     respondRaw("HTTP/1.1 200 OK\r\nTransfer-Encoding: $\r\n\r\n"),
	"bad-upper": func(w http.ResponseWriter, r *http.Request) {
		respondRaw("HTTP/1.1 4"+strings.ToUpper(echo(r))+" Bad\r\n\r\n")(w, r)
	},
	"bad-base64": func(w http.ResponseWriter, r *http.Request) {
		respondRaw("HTTP/1.1 4"+base64.StdEncoding.EncodeToString([]byte(echo(r)))+" Bad\r\n\r\n")(w, r)
	},
	"cookie":     withCookies(respond("text/plain", 200, text("hello"))),
	"cookie-404": withCookies(respond("application/json", 404, text(jsonText))),
	"cookie-301": withCookies(respondHeader("Location", "/elsewhere", 301)),
	"cookie-304": withCookies(respond("", 304, text(""))),
	"cookie-stream": withCookies(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
		}
	}),
	"cookie-early": func(w http.ResponseWriter, r *http.Request) {
		withCookies(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusEarlyHints) })(w, r)
		clear(w.Header())
		respond("text/plain", 200, text("late"))(w, r)
	},
	"cookie-trailer": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie, Set-Cookie2")
		_, _ = io.WriteString(w, "body")
		withCookies(func(http.ResponseWriter, *http.Request) {})(w, r)
	},
	"cookie-trailer-unnamed": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", openedSession)
	},
	"cookie-upgrade": func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nSet-Cookie: "+openedSession+"\r\n\r\n"+
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nset-cookie: "+
			openedSession+"\r\nSET-COOKIE2: "+openedSession+"\r\n\r\n")
	},
	"ours": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Key-Expires", "never")
		w.Header().Set("Api-Key-Warning", "none")
		respond("text/plain", 200, text(""))(w, r)
	},
}

// respondRaw returns a handler that responds with raw bytes, replacing $ with the credential.
func respondRaw(response string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, strings.ReplaceAll(response, "$", strings.TrimPrefix(echo(r), "Bearer ")))
	}
}

// moved returns a handler that redirects to a URL containing the credential, with a page that
// repeats it.
func moved(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/x?t="+url.QueryEscape(echo(r)), status)
	}
}

// compressedError returns a handler that responds with a compressed error without a
// Content-Encoding.
func compressedError(contentType string, compress func(io.Writer) io.WriteCloser) http.HandlerFunc {
	return respond(contentType, 400, func(r *http.Request) string {
		var b strings.Builder
		z := compress(&b)
		_, _ = io.WriteString(z, "Failed to find user with token "+echo(r))
		_ = z.Close()
		return b.String()
	})
}

// openedSession is a cookie that the backend sets to open a session for the caller.
const openedSession = "molly_session=opened-by-the-backend; Path=/"

// withCookies returns a handler that adds cookies to a response.
func withCookies(response http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", openedSession)
		w.Header().Add("Set-Cookie", "other=1")
		w.Header().Set("Set-Cookie2", openedSession)
		response(w, r)
	}
}

// gzipped returns a handler that responds with a gzip-encoded error, which hides the
// credential until it is decoded.
func gzipped(encoding string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", encoding)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Encoded", "yes")
		w.WriteHeader(status)
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "Failed to find user with token "+echo(r))
		_ = z.Close()
	}
}

func early(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.Header().Set("X-Echo", echo(r))
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("X-Echo")
}

func trailed(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Echo, X-Sum")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Echo", echo(r))
		w.Header().Set("X-Sum", strconv.Itoa(4))
	}
}

func unannounced(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "body")
	_ = http.NewResponseController(w).Flush()
	w.Header().Set(http.TrailerPrefix+"X-Echo", echo(r))
}

// asking returns a request for one of the backendResponses.
func asking(response, token string) wireRequest {
	return get("/plain/read?answer="+response, by(token)...)
}

// createForm is a form that the gate accepts.
const createForm = "--b\r\nContent-Disposition: form-data; name=\"albatross_instance\"\r\n\r\ndefault\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"unikernel_name\"\r\n\r\nweb\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"unikernel_config\"\r\n\r\n{}\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"binary\"\r\n\r\nx\r\n--b--\r\n"

// responseAttacks request backend responses that must not reach the client unchanged. The
// invariants check that the credential appears nowhere.
var responseAttacks = []attack{
	{name: "HTML", wireRequest: asking("html", "$R"), want: answered("$R", 404, "backend_error"),
		then: nothingOf(htmlPage)},
	{name: "HTML, 500", wireRequest: asking("html-500", "$R"), want: answered("$R", 500, "backend_error"),
		then: nothingOf(htmlPage)},
	{name: "XHTML", wireRequest: asking("xhtml", "$R"), want: answered("$R", 503, "backend_error"),
		then: nothingOf(htmlPage)},
	{name: "HTML without a content type", wireRequest: asking("untyped", "$R"),
		want: answered("$R", 404, "backend_error"),
		then: nothingOf(htmlPage)},
	{name: "JSON", wireRequest: asking("json", "$R"), want: answered("$R", 404, ""), then: bodyOf(jsonText)},
	{name: "HTML, status 200", wireRequest: asking("ok-html", "$R"), want: answered("$R", 200, ""),
		then: bodyOf(htmlPage)},
	{name: "HTML, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css?answer=html"},
		want: untouched(404), then: bodyOf(htmlPage)},
	{name: "HTML of Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, method: "POST",
		target: "/api/unikernel/restart?instance=nowhere&unikernel=x", header: by("$A"), body: "{}"},
		want: answered("$A", 404, "backend_error")},
	{name: "redirect", wireRequest: asking("redirect", "$R"), want: answered("$R", 400, "backend_redirect"),
		then: withoutHeader("Location")},
	{name: "redirect, with the credential", wireRequest: asking("echo-redirect", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: withoutHeader("Location")},
	{name: "redirect, encoded", wireRequest: asking("gzip-302", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: withoutHeader("X-Encoded")},
	{name: "redirect of Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, method: "POST",
		target: "/api/unikernel/restart", header: by("$A"), body: "{}"}, want: answered("$A", 400, "backend_redirect"),
		then: withoutHeader("Set-Cookie")},
	{name: "redirect, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/dashboard?answer=redirect"}, want: untouched(302)},
	{name: "permanent redirect", wireRequest: asking("permanent", "$R"), want: answered("$R", 301, "")},
	{name: "see other", wireRequest: asking("see-other", "$R"), want: answered("$R", 303, "")},
	{name: "not modified", wireRequest: asking("not-modified", "$R"), want: answered("$R", 304, "")},
	{name: "no content", wireRequest: asking("no-content", "$R"), want: answered("$R", 204, "")},
	{name: "credential refused", wireRequest: asking("401", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: refusalIsLoud("default")},
	{name: "credential refused, HTML", wireRequest: asking("401-html", "$R"),
		want: answered("$R", 502, "upstream_credential")},
	{name: "credential refused, challenge", wireRequest: asking("401-challenge", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: withoutHeader("Www-Authenticate")},
	{name: "no credential sent", wireRequest: asking("403", "$N"), want: answered("$N", 403, "")},
	{name: "no credential sent, 401", wireRequest: asking("401", "$N"), want: answered("$N", 401, "")},
	{name: "forbidden", wireRequest: asking("403", "$R"), want: answered("$R", 403, ""), then: bodyOf(jsonText)},
	{name: "credential refused by Mollymawk",
		wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels", header: by("$S")},
		want:        answered("$S", 502, "upstream_credential"), then: refusalIsLoud("stale")},
	{name: "credential refused by Mollymawk, upload",
		wireRequest: wireRequest{host: gatedMollyHost, method: "POST", target: "/api/unikernel/create",
			header: by("$S", "Content-Type: multipart/form-data; boundary=b"), body: createForm},
		want: answered("$S", 502, "upstream_credential")},
	{name: "no session at Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$N")}, want: answered("$N", 502, "upstream_credential"), then: refusalIsLoud("bare")},
	{name: "credential repeated", wireRequest: asking("echo-400", "$R"), want: answered("$R", 400, "backend_error")},
	{name: "credential repeated, 500", wireRequest: asking("echo-500", "$R"),
		want: answered("$R", 500, "backend_error")},
	{name: "credential repeated in JSON", wireRequest: asking("echo-json", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in a URL", wireRequest: asking("echo-url", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in HTML", wireRequest: asking("echo-html", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in an error's header", wireRequest: asking("echo-400-header", "$R"),
		want: answered("$R", 400, "backend_error"), then: withoutHeader("X-Echo")},
	{name: "credential repeated, encoded", wireRequest: asking("gzip", "$R"),
		want: answered("$R", 400, "backend_error"),
		then: withoutHeader("X-Encoded", "Content-Encoding")},
	{name: "credential repeated, encoded at the client's request",
		wireRequest: get("/plain/read?answer=gzip", by("$R", "Accept-Encoding: gzip, br, zstd")...),
		want:        answered("$R", 400, "backend_error"), then: withoutHeader("X-Encoded", "Content-Encoding")},
	{name: "unknown encoding", wireRequest: asking("encoded", "$R"), want: answered("$R", 400, "backend_error"),
		then: withoutHeader("X-Encoded", "Content-Encoding")},
	{name: "large error", wireRequest: asking("large", "$R"), want: answered("$R", 400, "backend_error")},
	{name: "truncated error", wireRequest: asking("cut", "$R"), want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in upper case", wireRequest: asking("echo-upper", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in base64", wireRequest: asking("echo-base64", "$R"),
		want: answered("$R", 500, "backend_error")},
	{name: "credential repeated in hexadecimal", wireRequest: asking("echo-hex", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated, escaped three times", wireRequest: asking("echo-twice", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in UTF-16", wireRequest: asking("echo-utf16", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in UTF-16, undeclared", wireRequest: asking("echo-utf16be", "$R"),
		want: answered("$R", 500, "backend_error")},
	{name: "credential repeated, gzip, undeclared", wireRequest: asking("echo-gzip", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated, zlib, undeclared", wireRequest: asking("echo-zlib", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated, deflate, undeclared", wireRequest: asking("echo-deflate", "$R"),
		want: answered("$R", 400, "backend_error")},
	{name: "credential repeated in 300", wireRequest: asking("echo-300", "$R"),
		want: answered("$R", 502, "backend_error")},
	{name: "credential repeated in 301", wireRequest: asking("echo-301", "$R"),
		want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{name: "credential repeated in 303", wireRequest: asking("echo-303", "$R"),
		want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{name: "credential repeated in 307", wireRequest: asking("echo-307", "$R"),
		want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{name: "credential repeated in 308", wireRequest: asking("echo-308", "$R"),
		want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{name: "credential repeated in the headers of 308 alone",
		wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=echo-308", header: by("$C"), body: "x"},
		want:        answered("$C", 308, ""), then: withoutHeader("Location")},
	{name: "credential not repeated in 301", wireRequest: asking("plain-301", "$R"), want: answered("$R", 301, ""),
		then: bodyOf(`<a href="/elsewhere">Moved Permanently</a>.`)},
	{name: "credential repeated in a header in base64", wireRequest: asking("base64-header", "$R"),
		want: answered("$R", 200, ""), then: withoutHeader("X-Echo")},
	{name: "credential repeated in a header in upper case", wireRequest: asking("upper-header", "$R"),
		want: answered("$R", 200, ""), then: withoutHeader("X-Echo")},
	{name: "credential repeated in a header's name", wireRequest: asking("name-header", "$R"),
		want: answered("$R", 200, "")},
	{name: "credential repeated in a trailer's name", wireRequest: asking("name-trailer", "$R"),
		want: answered("$R", 200, "")},
	{name: "credential repeated in a trailer's name not announced", wireRequest: asking("name-trailer-unnamed", "$R"),
		want: answered("$R", 200, "")},
	{name: "closed before a response",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=nothing", header: by("$C"), body: "x"},
		want:        answered("$C", 502, "backend_broke_off")},
	{name: "closed within the head", wireRequest: asking("half-a-head", "$R"),
		want: answered("$R", 502, "backend_broke_off"), then: withoutHeader("X-Echo")},
	{name: "malformed status", wireRequest: asking("bad-status", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "malformed version", wireRequest: asking("bad-version", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "malformed header", wireRequest: asking("bad-header", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "malformed length", wireRequest: asking("bad-length", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "unknown coding", wireRequest: asking("bad-coding", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "malformed status, upper case", wireRequest: asking("bad-upper", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "malformed status, base64", wireRequest: asking("bad-base64", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{name: "credential repeated in a header", wireRequest: asking("echo-header", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("X-Echo")},
	{name: "credential repeated in a cookie", wireRequest: asking("echo-cookie", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("Set-Cookie")},
	{name: "credential repeated in a location", wireRequest: asking("echo-location", "$R"),
		want: answered("$R", 307, ""),
		then: withoutHeader("Location")},
	{name: "credential repeated in early hints", wireRequest: asking("echo-early", "$R"),
		want: answered("$R", 200, "")},
	{name: "credential repeated in a trailer", wireRequest: asking("echo-trailer", "$R"),
		want: answered("$R", 200, "")},
	{name: "credential repeated in a trailer not announced", wireRequest: asking("echo-trailer-unnamed", "$R"),
		want: answered("$R", 200, "")},
	{name: "cookie", wireRequest: asking("cookie", "$R"), want: answered("$R", 200, ""), then: bodyOf("hello")},
	{name: "cookie, account without upstream token", wireRequest: asking("cookie", "$N"),
		want: answered("$N", 200, "")},
	{name: "cookie, error", wireRequest: asking("cookie-404", "$R"), want: answered("$R", 404, ""),
		then: bodyOf(jsonText)},
	{name: "cookie, redirect", wireRequest: asking("cookie-301", "$R"), want: answered("$R", 301, "")},
	{name: "cookie, not modified", wireRequest: asking("cookie-304", "$R"), want: answered("$R", 304, "")},
	{name: "cookie, stream", wireRequest: asking("cookie-stream", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("line\nline\nline\n")},
	{name: "cookie, early hints", wireRequest: asking("cookie-early", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("late")},
	{name: "cookie, trailer", wireRequest: asking("cookie-trailer", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("body")},
	{name: "cookie, trailer not announced", wireRequest: asking("cookie-trailer-unnamed", "$R"),
		want: answered("$R", 200, ""), then: bodyOf("body")},
	{name: "cookie, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=cookie",
		header: by("$C"), body: "x"}, want: answered("$C", 200, "")},
	{name: "cookie, HEAD", wireRequest: wireRequest{method: "HEAD", target: "/plain/read?answer=cookie",
		header: by("$R")}, want: refused(405, "method_not_allowed", "$R")},
	{name: "cookie, untouched", wireRequest: wireRequest{host: browserHost, target: "/login?answer=cookie"},
		want: untouched(200), then: func(t *testing.T, x *exchange) {
			if got := x.responses[0].header["Set-Cookie"]; !slices.Equal(got, []string{openedSession, "other=1"}) {
				t.Errorf("the client got the cookies %q", got)
			}
		}},
	{name: "hop-by-hop headers", wireRequest: asking("hop", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("Keep-Alive")},
	{name: "the gate's own headers", wireRequest: asking("ours", "$R"), want: answered("$R", 200, ""),
		then: func(t *testing.T, x *exchange) {
			if got := x.responses[0].header.Get("Api-Key-Expires"); got == "never" {
				t.Errorf("the backend's Api-Key-Expires reached the client")
			}
		}},
	{name: "backend down", wireRequest: wireRequest{host: awayHost, header: by("$R")},
		want: answeredByNobody("$R", 502, "backend_unreachable")},
	{name: "backend down, upload", wireRequest: wireRequest{host: awayHost, method: "POST",
		target: "/plain/upload", header: by("$C"), body: "hello"},
		want: answeredByNobody("$C", 502, "backend_unreachable")},
	{name: "backend down, refused", wireRequest: wireRequest{host: awayHost, header: by("$C")},
		want: refused(403, "insufficient_scope", "$C")},
}

func nothingOf(body string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if strings.Contains(x.responses[0].body, body) {
			t.Errorf("the client got %q", shortened(x.responses[0].body))
		}
	}
}

func bodyOf(want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.responses[0].body; got != want {
			t.Errorf("the client got %q, want %q", shortened(got), want)
		}
	}
}

func withoutHeader(names ...string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		for name, values := range x.responses[0].header {
			if slices.Contains(names, name) {
				t.Errorf("the client got %s: %q", name, values)
			}
		}
	}
}

// refusalIsLoud checks that the log names the account whose credential the backend refuses and
// says when the refusals started.
func refusalIsLoud(account string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		for line := range strings.Lines(x.log) {
			var entry struct {
				Level, Logger, Account string
				Since                  any
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" && entry.Logger == "api_tokens" &&
				entry.Account == account && entry.Since != nil {
				return
			}
		}
		t.Errorf("the log doesn't name the refused account %s or when the refusals started", account)
	}
}
