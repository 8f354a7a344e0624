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

// echo is the credential that a backend was sent, which it repeats.
func echo(r *http.Request) string { return r.Header.Get("Authorization") }

// say answers with a content type, a status and a body.
func say(contentType string, status int, body func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{contentType}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body(r))
	}
}

// sayHeader answers with a header line that holds the credential.
func sayHeader(name, value string, status int) http.HandlerFunc {
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

// backendAnswers are what the backend of net/http says to ?answer=name.
var backendAnswers = map[string]http.HandlerFunc{
	"template": say("text/html", 200,
		text(
			`{{$r := .Req}}rendered {{.Req.Header.Get "Authorization"}} {{.Req.Header}} {{.OriginalReq.Header}} {{placeholder "http.request.header.Authorization"}}`)),
	"include": say("text/html", 200, text(`{{httpInclude "/plain/read?included"}}`)),
	"ok-html": say("text/html", 200, text(htmlPage)),
	"html-public": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		say("text/html", 404, text(htmlPage))(w, r)
	},
	"public": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		say("text/plain", 200, text(""))(w, r)
	},
	"json":          say("application/json", 404, text(jsonText)),
	"html":          say("text/html; charset=utf-8", 404, text(htmlPage)),
	"html-500":      say("TEXT/HTML", 500, text(htmlPage)),
	"xhtml":         say("application/xhtml+xml", 503, text(htmlPage)),
	"untyped":       say("", 404, text(htmlPage)),
	"redirect":      sayHeader("Location", "/select/instance", 302),
	"permanent":     sayHeader("Location", "/elsewhere", 301),
	"see-other":     sayHeader("Location", "/elsewhere", 303),
	"not-modified":  say("", 304, text("")),
	"no-content":    say("", 204, text("")),
	"401":           say("application/json", 401, echo),
	"401-html":      say("text/html", 401, func(r *http.Request) string { return "<html>" + echo(r) }),
	"401-challenge": sayHeader("WWW-Authenticate", `Basic realm="$"`, 401),
	"403":           say("application/json", 403, text(jsonText)),
	"echo-400":      say("application/json", 400, func(r *http.Request) string { return "Failed: " + echo(r) }),
	"echo-500":      say("text/plain", 500, echo),
	"echo-json": say("application/json", 400, func(r *http.Request) string {
		quoted := ""
		for _, c := range echo(r) {
			quoted += fmt.Sprintf(`\u%04x`, c)
		}
		return `{"data":"` + quoted + `"}`
	}),
	"echo-url": say("text/plain", 400,
		func(r *http.Request) string { return strings.ReplaceAll(echo(r), "-", "%2D") }),
	"echo-html": say("text/plain", 400,
		func(r *http.Request) string { return strings.ReplaceAll(echo(r), "-", "&#45;") }),
	"echo-header":     sayHeader("X-Echo", "Bearer $", 200),
	"echo-cookie":     sayHeader("Set-Cookie", "last=$; Path=/", 200),
	"echo-location":   sayHeader("Location", "/x?token=$", 307),
	"echo-redirect":   sayHeader("Location", "/x?token=$", 302),
	"echo-400-header": sayHeader("X-Echo", "$", 400),
	"gzip":            gzipped("gzip", 400),
	"gzip-302":        gzipped("gzip", 302),
	"encoded":         gzipped("unheard-of", 400),
	"large": say("application/json", 400,
		func(r *http.Request) string { return strings.Repeat(" ", 2<<20) + echo(r) }),
	"cut": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		say("application/json", 400, echo)(w, r)
	},
	"echo-early": func(w http.ResponseWriter, r *http.Request) {
		early(w, r)
		say("text/plain", 200, text("late"))(w, r)
	},
	"echo-trailer":         trailed(200),
	"echo-trailer-unnamed": unannounced,
	"hop": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3="evil:443"`)
		w.Header().Set("Keep-Alive", "timeout=9")
		say("text/plain", 200, text(""))(w, r)
	},
	"interim": func(w http.ResponseWriter, r *http.Request) {
		for _, status := range []int{http.StatusProcessing, http.StatusEarlyHints} {
			w.Header().Set("Alt-Svc", `h3="evil:443"`)
			w.Header().Set("Keep-Alive", "timeout=9")
			w.Header().Set("X-Echo", echo(r))
			w.WriteHeader(status)
		}
		clear(w.Header())
		say("text/plain", 200, text("late"))(w, r)
	},
	// A 101 with what is for one connection only, and with the credential.
	"upgrade-hop": func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nKeep-Alive: timeout=9\r\nX-Echo: "+echo(r)+"\r\n\r\n"+
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nAlt-Svc: h3=\"evil:443\"\r\nKeep-Alive: timeout=9\r\n"+
			"Proxy-Authenticate: Basic\r\nTrailer: X-Sum\r\nX-Hop: x\r\nX-Echo: "+echo(r)+"\r\nX-Kept: yes\r\n\r\n")
	},
	"echo-upper": say("text/plain", 400, func(r *http.Request) string { return strings.ToUpper(echo(r)) }),
	"echo-base64": say("text/plain", 500,
		func(r *http.Request) string { return base64.StdEncoding.EncodeToString([]byte(echo(r))) }),
	"echo-hex": say("application/json", 400,
		func(r *http.Request) string { return `{"sent":"` + hex.EncodeToString([]byte(echo(r))) + `"}` }),
	"echo-twice": say("text/plain", 400, func(r *http.Request) string {
		return url.QueryEscape(url.QueryEscape(strings.ReplaceAll(echo(r), "-", "%2d")))
	}),
	"echo-utf16": say("text/plain; charset=utf-16le", 400, func(r *http.Request) string {
		return "\xff\xfe" + strings.Join(strings.Split(echo(r), ""), "\x00") + "\x00"
	}),
	"echo-utf16be": say("text/plain", 500,
		func(r *http.Request) string { return "\x00" + strings.Join(strings.Split(echo(r), ""), "\x00") }),
	"echo-gzip": squeezed("application/json", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
	"echo-zlib": squeezed("text/plain", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
	"echo-deflate": squeezed("text/plain",
		func(w io.Writer) io.WriteCloser { z, _ := flate.NewWriter(w, 9); return z }),
	"echo-300":  say("text/html", 300, func(r *http.Request) string { return `<a href="/x?` + echo(r) + `">this</a>` }),
	"echo-301":  moved(301),
	"echo-303":  moved(303),
	"echo-307":  moved(307),
	"echo-308":  moved(308),
	"plain-301": say("text/html", 301, text(`<a href="/elsewhere">Moved Permanently</a>.`)),
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
	// After each of them the backend would go on in another protocol.
	"switch": sayBytes(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: yes\r\n\r\n"),
	"switch-other": sayBytes(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\nX-Kept: yes\r\n\r\n"),
	"switch-odd": sayBytes(
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: w\xc3\xa9b\r\nX-Kept: yes\r\n\r\n"),
	"switch-unnamed": sayBytes("HTTP/1.1 101 Switching Protocols\r\nX-Kept: yes\r\n\r\nbytes of another protocol"),
	"nothing":        sayBytes(""),
	"half-a-head":    sayBytes("HTTP/1.1 200 OK\r\nX-Echo: $\r\n"),
	"bad-status":     sayBytes("HTTP/1.1 4$ Bad\r\n\r\n"),
	"bad-version":    sayBytes("HTTP/$ 200 OK\r\n\r\n"),
	"bad-header":     sayBytes("HTTP/1.1 200 OK\r\n$\r\n\r\n"),
	"bad-length":     sayBytes("HTTP/1.1 200 OK\r\nContent-Length: $\r\n\r\n"),
	"bad-coding":     sayBytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: $\r\n\r\n"),
	"bad-upper": func(w http.ResponseWriter, r *http.Request) {
		sayBytes("HTTP/1.1 4"+strings.ToUpper(echo(r))+" Bad\r\n\r\n")(w, r)
	},
	"bad-base64": func(w http.ResponseWriter, r *http.Request) {
		sayBytes("HTTP/1.1 4"+base64.StdEncoding.EncodeToString([]byte(echo(r)))+" Bad\r\n\r\n")(w, r)
	},
	"cookie":     withCookies(say("text/plain", 200, text("hello"))),
	"cookie-404": withCookies(say("application/json", 404, text(jsonText))),
	"cookie-301": withCookies(sayHeader("Location", "/elsewhere", 301)),
	"cookie-304": withCookies(say("", 304, text(""))),
	"cookie-stream": withCookies(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
		}
	}),
	"cookie-early": func(w http.ResponseWriter, r *http.Request) {
		withCookies(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusEarlyHints) })(w, r)
		clear(w.Header())
		say("text/plain", 200, text("late"))(w, r)
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
		say("text/plain", 200, text(""))(w, r)
	},
}

// sayBytes answers with bytes, in which $ stands for the credential.
func sayBytes(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, strings.ReplaceAll(answer, "$", strings.TrimPrefix(echo(r), "Bearer ")))
	}
}

// moved redirects to a place that holds the credential, with a page that says so.
func moved(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/x?t="+url.QueryEscape(echo(r)), status)
	}
}

// squeezed answers with a compressed error that doesn't say that it is.
func squeezed(contentType string, compress func(io.Writer) io.WriteCloser) http.HandlerFunc {
	return say(contentType, 400, func(r *http.Request) string {
		var b strings.Builder
		z := compress(&b)
		_, _ = io.WriteString(z, "Failed to find user with token "+echo(r))
		_ = z.Close()
		return b.String()
	})
}

// openedSession is a cookie by which a backend opens a session for the caller.
const openedSession = "molly_session=opened-by-the-backend; Path=/"

// withCookies answers with cookies in addition.
func withCookies(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", openedSession)
		w.Header().Add("Set-Cookie", "other=1")
		w.Header().Set("Set-Cookie2", openedSession)
		answer(w, r)
	}
}

// gzipped answers with a body in which nothing can be found before it is decoded.
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

// asking asks the backend of net/http for an answer.
func asking(answer, token string) wireRequest { return get("/plain/read?answer="+answer, by(token)...) }

// createForm is a form that the gate lets through.
const createForm = "--b\r\nContent-Disposition: form-data; name=\"albatross_instance\"\r\n\r\ndefault\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"unikernel_name\"\r\n\r\nweb\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"unikernel_config\"\r\n\r\n{}\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"binary\"\r\n\r\nx\r\n--b--\r\n"

// answerAttacks are answers of the backend that must not go to the client as they
// are. That the credential shows nowhere is one of
// the invariants.
var answerAttacks = []attack{
	{id: "ANS-01 HTML", wireRequest: asking("html", "$R"), want: answered("$R", 404, "backend_error"),
		then: nothingOf(htmlPage)},
	{id: "ANS-01 HTML, 500", wireRequest: asking("html-500", "$R"), want: answered("$R", 500, "backend_error"),
		then: nothingOf(htmlPage)},
	{id: "ANS-01 XHTML", wireRequest: asking("xhtml", "$R"), want: answered("$R", 503, "backend_error"),
		then: nothingOf(htmlPage)},
	{id: "ANS-01 without a type", wireRequest: asking("untyped", "$R"), want: answered("$R", 404, "backend_error"),
		then: nothingOf(htmlPage)},
	{id: "ANS-01 JSON", wireRequest: asking("json", "$R"), want: answered("$R", 404, ""), then: bodyOf(jsonText)},
	{id: "ANS-01 HTML, good", wireRequest: asking("ok-html", "$R"), want: answered("$R", 200, ""),
		then: bodyOf(htmlPage)},
	{id: "ANS-01 HTML, untouched", wireRequest: wireRequest{host: browserHost, target: "/style.css?answer=html"},
		want: untouched(404), then: bodyOf(htmlPage)},
	{id: "ANS-01 HTML of a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, method: "POST",
		target: "/api/unikernel/restart?instance=nowhere&unikernel=x", header: by("$A"), body: "{}"},
		want: answered("$A", 404, "backend_error")},
	{id: "ANS-02 redirect", wireRequest: asking("redirect", "$R"), want: answered("$R", 400, "backend_redirect"),
		then: withoutHeader("Location")},
	{id: "ANS-02 redirect, with the credential", wireRequest: asking("echo-redirect", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: withoutHeader("Location")},
	{id: "ANS-02 redirect, encoded", wireRequest: asking("gzip-302", "$R"),
		want: answered("$R", 400, "backend_redirect"), then: withoutHeader("X-Encoded")},
	{id: "ANS-02 redirect of a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, method: "POST",
		target: "/api/unikernel/restart", header: by("$A"), body: "{}"}, want: answered("$A", 400, "backend_redirect"),
		then: withoutHeader("Set-Cookie")},
	{id: "ANS-02 redirect, untouched",
		wireRequest: wireRequest{host: browserHost, target: "/dashboard?answer=redirect"}, want: untouched(302)},
	{id: "ANS-02 permanent", wireRequest: asking("permanent", "$R"), want: answered("$R", 301, "")},
	{id: "ANS-02 see other", wireRequest: asking("see-other", "$R"), want: answered("$R", 303, "")},
	{id: "ANS-02 not modified", wireRequest: asking("not-modified", "$R"), want: answered("$R", 304, "")},
	{id: "ANS-02 no content", wireRequest: asking("no-content", "$R"), want: answered("$R", 204, "")},
	{id: "ANS-03 credential refused", wireRequest: asking("401", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: refusalIsLoud("default")},
	{id: "ANS-03 credential refused, HTML", wireRequest: asking("401-html", "$R"),
		want: answered("$R", 502, "upstream_credential")},
	{id: "ANS-03 credential refused, challenge", wireRequest: asking("401-challenge", "$R"),
		want: answered("$R", 502, "upstream_credential"), then: withoutHeader("Www-Authenticate")},
	{id: "ANS-03 no credential sent", wireRequest: asking("403", "$N"), want: answered("$N", 403, "")},
	{id: "ANS-03 no credential sent, 401", wireRequest: asking("401", "$N"), want: answered("$N", 401, "")},
	{id: "ANS-03 forbidden", wireRequest: asking("403", "$R"), want: answered("$R", 403, ""), then: bodyOf(jsonText)},
	{id: "ANS-03 credential refused by a Mollymawk",
		wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels", header: by("$S")},
		want:        answered("$S", 502, "upstream_credential"), then: refusalIsLoud("stale")},
	{id: "ANS-03 credential refused by a Mollymawk, upload",
		wireRequest: wireRequest{host: gatedMollyHost, method: "POST", target: "/api/unikernel/create",
			header: by("$S", "Content-Type: multipart/form-data; boundary=b"), body: createForm},
		want: answered("$S", 502, "upstream_credential")},
	{id: "ANS-03 no session at a Mollymawk", wireRequest: wireRequest{host: gatedMollyHost, target: "/api/unikernels",
		header: by("$N")}, want: answered("$N", 502, "upstream_credential"), then: refusalIsLoud("bare")},
	{id: "ANS-04 repeated", wireRequest: asking("echo-400", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated, 500", wireRequest: asking("echo-500", "$R"), want: answered("$R", 500, "backend_error")},
	{id: "ANS-04 repeated in JSON", wireRequest: asking("echo-json", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in a URL", wireRequest: asking("echo-url", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in HTML", wireRequest: asking("echo-html", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in an error's header", wireRequest: asking("echo-400-header", "$R"),
		want: answered("$R", 400, "backend_error"), then: withoutHeader("X-Echo")},
	{id: "ANS-04 repeated, encoded", wireRequest: asking("gzip", "$R"), want: answered("$R", 400, "backend_error"),
		then: withoutHeader("X-Encoded", "Content-Encoding")},
	{id: "ANS-04 repeated, encoded on request",
		wireRequest: get("/plain/read?answer=gzip", by("$R", "Accept-Encoding: gzip, br, zstd")...),
		want:        answered("$R", 400, "backend_error"), then: withoutHeader("X-Encoded", "Content-Encoding")},
	{id: "ANS-04 unknown encoding", wireRequest: asking("encoded", "$R"), want: answered("$R", 400, "backend_error"),
		then: withoutHeader("X-Encoded", "Content-Encoding")},
	{id: "ANS-04 large", wireRequest: asking("large", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 cut off", wireRequest: asking("cut", "$R"), want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in upper case", wireRequest: asking("echo-upper", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in base64", wireRequest: asking("echo-base64", "$R"),
		want: answered("$R", 500, "backend_error")},
	{id: "ANS-04 repeated in hexadecimal", wireRequest: asking("echo-hex", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated, escaped three times", wireRequest: asking("echo-twice", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in UTF-16", wireRequest: asking("echo-utf16", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in UTF-16, unsaid", wireRequest: asking("echo-utf16be", "$R"),
		want: answered("$R", 500, "backend_error")},
	{id: "ANS-04 repeated, gzip, unsaid", wireRequest: asking("echo-gzip", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated, zlib, unsaid", wireRequest: asking("echo-zlib", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated, deflate, unsaid", wireRequest: asking("echo-deflate", "$R"),
		want: answered("$R", 400, "backend_error")},
	{id: "ANS-04 repeated in 300", wireRequest: asking("echo-300", "$R"), want: answered("$R", 502, "backend_error")},
	{id: "ANS-04 repeated in 301", wireRequest: asking("echo-301", "$R"), want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{id: "ANS-04 repeated in 303", wireRequest: asking("echo-303", "$R"), want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{id: "ANS-04 repeated in 307", wireRequest: asking("echo-307", "$R"), want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{id: "ANS-04 repeated in 308", wireRequest: asking("echo-308", "$R"), want: answered("$R", 502, "backend_error"),
		then: withoutHeader("Location")},
	{id: "ANS-04 repeated in the headers of 308 alone",
		wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=echo-308", header: by("$C"), body: "x"},
		want:        answered("$C", 308, ""), then: withoutHeader("Location")},
	{id: "ANS-04 nothing repeated in 301", wireRequest: asking("plain-301", "$R"), want: answered("$R", 301, ""),
		then: bodyOf(`<a href="/elsewhere">Moved Permanently</a>.`)},
	{id: "ANS-05 repeated in a header in base64", wireRequest: asking("base64-header", "$R"),
		want: answered("$R", 200, ""), then: withoutHeader("X-Echo")},
	{id: "ANS-05 repeated in a header in upper case", wireRequest: asking("upper-header", "$R"),
		want: answered("$R", 200, ""), then: withoutHeader("X-Echo")},
	{id: "ANS-05 repeated in a header's name", wireRequest: asking("name-header", "$R"), want: answered("$R", 200, "")},
	{id: "ANS-05 repeated in a trailer's name", wireRequest: asking("name-trailer", "$R"),
		want: answered("$R", 200, "")},
	{id: "ANS-05 repeated in a trailer's name not announced", wireRequest: asking("name-trailer-unnamed", "$R"),
		want: answered("$R", 200, "")},
	{id: "ANS-08 closed before an answer",
		wireRequest: wireRequest{method: "POST", target: "/plain/write?answer=nothing", header: by("$C"), body: "x"},
		want:        answered("$C", 502, "backend_broke_off")},
	{id: "ANS-08 closed within the head", wireRequest: asking("half-a-head", "$R"),
		want: answered("$R", 502, "backend_broke_off"), then: withoutHeader("X-Echo")},
	{id: "ANS-08 malformed status", wireRequest: asking("bad-status", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 malformed version", wireRequest: asking("bad-version", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 malformed header", wireRequest: asking("bad-header", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 malformed length", wireRequest: asking("bad-length", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 unknown coding", wireRequest: asking("bad-coding", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 malformed status, upper case", wireRequest: asking("bad-upper", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-08 malformed status, base64", wireRequest: asking("bad-base64", "$R"),
		want: answered("$R", 502, "backend_broke_off")},
	{id: "ANS-05 repeated in a header", wireRequest: asking("echo-header", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("X-Echo")},
	{id: "ANS-05 repeated in a cookie", wireRequest: asking("echo-cookie", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("Set-Cookie")},
	{id: "ANS-05 repeated in a location", wireRequest: asking("echo-location", "$R"), want: answered("$R", 307, ""),
		then: withoutHeader("Location")},
	{id: "ANS-05 repeated in early hints", wireRequest: asking("echo-early", "$R"), want: answered("$R", 200, "")},
	{id: "ANS-05 repeated in a trailer", wireRequest: asking("echo-trailer", "$R"), want: answered("$R", 200, "")},
	{id: "ANS-05 repeated in a trailer not announced", wireRequest: asking("echo-trailer-unnamed", "$R"),
		want: answered("$R", 200, "")},
	{id: "ANS-07 cookie", wireRequest: asking("cookie", "$R"), want: answered("$R", 200, ""), then: bodyOf("hello")},
	{id: "ANS-07 cookie, account without a credential", wireRequest: asking("cookie", "$N"),
		want: answered("$N", 200, "")},
	{id: "ANS-07 cookie, error", wireRequest: asking("cookie-404", "$R"), want: answered("$R", 404, ""),
		then: bodyOf(jsonText)},
	{id: "ANS-07 cookie, redirect", wireRequest: asking("cookie-301", "$R"), want: answered("$R", 301, "")},
	{id: "ANS-07 cookie, not modified", wireRequest: asking("cookie-304", "$R"), want: answered("$R", 304, "")},
	{id: "ANS-07 cookie, stream", wireRequest: asking("cookie-stream", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("line\nline\nline\n")},
	{id: "ANS-07 cookie, early hints", wireRequest: asking("cookie-early", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("late")},
	{id: "ANS-07 cookie, trailer", wireRequest: asking("cookie-trailer", "$R"), want: answered("$R", 200, ""),
		then: bodyOf("body")},
	{id: "ANS-07 cookie, trailer not announced", wireRequest: asking("cookie-trailer-unnamed", "$R"),
		want: answered("$R", 200, ""), then: bodyOf("body")},
	{id: "ANS-07 cookie, upload", wireRequest: wireRequest{method: "POST", target: "/plain/upload?answer=cookie",
		header: by("$C"), body: "x"}, want: answered("$C", 200, "")},
	{id: "ANS-07 cookie, HEAD", wireRequest: wireRequest{method: "HEAD", target: "/plain/read?answer=cookie",
		header: by("$R")}, want: refused(405, "method_not_allowed", "$R")},
	{id: "ANS-07 cookie, untouched", wireRequest: wireRequest{host: browserHost, target: "/login?answer=cookie"},
		want: untouched(200), then: func(t *testing.T, x *exchange) {
			if got := x.answers[0].header["Set-Cookie"]; !slices.Equal(got, []string{openedSession, "other=1"}) {
				t.Errorf("the client got the cookies %q", got)
			}
		}},
	{id: "ANS-06 hop by hop", wireRequest: asking("hop", "$R"), want: answered("$R", 200, ""),
		then: withoutHeader("Keep-Alive")},
	{id: "ANS-06 the gate's own headers", wireRequest: asking("ours", "$R"), want: answered("$R", 200, ""),
		then: func(t *testing.T, x *exchange) {
			if got := x.answers[0].header.Get("Api-Key-Expires"); got == "never" {
				t.Errorf("the backend's Api-Key-Expires reached the client")
			}
		}},
	{id: "USE-06 backend away", wireRequest: wireRequest{host: awayHost, header: by("$R")},
		want: answeredByNobody("$R", 502, "backend_unreachable")},
	{id: "USE-06 backend away, upload", wireRequest: wireRequest{host: awayHost, method: "POST",
		target: "/plain/upload", header: by("$C"), body: "hello"},
		want: answeredByNobody("$C", 502, "backend_unreachable")},
	{id: "USE-06 backend away, refused", wireRequest: wireRequest{host: awayHost, header: by("$C")},
		want: refused(403, "insufficient_scope", "$C")},
}

func nothingOf(body string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if strings.Contains(x.answers[0].body, body) {
			t.Errorf("the client got %q", shortened(x.answers[0].body))
		}
	}
}

func bodyOf(want string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		if got := x.answers[0].body; got != want {
			t.Errorf("the client got %q, want %q", shortened(got), want)
		}
	}
}

func withoutHeader(names ...string) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) {
		for name, values := range x.answers[0].header {
			if slices.Contains(names, name) {
				t.Errorf("the client got %s: %q", name, values)
			}
		}
	}
}

// refusalIsLoud checks that the log says which account the backend refuses, and
// since when.
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
		t.Errorf("the log doesn't say that the account %s is refused, and since when", account)
	}
}
