package gate

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mollygate/mollygate/token"
)

func TestCanonicalPath(t *testing.T) {
	for _, good := range []string{
		"/",
		"/api/unikernel/create",
		"/api/Unikernel/CREATE",
		"/a.b/..c/.d/e..",
		"/a:b@c!d$e&f'g(h)i*j+k,l=m-n.o_p~q",
		"/api/*",
		"/h%C3%A9",
		"/%E2%82%AC",
		"/%F0%9F%90%A6",
		"/%EF%BF%BD", // a literal U+FFFD is valid
	} {
		if !canonicalPath(good) {
			t.Errorf("%q is refused, but is canonical", good)
		}
	}
	for _, bad := range []string{
		"",
		"*",
		"api/unikernel",
		"//",
		"//api/unikernel/create",
		"/api//unikernel/create",
		"/api/unikernel/create/",
		"/./api/unikernel/create",
		"/api/unikernel/create/.",
		"/public/../api/unikernel/create",
		"/api/unikernel/create/../read",
		"/api/unikernel/create/..",
		"/..",
		"/public/%2e%2e/api/unikernel/create",
		"/public/%2E%2E/api/unikernel/create",
		"/public/.%2e/api/unikernel/create",
		"/public/..%2fapi/unikernel/create",
		"/public/..%2Fapi/unikernel/create",
		"/api/unikernel%5ccreate",
		"/api/unikernel%5Ccreate",
		`/api\unikernel\create`,
		"/api/unikernel/%63reate",
		"/api/unikernel/%2563reate",
		"/public/%252e%252e/x",
		"/api/unikernel/create%c0%af",
		"/api/unikernel/create%C0%AF",
		"/public/%c0%ae%c0%ae/api/unikernel/create",
		"/public/%C0%AE%C0%AE/api/unikernel/create",
		"/%E0%80%AF", "/%F0%80%80%AF", // overlong
		"/%ED%A0%80",    // surrogate
		"/%F4%90%80%80", // beyond U+10FFFF
		"/%ff", "/%FF", "/%C3", "/%C3/", "/%C3x", "/%C3%", "/%C3%A", "/%A9", "/%C3%C3",
		"/h%c3%a9", "/h%C3%a9", "/h%c3%A9",
		"/hé",
		"/api;v=1/unikernel",
		"/api/unikernel;x",
		"/api/unikernel%3Bx",
		"/api#unikernel",
		"/api%23unikernel",
		"/api?x",
		"/api%3Fx",
		"/a b", "/a%20b", "/a%00b", "/a\x00b", "/a%0Ab", "/a\tb", "/a\x7fb", "/a%7Fb",
		"/a%", "/a%2", "/a%zz", "/a%GG",
		"/a[b]", "/a<b>", `/a"b"`, "/a^b", "/a`b", "/a{b}", "/a|b",
	} {
		if canonicalPath(bad) {
			t.Errorf("%q is accepted, but isn't canonical", bad)
		}
	}
}

// Every byte has at most one accepted spelling.
func TestCanonicalPathBytes(t *testing.T) {
	for c := range 256 {
		raw := canonicalPath("/a" + string([]byte{byte(c)}) + "b")
		upper := canonicalPath("/a" + string(appendEscaped(nil, byte(c))) + "b")
		lower := canonicalPath("/a" + strings.ToLower(string(appendEscaped(nil, byte(c)))) + "b")
		unreserved := strings.ContainsRune(
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@!$&'()*+,=/", rune(c)) &&
			c < utf8.RuneSelf
		if raw != unreserved || upper || lower {
			t.Errorf("byte %#02x has several accepted spellings: unescaped %v, as %%XX %v, as %%xx %v", c, raw, upper,
				lower)
		}
	}
}

// Only a request target's path counts, whatever the target's form.
func TestDecideRequestTargets(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	for target, want := range map[string]string{
		"/api/report":                               "",
		"/api/report?x=//..%2f;":                    "",
		"/api/report?":                              "",
		"http://127.0.0.1:8080/api/report":          "",
		"http://evil.example/api/report?x":          "",
		"http:///api/report":                        "",
		"http://evil.example//api/report":           "400 invalid_path",
		"http://evil.example":                       "400 invalid_path",
		"*":                                         "400 invalid_path",
		"//api/report":                              "400 invalid_path",
		"/api/report#x":                             "400 invalid_path",
		"/api/report%23x":                           "400 invalid_path",
		"/api/report/":                              "400 invalid_path",
		"x:api/report":                              "400 invalid_path",
		"/" + strings.Repeat("a", 8<<10):            "403 route_not_allowed",
		"/" + strings.Repeat("a/", 32<<10):          "400 invalid_path",
		"/api/report" + strings.Repeat("/", 64<<10): "400 invalid_path",
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Errorf("parsing %.40q: %v", target, err)
			continue
		}
		d := decide(g, tokens, request(tokens.good, func(r *Request) { r.Path = RawPath(u) }))
		if got := refusalText(d.Refusal); got != want {
			t.Errorf("%.40q: got refusal %q, want %q", target, got, want)
		}
	}
}

// The gate checks the path before it looks up a token.
func TestDecidePathBeforeToken(t *testing.T) {
	tokens := newTestTokens(t)
	g := newTestGate(t, nil)
	for _, token := range []string{tokens.good, tokens.malformed, tokens.unknown, tokens.expired, tokens.admin, "x"} {
		d := decide(g, tokens, request(token, func(r *Request) { r.Path = "/api/logs/%2e%2e/live" }))
		if got := refusalText(d.Refusal); got != "400 invalid_path" || d.Matched() {
			t.Errorf("got refusal %q, matched %v", got, d.Matched())
		}
	}
}

func TestSuggestPath(t *testing.T) {
	for path, want := range map[string]string{
		"/api//x":            "/api/x",
		"/api/../x":          "/x",
		"/../../x":           "/x",
		"/api/./x/":          "/api/x",
		"/api%2fx":           "/api/x",
		"/api%2Fx":           "/api/x",
		"/%61pi":             "/api",
		"/api\\x":            "/api/x",
		"/h%c3%a9":           "/h%C3%A9",
		"/hé":                "/h%C3%A9",
		"/api/x?y=1":         "/api/x",
		"api/x":              "/api/x",
		"":                   "/",
		"//":                 "/",
		"/a/..":              "/",
		"/a b":               "",
		"/a%20b":             "",
		"/a;b":               "",
		"/a%2563":            "",
		"/a%zz":              "",
		"/a%ff":              "",
		"https://host/api/x": "/https:/host/api/x",
	} {
		if got := suggestPath(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// everyPath returns a gate with routes for all paths of up to eight segments.
func everyPath(t testing.TB) *Gate {
	var routes []Route
	for pattern := "/*"; len(routes) < 8; pattern += "/*" {
		routes = append(routes, Route{Method: "GET", Path: pattern, Scope: token.Scope{Name: "report:read"}})
	}
	return newTestGate(t, func(c *Config) { c.Routes = routes })
}

// FuzzPath compares the gate with the rule in RFC 3986: decode, encode again, remove dot
// segments (section 5.2.4), and compare the result with the original.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/api/unikernel/create", "//api", "/a/./b", "/a/../b", "/a/..", "/%2e%2e/a", "/a%2fb", "/a%5cb", "/a\\b",
		"/%63", "/%2563", "/%C3%A9", "/%c3%a9",
		"/%C0%AF", "/%ff", "/a;b", "/a#b", "/a?b", "*", "", "a", "/a:b@c!d$e&f'g(h)i*j+k,l=m", "/%ED%A0%80",
		"/%F0%9F%90%A6", "/%EF%BF%BD", "/a/", "/...", "/.a/..b",
	} {
		f.Add(seed)
	}
	g := everyPath(f)
	store := &fakeStore{}
	token := store.add(f, "mmk", "good00000000", nil)
	f.Fuzz(func(t *testing.T, p string) {
		if u, err := url.ParseRequestURI(p); err == nil && strings.HasPrefix(p, "/") {
			if sent, _, _ := strings.Cut(p, "?"); RawPath(u) != sent {
				t.Errorf("%q was parsed as %q", p, RawPath(u))
			}
		}
		allowed := canonicalPath(p)
		if want := referenceCanonical(p); allowed != want {
			t.Fatalf("%q: got allowed %v, want %v", p, allowed, want)
		}
		d := decide(g, store, &Request{Method: "GET", Path: p, Authorization: []string{"Bearer " + token},
			ClientIP: "::1", Now: testNow})
		if (d.Refusal.Code == InvalidPath) == allowed {
			t.Errorf("%q: got allowed %v, but the gate's refusal is %q", p, allowed, d.Refusal.Code)
		}
		if !allowed {
			return
		}
		if !d.Refused() && d.Path != p {
			t.Errorf("%q is forwarded as %q", p, d.Path)
		}
		if path.Clean(p) != p {
			t.Errorf("%q isn't clean: path.Clean returns %q", p, path.Clean(p))
		}
		u, err := url.ParseRequestURI(p)
		if err != nil || u.EscapedPath() != p || u.RawQuery != "" {
			t.Errorf("%q is parsed as %v, %v", p, u, err)
		}
		forwarded := url.URL{Path: "/other", RawPath: "/%6Fther", RawQuery: "q"}
		SetPath(&forwarded, p)
		if forwarded.RequestURI() != p+"?q" {
			t.Errorf("%q is sent as %q", p, forwarded.RequestURI())
		}
	})
}

// referenceCanonical reports whether a path is its own normal form.
func referenceCanonical(p string) bool {
	decoded, ok := referenceDecode(p)
	return ok && utf8.ValidString(decoded) && referenceEncode(decoded) == p &&
		removeDotSegments(p) == p && !strings.Contains(p, "//") && (p == "/" || !strings.HasSuffix(p, "/")) &&
		strings.HasPrefix(p, "/")
}

// referenceDecode decodes percent-encodings.
func referenceDecode(s string) (string, bool) {
	const digits = "0123456789abcdef"
	parts := strings.Split(s, "%")
	decoded := parts[0]
	for _, part := range parts[1:] {
		if len(part) < 2 {
			return "", false
		}
		high := strings.IndexByte(digits, strings.ToLower(part[:1])[0])
		low := strings.IndexByte(digits, strings.ToLower(part[1:2])[0])
		if high < 0 || low < 0 {
			return "", false
		}
		decoded += string([]byte{byte(16*high + low)}) + part[2:]
	}
	return decoded, true
}

// referenceEncode percent-encodes all non-ASCII characters. It replaces characters that a path
// can't contain with "%", so the result never equals a valid path.
func referenceEncode(s string) string {
	var encoded strings.Builder
	for _, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		switch {
		case letter || digit || c == '/' || strings.IndexByte("-._~"+"!$&'()*+,="+":@", c) >= 0:
			encoded.WriteByte(c)
		case c >= 0x80:
			encoded.WriteString(strings.ToUpper(url.QueryEscape(string([]byte{c}))))
		default:
			encoded.WriteString("%")
		}
	}
	return encoded.String()
}

// removeDotSegments implements RFC 3986 section 5.2.4 step by step.
func removeDotSegments(input string) string {
	output := ""
	for input != "" {
		switch {
		case strings.HasPrefix(input, "../"):
			input = input[3:]
		case strings.HasPrefix(input, "./"):
			input = input[2:]
		case strings.HasPrefix(input, "/./"):
			input = input[2:]
		case input == "/.":
			input = "/"
		case strings.HasPrefix(input, "/../"):
			input = input[3:]
			output = output[:max(0, strings.LastIndexByte(output, '/'))]
		case input == "/..":
			input = "/"
			output = output[:max(0, strings.LastIndexByte(output, '/'))]
		case input == "." || input == "..":
			input = ""
		default:
			next := strings.IndexByte(input[1:], '/')
			if next < 0 {
				return output + input
			}
			output += input[:next+1]
			input = input[next+1:]
		}
	}
	return output
}

// TestListedFor checks that listedFor recognizes spellings that the backend may mistake for a
// listed path.
func TestListedFor(t *testing.T) {
	t.Parallel()
	router, err := newRouter([]Route{
		{Method: "POST", Path: "/api/block/download", Aliases: []string{"/api/volume/download"},
			Scope: token.Scope{Name: "block:download"}},
		{Method: "GET", Path: "/jobs/*/log", Scope: token.Scope{Name: "job:read"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const listed = "/api/block/download"
	for path, want := range map[string]string{
		"/api/block/%64ownload": listed, "/api%2fblock%2Fdownload": listed, "//api/block/download": listed,
		"/./api/block/download": listed, "/x/../api/block/download": listed,
		"//x/api/block/download": listed, "//x:80%2fapi/block/download": listed, "//:80%2fapi/block/download": listed,
		"//[::1]%2fapi/block/download": listed,
		"//x%23/api/block/download":    listed, "/%2f/x/api/block/download": listed, "%2fapi/block/download": listed,
		"/%61pi/volume/download": "/api/volume/download",
		"/jobs/1/%6cog":          "/jobs/1/log",
		// Canonical and unrelated paths.
		listed: "", "/x/api/block/download": "", "/api/block/%78": "", "//x/y": "", "*": "", "/": "", "/a%20b": "",
	} {
		if got := router.listedFor(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
