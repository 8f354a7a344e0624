package gate

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
)

// each returns an encoding that formats every byte separately.
func each(format string) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
}

func units(order int) func(string) string {
	return func(s string) string {
		var b strings.Builder
		for _, unit := range utf16.Encode([]rune(s)) {
			pair := [2]byte{byte(unit), byte(unit >> 8)}
			b.WriteByte(pair[order])
			b.WriteByte(pair[1-order])
		}
		return b.String()
	}
}

func behind(prefix string, spell func(string) string) func(string) string {
	return func(s string) string { return spell(prefix + s + "!?") }
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var sent = NewUpstreamToken(upstreamToken)

// repetitions are spellings in which a backend may echo the token.
var repetitions = map[string]func(string) string{
	"plain":                func(s string) string { return s },
	"upper case":           strings.ToUpper,
	"lower case":           strings.ToLower,
	"in a sentence":        func(s string) string { return "bad token " + s + "." },
	"URL, dashes":          func(s string) string { return strings.ReplaceAll(s, "-", "%2d") },
	"URL, all":             each("%%%02X"),
	"URL, query":           func(s string) string { return "/x?a=1&copy=2&token=" + url.PathEscape(s) },
	"JSON, dashes":         func(s string) string { return strings.ReplaceAll(s, "-", `\u002D`) },
	"JSON, all":            each(`\u%04x`),
	"JSON string":          quoted,
	"JavaScript":           each(`\x%02x`),
	"JavaScript, braces":   each(`\u{%x}`),
	"octal":                each(`\%03o`),
	"HTML, decimal":        each("&#%d;"),
	"HTML, hexadecimal":    each("&#x%X;"),
	"HTML text":            html.EscapeString,
	"quoted-printable":     each("=%02X"),
	"quoted-printable cut": func(s string) string { return s[:10] + "=\r\n" + s[10:] },
	"UTF-16LE":             units(0),
	"UTF-16BE":             units(1),
	"UTF-16LE with a BOM":  func(s string) string { return "\xff\xfe" + units(0)(s) },
	"UTF-32LE":             each("%c\x00\x00\x00"),
	"base64":               func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64, 1":            behind("a", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"base64, 2": behind("ab",
		func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }),
	"base64url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("Bearer " + s)) },
	"base64, glued": func(s string) string {
		return "token" + base64.StdEncoding.EncodeToString([]byte(s)) +
			"end"
	},
	"base64, in a path": func(s string) string {
		return "/a/" + base64.RawURLEncoding.EncodeToString([]byte(s)) + "/b"
	},
	"base64, lines": func(s string) string {
		text := base64.StdEncoding.EncodeToString([]byte("user:" + s))
		return text[:20] + "\r\n" + text[20:40] + "\n" + text[40:]
	},
	"hex":                func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex, upper case":    each("%02X"),
	"hex, odd":           func(s string) string { return "a" + hex.EncodeToString([]byte(s)) },
	"hex, colons":        each("%02x:"),
	"hex, dump":          each("%02x "),
	"cut by white space": func(s string) string { return s[:9] + "\n  " + s[9:] },
	"list":               each(`"%c", `),
	"without dashes":     func(s string) string { return strings.ReplaceAll(s, "-", "") },

	"hex, list":          each("0x%02x, "),
	"hex, code points":   each("U+%04X "),
	"octal, unpadded":    each(`\%o`),
	"URL, UTF-16":        each("%%u%04x"),
	"underscores":        dashesAs("_"),
	"dots":               dashesAs("."),
	"pluses":             dashesAs("+"),
	"colons":             dashesAs(":"),
	"slashes":            dashesAs("/"),
	"hyphens":            dashesAs("\u2010"),
	"no-break hyphens":   dashesAs("\u2011"),
	"en dashes":          dashesAs("\u2013"),
	"soft hyphens":       dashesAs("\u00ad"),
	"soft hyphens, HTML": dashesAs("&shy;"),
	"zero width":         each("%c\u200b"),
	"zero width, HTML":   each("%c&ZeroWidthSpace;"),
	"joiners":            each("%c\u2060\ufeff"),
	"terminal":           each("\x1b[1;31m%c\x1b[0m"),
	"terminal, link":     func(s string) string { return s[:9] + "\x1b]8;;http://a\x07" + s[9:] },
	"terminal, escaped":  func(s string) string { return s[:9] + `\e[31m` + s[9:] },
	"tags":               each("<b>%c</b>"),
	"an empty tag":       func(s string) string { return s[:5] + "<b class='x'></b>" + s[5:] },
	"two strings":        func(s string) string { return `["` + s[:12] + `", "` + s[12:] + `"]` },
	"two members":        func(s string) string { return `{"begin":"` + s[:12] + `", "rest" : "` + s[12:] + `"}` },
}

func dashesAs(sign string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, "-", sign) }
}

// rawRepetitions are spellings of a UUID's 16 bytes.
var rawRepetitions = map[string]func(string) string{
	"base64":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64, in a sentence": func(s string) string {
		return "token " + base64.StdEncoding.EncodeToString([]byte(s)) +
			" is wrong"
	},
	"base64, with other bytes": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00\xff" + s + "\x80"))
	},
	"URL":        each("%%%02x"),
	"JavaScript": each(`\x%02x`),
	"octal":      each(`\%03o`),
	"hex, list":  each("0x%02x,"),
	"bytes":      func(s string) string { return s },
}

// TestRawToken checks that the search finds a UUID's bytes.
func TestRawToken(t *testing.T) {
	t.Parallel()
	raw, err := hex.DecodeString(strings.ReplaceAll(upstreamToken, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{raw[0] + 1}, raw[1:]...)
	swapped := []byte{raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6]}
	swapped = append(swapped, raw[8:]...)
	for name, spell := range rawRepetitions {
		if !sent.inText(spell(string(raw))) ||
			!sent.inText(base64.StdEncoding.EncodeToString([]byte(spell(string(raw))))) {
			t.Errorf("%s isn't found", name)
		}
		if !sent.inText(spell(string(swapped))) {
			t.Errorf("%s isn't found in Windows byte order", name)
		}
		if sent.inText(spell(string(other))) {
			t.Errorf("%s: another token is mistaken for the upstream token", name)
		}
	}
}

// cuts are spellings that insert something in the middle of the text. ofLongUnits are
// spellings with multi-byte units, which an insertion within a unit breaks.
var (
	cuts = map[string]bool{"cut by white space": true, "two strings": true, "two members": true,
		"terminal, escaped": true, "terminal, link": true, "an empty tag": true, "list": true, "zero width, HTML": true}

	ofLongUnits = map[string]bool{
		"zero width, HTML": true, "soft hyphens, HTML": true, "terminal": true, "terminal, link": true,
		"terminal, escaped": true, "JSON, dashes": true, "JSON, all": true,
		"JavaScript": true, "JavaScript, braces": true, "octal": true, "octal, unpadded": true, "HTML, decimal": true,
		"HTML, hexadecimal": true, "URL, UTF-16": true, "two members": true,
	}
)

// TestTokenSpellings checks that the search finds the token in every spelling, in every pair
// of spellings and in random sequences of them.
func TestTokenSpellings(t *testing.T) {
	t.Parallel()
	var names []string
	for name := range repetitions {
		names = append(names, name)
	}
	found := func(names ...string) {
		text := upstreamToken
		for _, name := range names {
			text = repetitions[name](text)
		}
		if !sent.inText(text) || !sent.inText("some text "+text+" more text") {
			t.Errorf("the token isn't found in spelling %q: %q", names, text)
		}
	}
	changesCase := func(name string) bool { return name == "upper case" || name == "lower case" }
	for _, first := range names {
		found(first)
		for _, second := range names {
			if strings.HasPrefix(first, "base64") && (changesCase(second) || second == "without dashes") {
				continue // the second spelling destroys the base64
			}
			if first == "quoted-printable cut" && (second == "list" || second == "URL, query") {
				continue // the cut can't be recognized
			}
			if cuts[second] && ofLongUnits[first] || strings.HasSuffix(first, ", HTML") && changesCase(second) {
				continue // the second spelling breaks the first
			}
			found(first, second)
		}
	}
	escapes := []string{"URL, all", "URL, dashes", "URL, query", "JSON, dashes", "JSON string", "HTML, decimal",
		"HTML text", "base64", "base64url", "UTF-16LE", "hex"}
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		found(escapes[random.IntN(len(escapes))], escapes[random.IntN(len(escapes))],
			escapes[random.IntN(len(escapes))])
	}
	for range 6 { // nested ever deeper
		escapes = append(escapes, "URL, query")
		found(escapes[11:]...)
	}
}

// TestOtherTexts checks that text without the token doesn't match.
func TestOtherTexts(t *testing.T) {
	t.Parallel()
	other := strings.Replace(upstreamToken, "0b0e", "0b0f", 1)
	for name, spell := range repetitions {
		if text := spell(other); sent.inText(text) {
			t.Errorf("%s: another token is mistaken for the upstream token", name)
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	noise := make([]byte, 10_000)
	for i := range noise {
		noise[i] = byte(random.UintN(256))
	}
	page := strings.Repeat(`{"error":"it \"broke\" at /a?b=c&amp;d=%20e","sha256":"`+strings.Repeat("0123456789abcdef",
		4)+`","id":"`+base64.StdEncoding.EncodeToString(noise[:60])+"\"}\n", 50)
	for _, text := range []string{"", `\`, `\u`, `\u12`, `\uzzzz`, `\u{`, `\u{zz}`, `\x`, `\0`, "%", "%2", "%u", "%u00",
		"%uzzzz", `\e`, `\7`, "<", "<a", "<a<", "\x1b", "\x1b[", "\x1b[1", "\x1b]", "\x1b(", `"`, `"a"`, `"a" :`, "&",
		"&#", "=", "=\n", upstreamToken[1:], upstreamToken[:35], strings.Repeat(`\u0061`, 50), string(noise), page} {
		if sent.inText(text) {
			t.Errorf("the token is found in %.40q, which doesn't contain it", text)
		}
		if NewUpstreamToken("").inText(text) || NewUpstreamToken("").inHeaderLine(text) {
			t.Errorf("an empty token is found in %.40q", text)
		}
	}
	// A token with few letters and digits is compared as a whole.
	for token, text := range map[string]string{"abc": "a b c", "0123456789abcde": "0123-4567-89ab-cde",
		"the-token": "the token"} {
		if NewUpstreamToken(token).inText(text) {
			t.Errorf("the token %q is found in %q, which doesn't contain it", token, text)
		}
	}
	for _, token := range []string{"a", "--", "-----------------", "abc=="} {
		sent := NewUpstreamToken(token)
		if sent.inText("b") || sent.inHeaderLine("b") || sent.inText("") || !sent.inText("x"+token+"x") {
			t.Errorf("searching for the token %q gave the wrong result", token)
		}
	}
}

// TestLines checks that the search finds the token in header lines, for which it takes a
// shortcut.
func TestLines(t *testing.T) {
	t.Parallel()
	for name, spell := range repetitions {
		switch name {
		case "cut by white space", "list", "hex, colons", "hex, dump", "base64, lines", "quoted-printable",
			"quoted-printable cut", "UTF-16LE with a BOM",
			"hex, list", "hex, code points", "tags", "an empty tag", "terminal", "terminal, link", "two members":
			continue // never in a header
		}
		if !sent.inHeaderLine(spell(upstreamToken)) {
			t.Errorf("%s isn't found in a header line", name)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	const head = "net/http: HTTP/1.x transport connection broken: malformed HTTP status code "
	for name, spell := range repetitions {
		text := head + fmt.Sprintf("%q", "4"+spell(upstreamToken))
		got := NewUpstreamToken(upstreamToken).Redact(text)
		if sent.inText(got) || !strings.Contains(got, "[redacted]") || !strings.HasPrefix(got, head) {
			t.Errorf("%s: got %q, want the token redacted", name, got)
		}
	}
	for text, want := range map[string]string{
		"EOF": "EOF",
		"dial tcp 127.0.0.1:1: connect: connection refused":    "dial tcp 127.0.0.1:1: connect: connection refused",
		"bad " + upstreamToken + " and " + upstreamToken + "!": "bad [redacted] and [redacted]!",
		"bad " + strings.ToUpper(upstreamToken):                "bad [redacted]",
		"bad " + strings.ReplaceAll(upstreamToken, "-", ""):    "bad [redacted]",
		"bad " +
			hex.EncodeToString([]byte(upstreamToken)): "[redacted: it repeats the upstream token]",
		`a "b" ` + base64.StdEncoding.EncodeToString([]byte(upstreamToken)): `a "[redacted]"`,
	} {
		if got := NewUpstreamToken(upstreamToken).Redact(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := NewUpstreamToken("").Redact("bad token"); got != "bad token" {
		t.Errorf("without a token: got %q, want the text unchanged", got)
	}
}

// BenchmarkScrubHeaders measures the cost per successful response.
func BenchmarkScrubHeaders(b *testing.B) {
	h := headers(b,
		"Content-Type: application/json", "Content-Length: 1234", "Date: Fri, 21 Aug 2026 12:00:00 GMT",
		"Server: mirage-crypto", "Via: 1.1 Caddy", "Cache-Control: private, no-cache, max-age=0, must-revalidate",
		`Etag: "5d41402abc4b2a76b9719d911017c592"`, "X-Request-Id: 3f2a6c1e-9d43-4c1e-7d2c-6a5c1f0e8b77",
		"Strict-Transport-Security: max-age=31536000; includeSubDomains",
	)
	b.ReportAllocs()
	for b.Loop() {
		NewUpstreamToken(upstreamToken).ScrubHeaders(h)
	}
}

// TestScrubAllocatesNothing checks that scrubbing a typical response's headers doesn't
// allocate.
func TestScrubAllocatesNothing(t *testing.T) {
	h := headers(t, "Content-Type: application/json", "Date: Fri, 21 Aug 2026 12:00:00 GMT",
		"X-Request-Id: 3f2a6c1e-9d43-4c1e-7d2c-6a5c1f0e8b77",
		"Cache-Control: private, no-cache, max-age=0, must-revalidate",
		`Etag: "5d41402abc4b2a76b9719d911017c592"`)
	if n := testing.AllocsPerRun(100, func() { NewUpstreamToken(upstreamToken).ScrubHeaders(h) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// BenchmarkSearchToken measures the cost of searching the largest error that the gate accepts.
func BenchmarkSearchToken(b *testing.B) {
	page := strings.Repeat(`{"error":"it broke at /a?b=c&amp;d=%20e \u0061","id":"0123456789"}`+"\n",
		MaxResponseBody/70)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		if sent.inText(page) {
			b.Fatal("the token is found in a text that doesn't contain it")
		}
	}
}

// BenchmarkSearchNested measures the cost of searching an error that contains every encoding
// and requires the maximum number of decodings.
func BenchmarkSearchNested(b *testing.B) {
	text := ""
	for _, name := range []string{"tags", "terminal", "JSON, all", "two members", "zero width", "HTML, decimal", "hex",
		"base64", "URL, all"} {
		text += repetitions[name]("some words, and "+strings.Repeat("x", 36)) + "=\n"
	}
	for range 3 {
		text = quoted(text)
	}
	page := strings.Repeat(text, MaxResponseBody/len(text))
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		sent.inText(page)
	}
}
