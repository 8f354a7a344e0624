package gate

import (
	"bufio"
	"maps"
	"net/http"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// headers parses header lines the way a server does.
func headers(t testing.TB, lines ...string) http.Header {
	t.Helper()
	h := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%q isn't a header line", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

func TestTakeHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		lines         []string
		authorization []string
		upgrade       bool
		left          []string
	}{
		"credential": {
			lines:         []string{"Authorization: Bearer a", "Accept: */*"},
			authorization: []string{"Bearer a"},
			left:          []string{"Accept: */*"},
		},
		"two credentials, in order": {
			lines:         []string{"Authorization: Bearer a", "authorization: Bearer b"},
			authorization: []string{"Bearer a", "Bearer b"},
		},
		"credential read before Connection": {
			lines:         []string{"Authorization: Bearer a", "Connection: close, Authorization"},
			authorization: []string{"Bearer a"},
		},
		"nominated": {
			lines: []string{"Connection: close, X-One", "Connection: keep-alive,\tx-two ,, cookie", "X-One: 1",
				"X-Two: 2", "X-Three: 3", "Cookie: a=b"},
			left: []string{"X-Three: 3"},
		},
		"nominated, but set by a proxy in front": {
			lines: []string{
				"Connection: early-data, X-Forwarded-For, x-forwarded-proto, X-Forwarded-User, Forwarded, Via, " +
					"Remote-User, X-Real-IP, X-Mine",
				"Early-Data: 1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-User: alice",
				"Forwarded: for=192.0.2.1", "Via: 1.1 front", "Remote-User: alice", "X-Real-IP: 192.0.2.1",
				"X-Mine: 1"},
			left: []string{"Early-Data: 1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https",
				"X-Forwarded-User: alice", "Forwarded: for=192.0.2.1", "Via: 1.1 front", "Remote-User: alice",
				"X-Real-IP: 192.0.2.1"},
		},
		"nominated framing": {
			lines: []string{"Connection: Content-Length, Transfer-Encoding, Host, TE, Trailer", "Content-Length: 3",
				"Transfer-Encoding: chunked", "Host: x", "Te: trailers", "Trailer: X"},
			left: []string{"Content-Length: 3", "Transfer-Encoding: chunked", "Host: x", "Te: trailers"},
		},
		"websocket": {
			lines:   []string{"Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-Websocket-Key: k"},
			upgrade: true,
			left:    []string{"Sec-Websocket-Key: k"},
		},
		"websocket in capitals": {lines: []string{"Connection: UPGRADE", "Upgrade: WebSocket"},
			upgrade: true},
		"websocket without Connection":   {lines: []string{"Upgrade: websocket"}},
		"websocket not in Connection":    {lines: []string{"Connection: close", "Upgrade: websocket"}},
		"websocket and another protocol": {lines: []string{"Connection: Upgrade", "Upgrade: websocket, h2c"}},
		"websocket and another line": {
			lines: []string{"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"}},
		"h2c": {lines: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: x"}},
		"h2c, settings not nominated": {lines: []string{"Connection: Upgrade", "Upgrade: H2C", "HTTP2-Settings: x"}},
		"identity": {lines: []string{"X-Token-Id: 1", "x-token-name: root", "X-TOKEN-ACCOUNT: a",
			"X-Token-Anything: x"}},
		"identity, other spellings": {lines: []string{"X_Token_Name: root", "X-Token_Name: root",
			"x.token.name: root", "X_TOKEN-Id: 1"}},
		"similar to identity headers": {lines: []string{"X-Tokens: 1", "X-Token: 2", "Token-Name: 3"},
			left: []string{"X-Tokens: 1", "X-Token: 2", "Token-Name: 3"}},
		"method override": {lines: []string{"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE",
			"X-Method-Override: DELETE", "X_HTTP_Method_Override: DELETE"}},
		"path override": {lines: []string{"X-Original-URL: /admin", "X-Rewrite-URL: /admin",
			"X-Original-URI: /admin", "X-Override-URL: /admin"}},
		"proxy's original request": {lines: []string{"X-Forwarded-Method: GET", "X-Original-Method: GET",
			"X-Forwarded-Uri: /public", "X-Forwarded-Path: /public"}},
		"framework internals": {lines: []string{"x-middleware-subrequest: src/middleware",
			"X-Middleware-Rewrite: /admin", "x-invoke-path: /admin"}},
		"forwarding headers stay": {
			lines: []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: h", "X-Forwarded-Proto: https",
				"Forwarded: for=1.2.3.4", "X-Real-Ip: 1.2.3.4", "Proxy-Connection: Authorization"},
			left: []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: h", "X-Forwarded-Proto: https",
				"Forwarded: for=1.2.3.4", "X-Real-Ip: 1.2.3.4", "Proxy-Connection: Authorization"},
		},
		"other gateways' identity headers stay": {
			lines: []string{"Remote-User: alice"},
			left:  []string{"Remote-User: alice"},
		},
		"none": {},
	} {
		t.Run(name, func(t *testing.T) {
			h := headers(t, tt.lines...)
			taken := TakeHeaders(h, testPrefixes)
			if !slices.Equal(taken.Authorization, tt.authorization) || taken.WebSocket != tt.upgrade ||
				len(taken.Tokens) > 0 {
				t.Errorf("got %+v; want authorization %q, upgrade %v", taken, tt.authorization, tt.upgrade)
			}
			if want := headers(t, tt.left...); !reflect.DeepEqual(h, want) {
				t.Errorf("got remaining headers %v, want %v", h, want)
			}
		})
	}
}

func TestForward(t *testing.T) {
	id, err := token.ParseID("good00000000")
	if err != nil {
		t.Fatal(err)
	}
	token := tokenstore.PrincipalOf(&token.Token{ID: id, Name: "CI für 100%", Terms: token.Terms{Account: "alice"}})
	g := newTestGate(t, nil)
	client := []string{
		"Authorization: Bearer client", "Cookie2: x", "Proxy_Authorization: Basic x", "accept.encoding: br",
		"Cookie: molly_session=x", "Proxy-Authorization: Basic x", "Accept-Encoding: br", "Expect: 100-continue",
		"Trailer: X-Token-Name",
		"X-Token-Id: forged", "Remote-User: root", "REMOTE_USER: root", "X-Forwarded-User: root",
		"X-Auth-Request-Email: root", "X-WEBAUTH-USER: root", "Ssl-Client-Cert: x", "X_Forwarded_User: root",
	}
	kept := []string{"Accept: */*", "Content-Type: application/json", "X-Forwarded-For: 192.0.2.1",
		"User-Agent: curl"}
	added := []string{"X-Token-Id: good00000000", "X-Token-Name: CI f%C3%BCr 100%25", "X-Token-Account: alice"}
	for authorization, credential := range map[string][]string{
		"Bearer upstream-secret": {"Authorization: Bearer upstream-secret"},
		"":                       nil,
	} {
		h := headers(t, append(slices.Clone(client), kept...)...)
		before := h.Clone()
		for spare := range 20 {
			got := g.Forward(h, &token, authorization, make([]string, 0, spare))
			if want := headers(t, slices.Concat(kept, added, credential)...); !reflect.DeepEqual(got, want) {
				t.Errorf("with the credential %q: got\n%v, want\n%v", authorization, got, want)
			}
			for name, values := range got {
				values[0] = "changed"
				got[name] = append(values, "appended")
			}
			if !reflect.DeepEqual(h, before) {
				t.Fatalf("Forward changed the client's headers to %v", h)
			}
			for name, values := range got {
				if want := []string{"changed", "appended"}; !slices.Equal(values, want) {
					t.Errorf("%s: got %q, want %q: headers must not share their values", name, values, want)
				}
			}
		}
	}
}

// The gate sets its headers even if they are empty, because a backend must never see values
// set by the client.
func TestForwardSetsAlways(t *testing.T) {
	h := headers(t, "X-Token-Account: root")
	if got := newTestGate(t, nil).Forward(h, &tokenstore.Principal{Terms: &token.Terms{}}, "",
		nil)["X-Token-Account"]; !slices.Equal(got, []string{""}) {
		t.Errorf("got X-Token-Account %q, want an empty value", got)
	}
}

func TestSetUpgrade(t *testing.T) {
	h := make(http.Header)
	SetUpgrade(h)
	if want := headers(t, "Connection: Upgrade", "Upgrade: websocket"); !reflect.DeepEqual(h, want) {
		t.Errorf("got headers %v, want %v", h, want)
	}
}

func TestHeaderText(t *testing.T) {
	for s, want := range map[string]string{
		"":               "",
		"ci":             "ci",
		"a b~!":          "a b~!",
		"100%":           "100%25",
		"für":            "f%C3%BCr",
		"a\r\nX-Evil: b": "a%0D%0AX-Evil: b",
		"\x00\x7f\xff":   "%00%7F%FF",
	} {
		if got := headerText(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

// The names must be in the form that contain compares, and must fit into its buffer.
func TestHeaderNames(t *testing.T) {
	for _, list := range []headerNames{*overrideHeaders, *identityHeaders, *strippedHeaders, *setCookieHeaders} {
		for _, name := range append(slices.Collect(maps.Keys(list.names)), list.prefixes...) {
			folded := []byte(name)
			for i := range folded {
				folded[i] = foldNameByte(folded[i])
			}
			if string(folded) != name || len(name) > 64 {
				t.Errorf("%q can never be found, because it isn't folded or is too long", name)
			}
			if !list.contain(http.CanonicalHeaderKey(name)) ||
				!list.contain(strings.ReplaceAll(strings.ToUpper(name), "-", "_")) {
				t.Errorf("%q isn't found", name)
			}
		}
		if long := "X-" + strings.Repeat("a", 100); list.contain(long) || list.contain("") || list.contain("X-") {
			t.Error("contain found a name that isn't in the list")
		}
	}
	for name := range commonHeaders {
		if name != http.CanonicalHeaderKey(name) || overrideHeaders.contain(name) || strippedHeaders.contain(name) ||
			identityHeaders.contain(name) {
			t.Errorf("commonHeaders must not contain %q, which another list contains", name)
		}
	}
	if !newHeaderNames(nil, nil).withWords("account").contain("X-User") {
		t.Error("X-User isn't found, although it is shorter than all words")
	}
	if !overrideHeaders.contain("X-Token-" + strings.Repeat("a", 100)) {
		t.Error("a long name with the prefix X-Token- isn't found")
	}
}

func TestTakeTokens(t *testing.T) {
	t.Parallel()
	token := tokenText("mmk", "4fQ9Zt2LkVb7")
	h := http.Header{
		"X-Api-Key": {token}, "Referer": {"https://a.example/?t=" + strings.ReplaceAll(token, "_", "%5F")},
		"Cookie": {"a=1; t=" + token + "; b=2", "t=" + token}, "Accept": {"x", "y"}, "User-Agent": {token[:54]},
		"Connection": {"x-nominated"}, "X-Nominated": {token},
	}
	names := TakeHeaders(h, testPrefixes).Tokens
	if want := []string{"Cookie", "Referer", "X-Api-Key", "X-Nominated"}; !slices.Equal(names, want) {
		t.Errorf("got dropped headers %q, want %q", names, want)
	}
	if want := (http.Header{"Cookie": {"a=1; b=2"}, "Accept": {"x", "y"},
		"User-Agent": {token[:54]}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %d remaining headers, want 3 with the right values", len(h))
	}
}

func FuzzTakeHeaders(f *testing.F) {
	for _, seed := range []string{
		"Authorization: Bearer a\r\nConnection: Authorization, X-Token-Id\r\nX-Token-Id: 1\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
		"Http2.settings: x\r\nHTTP2_Settings: y\r\n",
		"X_Token.Name: root\r\nx-http-method-override: DELETE\r\n",
		"Connection: Content-Length\r\nContent-Length: 1\r\nConnection: x\r\nX: y\r\n",
		"Cookie: a=b\r\nConnection: cookie\r\n",
		"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		parsed, err := textproto.NewReader(bufio.NewReader(strings.NewReader(raw + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			return
		}
		h := http.Header(parsed)
		before := h.Clone()
		taken := TakeHeaders(h, nil)
		if !slices.Equal(taken.Authorization, before["Authorization"]) {
			t.Errorf("got authorization %q, want %q", taken.Authorization, before["Authorization"])
		}
		if taken.WebSocket && (len(before["Upgrade"]) != 1 || len(before["Connection"]) == 0) {
			t.Errorf("got an upgrade from headers %q", before)
		}
		nominated := strings.ToLower(strings.Join(before["Connection"], ","))
		for name, values := range h {
			folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
			switch {
			case folded == "authorization", folded == "connection", folded == "upgrade", folded == "http2-settings",
				strings.HasPrefix(folded, "x-token-"), folded == "x-http-method-override", folded == "x-original-url":
				t.Errorf("%q wasn't deleted", name)
			case !slices.Equal(values, before[name]):
				t.Errorf("the value of %q was changed", name)
			}
			for token := range strings.SplitSeq(nominated, ",") {
				token = strings.Trim(token, " \t")
				if token == strings.ToLower(name) && !proxyHeaders.contain(token) && !identityHeaders.contain(token) &&
					!slices.Contains([]string{"content-length", "transfer-encoding", "host", "te", "trailer"}, token) {
					t.Errorf("%q wasn't deleted although Connection names it", name)
				}
			}
		}
	})
}
