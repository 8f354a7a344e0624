package gate

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestRawPath(t *testing.T) {
	for name, tt := range map[string]struct {
		url  url.URL
		want string
	}{
		"default spelling":             {url.URL{Path: "/hé"}, "/h%C3%A9"},
		"RawPath":                      {url.URL{Path: "/abc", RawPath: "/%61bc"}, "/%61bc"},
		"RawPath that net/url rejects": {url.URL{Path: `/a\b`, RawPath: `/a\b`}, `/a\b`},
		"invalid RawPath":              {url.URL{Path: "/a", RawPath: "/a%zz"}, "/a%zz"},
		"rewritten":                    {url.URL{Path: "/new", RawPath: "/%6Fld"}, "/new"},
		"rewritten, needing escapes":   {url.URL{Path: "/a b", RawPath: "/%6Fld"}, "/a%20b"},
		"none":                         {url.URL{}, ""},
	} {
		if got := RawPath(&tt.url); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestSetPath(t *testing.T) {
	for escaped, want := range map[string]url.URL{
		"/api/report": {Path: "/api/report"},
		"/h%C3%A9":    {Path: "/hé"},
		"/a(b)":       {Path: "/a(b)", RawPath: "/a(b)"},
	} {
		for _, u := range []url.URL{{Path: "/other", RawPath: "/%6Fther"}, {Path: escaped},
			{Path: escaped, RawPath: "/%6Fther"}, {Path: escaped, RawPath: escaped}} {
			before := u
			SetPath(&u, escaped)
			if u != want {
				t.Errorf("%#v, %q: got %#v, want %#v", before, escaped, u, want)
			}
		}
	}
}

// TestRequestURI checks that RequestURI returns the same as net/url, whatever the client has sent.
func TestRequestURI(t *testing.T) {
	urls := []string{"/", "/a", "/a/b", "/a?", "/a?b", "/a?b=/a", "/a%2fb", "/h%C3%A9?x", "/a(b)", "//a/b?c", "/a?b?c",
		"http://x/a?b", "*", "/a?a", "/ab", "/a#b"}
	for _, sent := range urls {
		for _, target := range urls {
			u, err := url.Parse(target)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := RequestURI(u, sent), u.RequestURI(); got != want {
				t.Errorf("%q, sent as %q: got %q, want %q", target, sent, got, want)
			}
		}
	}
	u := &url.URL{Path: "/api/report", RawQuery: "a=b"}
	if n := testing.AllocsPerRun(100, func() { RequestURI(u, "/api/report?a=b") }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func TestURLHasToken(t *testing.T) {
	token := tokenText("mmk", "good00000000")
	escaped := ""
	for _, c := range []byte(token) {
		escaped += string(appendEscaped(nil, c))
	}
	wrong := token[:len(token)-1] + "!"
	for target, want := range map[string]bool{
		"/" + token:                    true,
		"/api/" + token + "/x":         true,
		"/api?key=" + token:            true,
		"/api?a=b&" + token + "=":      true,
		"/api?x=%zz" + escaped:         true,
		"/api?key=" + escaped:          true,
		"/" + escaped:                  true,
		"/" + strings.ToLower(escaped): true,
		"/api/mmk%5F" + token[4:]:      true,
		"/%2561" + token:               true,
		"/x" + token + "x":             true,
		"/api?key=" + strings.ReplaceAll(token, "_", "%255f"): true,
		"/" + strings.ReplaceAll(token, "_", "%25255F"):       true,
		"/api?key=" + strings.ReplaceAll(escaped, "%", "%25"): true,
		"/" + tokenText("mma", "adm000000000"):                true,
		"/" + tokenText("xyk", "adm000000000"):                true,
		"/" + tokenText("zzk", "adm000000000"):                false, // unknown prefix
		"/" + wrong:                                           false,
		"/api?key=" + wrong:                                   false,
		"/" + token[:54]:                                      false,
		"/api/report?key=0b0e5b6a-7d2c-4c1e-9d43-6a5c1f0e8b77&page=100000000000000000": false,
		"/": false,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Errorf("parsing %q: %v", target, err)
			continue
		}
		if got := URLHasToken(testPrefixes, u); got != want {
			t.Errorf("%q: got %v, want %v", target, got, want)
		}
	}
	if !URLHasToken(testPrefixes, &url.URL{Path: "/", Fragment: token}) {
		t.Error("a token in a fragment isn't found")
	}
}

func TestUnescapeAll(t *testing.T) {
	for s, want := range map[string]string{
		"":          "",
		"abc":       "abc",
		"%61%62c":   "abc",
		"%5f%5F":    "__",
		"%":         "%",
		"%6":        "%6",
		"%zz%61":    "%zza",
		"%2561":     "a",
		"%252561":   "a",
		"%25%36%31": "a",
		"%%36%31":   "a",
		"%2%35":     "%",
		"%25":       "%",
		"%255z":     "%5z",
		"%%61":      "%a",
		"%%611":     "\xa1",
		"a+b%00":    "a+b\x00",
		"%E2%82%x":  "\xe2\x82%x",
	} {
		if got := UnescapeAll(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

// TestUnescapeAllTakesLinearTime decodes the largest header that Caddy accepts, encoded as
// many times as possible.
func TestUnescapeAllTakesLinearTime(t *testing.T) {
	t.Parallel()
	text := "%" + strings.Repeat("25", 1<<20)
	start := time.Now()
	if got := UnescapeAll(text); got != "%" {
		t.Errorf("got %d bytes, want 1", len(got))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("UnescapeAll took %v, which is too long", took)
	}
}
