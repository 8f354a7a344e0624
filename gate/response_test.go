package gate

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestMustBuffer(t *testing.T) {
	for status := 100; status < 600; status++ {
		if got, want := MustBuffer(status), status >= 300 && status != 304; got != want {
			t.Errorf("status %d: got %v, want %v", status, got, want)
		}
	}
}

const upstreamToken = "0b0e5b6a-7d2c-4c1e-9d43-6a5c1f0e8b77"

func TestJudge(t *testing.T) {
	byText := &Route{CredentialRefused: func(status int, body []byte) bool {
		return status == 400 && string(body) == "bad credential"
	}}
	byStatus := &Route{}
	byReadError := &Route{ReadError: func(html bool, body []byte) (ErrorText, bool) {
		text := string(body)
		switch {
		case strings.HasPrefix(text, "known secret"):
			return ErrorText{Text: upstreamToken}, true
		case strings.HasPrefix(text, "known"):
			return ErrorText{Text: text, Code: "gone", Status: 404}, true
		}
		return ErrorText{Text: text}, text == "words"
	}}
	for name, tt := range map[string]struct {
		route  *Route
		status int
		lines  []string
		body   string
		noBody bool // the body couldn't be read
		noSent bool // the gate sent no credential
		want   string
	}{
		"JSON error":        {status: 400, lines: []string{"Content-Type: application/json"}, body: `{"status":400}`},
		"plain error":       {status: 404, lines: []string{"Content-Type: text/plain"}, body: "no"},
		"empty error":       {status: 500},
		"JSON 500":          {status: 500, lines: []string{"Content-Type: application/json"}, body: `{}`},
		"no content type":   {status: 400, body: "no"},
		"identity encoding": {status: 400, lines: []string{"Content-Encoding: identity"}, body: "no"},
		"redirect":          {status: 302, lines: []string{"Location: /select"}, want: "400 backend_redirect"},
		"redirect, encoded": {status: 302, lines: []string{"Content-Encoding: gzip"}, noBody: true,
			want: "400 backend_redirect"},
		"HTML 400": {status: 400, lines: []string{"Content-Type: text/html"}, body: "<p>",
			want: "400 backend_error"},
		"HTML 404": {status: 404, lines: []string{"Content-Type: Text/HTML; charset=utf-8"}, body: "<p>",
			want: "404 backend_error"},
		"HTML 500": {status: 500, lines: []string{"Content-Type: text/html;charset=a=b"}, body: "<p>",
			want: "500 backend_error"},
		"XHTML": {status: 400, lines: []string{"Content-Type: application/xhtml+xml"}, body: "<p>",
			want: "400 backend_error"},
		"HTML without a content type": {status: 400, body: "<!DOCTYPE html><html>", want: "400 backend_error"},
		"encoded": {status: 400, lines: []string{"Content-Encoding: gzip"}, body: "\x1f\x8b",
			want: "400 backend_error"},
		"encoded twice": {status: 400, lines: []string{"Content-Encoding: identity, br"}, body: "x",
			want: "400 backend_error"},
		"encoded 503": {status: 503, lines: []string{"Content-Encoding: GZIP"}, body: "x",
			want: "503 backend_error"},
		"unreadable":         {status: 400, noBody: true, want: "400 backend_error"},
		"credential refused": {route: byText, status: 400, body: "bad credential", want: "502 upstream_credential"},
		"credential refused in HTML": {
			route: byText, status: 400, lines: []string{"Content-Type: text/html"}, body: "bad credential",
			want: "502 upstream_credential",
		},
		"other 400":             {route: byText, status: 400, body: "bad name"},
		"401 with another text": {route: byText, status: 401, body: "bad credential"},
		"401":                   {status: 401, body: "no", want: "502 upstream_credential"},
		"401 encoded": {status: 401, lines: []string{"Content-Encoding: gzip"}, body: "x",
			want: "502 upstream_credential"},
		"401 unreadable":           {status: 401, noBody: true, want: "502 upstream_credential"},
		"401 without a credential": {status: 401, body: "no", noSent: true},
		"403":                      {status: 403, body: "no"},
		"token in the body": {status: 400, body: "bad " + upstreamToken + "!",
			want: "400 backend_error"},
		"token in JSON": {status: 422, lines: []string{"Content-Type: application/json"},
			body: `{"x":"0b0e5b6a\u002d7d2c\u002D4c1e-9d43-6a5c1f0e8b77"}`, want: "422 backend_error"},
		"token in a URL": {status: 400, body: "/x?t=0b0e5b6a%2d7d2c%2D4c1e-9d43-6a5c1f0e8b77",
			want: "400 backend_error"},
		"token in a URL in JSON": {status: 400,
			body: `{"x":"\/t=0b0e5b6a\u00252d7d2c-4c1e-9d43-6a5c1f0e8b77"}`, want: "400 backend_error"},
		"token in HTML in text": {status: 400, lines: []string{"Content-Type: text/plain"},
			body: "0b0e5b6a&#45;7d2c-4c1e-9d43-6a5c1f0e8b77", want: "400 backend_error"},
		"token in a header": {status: 400, lines: []string{"X-Debug: Bearer " + upstreamToken},
			body: "no", want: "400 backend_error"},
		"token in a header's URL": {status: 500,
			lines: []string{"Link: <?0b0e5b6a%2D7d2c-4c1e-9d43-6a5c1f0e8b77>"}, want: "500 backend_error"},
		"token in upper case": {status: 400, body: strings.ToUpper(upstreamToken),
			want: "400 backend_error"},
		"another token": {status: 400,
			body: strings.ReplaceAll(upstreamToken, "0b0e5b6a", "0b0e5b6b")},
		"permanent redirect": {status: 301, lines: []string{"Location: /x", "Content-Type: text/html"},
			body: `<a href="/x">Moved Permanently</a>.`},
		"See Other":                           {status: 303, lines: []string{"Location: /x"}},
		"not modified":                        {status: 304},
		"redirect with the token in a header": {status: 307, lines: []string{"Location: /x?t=" + upstreamToken}},
		"token in a redirect": {status: 301, lines: []string{"Content-Type: text/html"},
			body: `<a href="/x?t=` + upstreamToken + `">Moved Permanently</a>.`, want: "502 backend_error"},
		"token in multiple choices": {status: 300, body: upstreamToken, want: "502 backend_error"},
		"token in a See Other": {status: 303, body: "/x?t=0b0e5b6a%2d7d2c%2D4c1e-9d43-6a5c1f0e8b77",
			want: "502 backend_error"},
		"token in a temporary redirect": {status: 307, body: strings.ToUpper(upstreamToken), want: "502 backend_error"},
		"token in a permanent redirect": {status: 308,
			body: base64.StdEncoding.EncodeToString([]byte("Bearer " + upstreamToken)), want: "502 backend_error"},
		"token in 399": {status: 399, body: upstreamToken, want: "502 backend_error"},
		"redirect, encoded body": {status: 301, lines: []string{"Content-Encoding: gzip"}, body: "\x1f\x8b",
			want: "502 backend_error"},
		"redirect, unreadable":   {status: 308, noBody: true, want: "502 backend_error"},
		"redirect, nothing sent": {status: 301, body: upstreamToken, noSent: true},
		"undeclared gzip": {status: 400, lines: []string{"Content-Type: application/json"},
			body: "\x1f\x8b\x08\x00rest", want: "400 backend_error"},
		"gzip as octet-stream": {status: 400, lines: []string{"Content-Type: application/octet-stream"},
			body: "\x1f\x8b\x08\x00rest", want: "400 backend_error"},
		"undeclared zlib": {status: 500, lines: []string{"Content-Type: text/plain"},
			body: "\x78\x9crest", want: "500 backend_error"},
		"zlib that begins like text": {status: 500, lines: []string{"Content-Type: text/plain"},
			body: "x^\xca\x00\x02", want: "500 backend_error"},
		"undeclared zstd": {status: 500, body: "\x28\xb5\x2f\xfdrest", want: "500 backend_error"},
		"undeclared brotli": {status: 500, lines: []string{"Content-Type: application/problem+json"},
			body: "\x8b\x02\x80rest\x03", want: "500 backend_error"},
		"text that begins like zlib": {status: 400, lines: []string{"Content-Type: text/plain"},
			body: "x^2 is negative"},
		"Latin 1": {status: 400, lines: []string{"Content-Type: text/plain; charset=iso-8859-1"},
			body: "f\xfcr"},
		"undeclared Latin 1": {status: 400, lines: []string{"Content-Type: text/plain"}, body: "f\xfcr",
			want: "400 backend_error"},
		"UTF-8": {status: 400, lines: []string{"Content-Type: text/plain"}, body: "für"},
		"UTF-16": {status: 400, lines: []string{"Content-Type: text/plain"},
			body: "n\x00o\x00t\x00 \x00h\x00e\x00r\x00e\x00"},
		"an image": {status: 404, lines: []string{"Content-Type: image/png"},
			body: "\x89PNG\r\n\x1a\n\x00"},
		"known page": {route: byReadError, status: 400, lines: []string{"Content-Type: text/html"},
			body: "known", want: "404 backend_error gone: known"},
		"known text": {route: byReadError, status: 500, body: "known",
			want: "404 backend_error gone: known"},
		"known text, no status": {route: byReadError, status: 500, body: "words",
			want: "500 backend_error : words"},
		"unknown page": {route: byReadError, status: 400, lines: []string{"Content-Type: text/html"},
			body: "other", want: "400 backend_error"},
		"unknown text": {route: byReadError, status: 400, body: "other"},
		"known page with the token": {route: byReadError, status: 400, lines: []string{"Content-Type: text/html"},
			body: "known " + upstreamToken, want: "400 backend_error"},
		"known text with the token": {route: byReadError, status: 500, body: "known " + upstreamToken,
			want: "500 backend_error"},
		"known text, token in a header": {route: byReadError, status: 500, lines: []string{"X-Debug: " + upstreamToken},
			body: "known", want: "500 backend_error"},
		"token only in extracted text": {route: byReadError, status: 500, lines: []string{"Content-Type: text/html"},
			body: "known secret", want: "500 backend_error"},
		"known text, compressed": {route: byReadError, status: 500, lines: []string{"Content-Encoding: gzip"},
			body: "known", want: "500 backend_error"},
		"known redirect": {route: byReadError, status: 303, body: "known"},
		"nothing sent":   {status: 400, body: "bad " + upstreamToken, noSent: true},
	} {
		t.Run(name, func(t *testing.T) {
			route, sent, body := tt.route, upstreamToken, []byte(tt.body)
			if route == nil {
				route = byStatus
			}
			if tt.noSent {
				sent = ""
			}
			if tt.noBody {
				body = nil
			}
			refusal := route.Judge(tt.status, headers(t, tt.lines...), body, NewUpstreamToken(sent))
			got := refusalText(refusal)
			if route == byReadError && refusal.Detail != "" && !strings.HasPrefix(refusal.Detail, "The backend") {
				got += " " + refusal.BackendCode + ": " + refusal.Detail
			}
			if got != tt.want {
				t.Errorf("got refusal %q, want %q", got, tt.want)
			}
			if details := refusal.Problem(); tt.want != "" &&
				(details.Detail == "" || strings.Contains(details.Detail, upstreamToken)) {
				t.Errorf("got detail %q", details.Detail)
			}
		})
	}
}

func TestScrubHeaders(t *testing.T) {
	kept := []string{"Content-Type: text/plain", "X-Name: 0b0e5b6a", "Cookie: a=b"}
	h := headers(t, append([]string{
		"X-Debug: " + upstreamToken, "X-Two: harmless", "X-Two: x" + upstreamToken + "x",
		"Location: /?0b0e5b6a%2D7d2c-4c1e-9d43-6a5c1f0e8b77",
	}, kept...)...)
	h[upstreamToken] = []string{"x"}
	NewUpstreamToken(upstreamToken).ScrubHeaders(h)
	if want := headers(t, kept...); !reflect.DeepEqual(h, want) {
		t.Errorf("got headers %v, want %v", h, want)
	}
	for _, name := range []string{"Set-Cookie", "set-cookie", "SET-COOKIE", "Set-Cookie2", "Set_Cookie",
		http.TrailerPrefix + "Set-Cookie", http.TrailerPrefix + "set-cookie2"} {
		h[name] = []string{"session=1", "b=c"}
	}
	NewUpstreamToken("").ScrubHeaders(h)
	if want := headers(t, kept...); !reflect.DeepEqual(h, want) {
		t.Errorf("without a token: got headers %v, want %v", h, want)
	}
}
