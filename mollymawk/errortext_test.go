package mollymawk

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// tyxmlPage is an error page from Mollymawk at 1c257b3, with most classes and links
// removed.
const tyxmlPage = `<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>404</title><meta charset="UTF-8"/>` +
	`<script src="/main.js"></script><script>document.write("<p>Error 200</p><p>a</p><p>b</p>")</script>` +
	`<style>p { color: red }</style></head>` +
	`<body class="bg-primary-50"><section><section><div><a href="/"><span>Mollymawk</span></a><p>Deploy</p></div>` +
	`</section><section class="text-center"><i class="fa-solid"></i><div class="text-center">` +
	`<p class="text-5xl">Error 404</p><p class="uppercase">404</p></div>` +
	`<p class="text-xl my-6">TEXT</p></section></section><footer><p>Robur</p></footer></body></html>`

func TestErrorPages(t *testing.T) {
	t.Parallel()
	page := func(text string) string { return strings.Replace(tyxmlPage, "TEXT", text, 1) }
	for name, tt := range map[string]struct {
		page, text, code string
		status           int
	}{
		"real": {page(`\&quot;Couldn&#39;t find albatross instance with name: nope\&quot;`),
			"Couldn't find albatross instance with name: nope", notFound, 404},
		"unquoted entity": {page(`\"Couldn't find unikernel in query params\"`),
			"Couldn't find unikernel in query params", missingParameter, 400},
		"unknown":   {page(`\&quot;a &lt;b&gt; &amp; c\&quot;`), "a <b> & c", "", 0},
		"escapes":   {page(`\&quot;a\\\&quot;b\\n\195\188\\u0001\&quot;`), "a\"b\nü\x01", "", 0},
		"an object": {page(`{\&quot;a\&quot;:1}`), `{\"a\":1}`, "", 0},
		"nothing":   {page(``), "404", "", 0},
		"tags inside": {page(`\&quot;destroy: <b>not</b> found<script>x</script>\&quot;`), "destroy: not found",
			notFound, 404},
		"another page":        {`<html><body><p>Hello</p><p>Error 500, really</p></body></html>`, "", "", 0},
		"too short":           {`<p>Error 500</p><p>500</p>`, "", "", 0},
		"cut off":             {`<p>Error 500</p><p>500</p><p>\&quot;fai`, `\"fai`, "", 0},
		"status in the title": {`<title>Error 500</title><p>a</p><p>b</p>`, "", "", 0},
		"empty":               {``, "", "", 0},
	} {
		got, ok := readError(true, []byte(tt.page))
		if got.Text != tt.text || got.Code != tt.code || got.Status != tt.status || ok != (tt.text != "") {
			t.Errorf("%s: readError returned %+v, %v, want text %q, code %q, status %d",
				name, got, ok, tt.text, tt.code, tt.status)
		}
	}
}

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	envelope := func(text string) string {
		return `{"status":400,"title":"400","success":false,"data":` + strconv.Quote(text) + `}`
	}
	for name, tt := range map[string]struct {
		body, text, code string
		status           int
	}{
		"from albatross": {envelope("failure: destroy: not found"), "failure: destroy: not found", notFound, 404},
		"inside another text": {envelope("unexpected field. got failure: file already exists"),
			"unexpected field. got failure: file already exists", alreadyExists, 409},
		"from create": {envelope("Albatross Response Error: failure: CPUids 1, 2 are not allowed by policy"),
			"Albatross Response Error: failure: CPUids 1, 2 are not allowed by policy", notAllowedByPolicy, 403},
		"from update": {envelope("Update failed. a failed to update to build b with error failure: " +
			"maximum amount of unikernels (3) reached"),
			"Update failed. a failed to update to build b with error failure: " +
				"maximum amount of unikernels (3) reached", limitReached, 409},
		"fragment": {`<div class="x"><p>Error: you can spawn a maximum of 0 clones.</p></div>`,
			"Error: you can spawn a maximum of 0 clones.", limitReached, 409},
		"unknown fragment": {`<div><p>Missing max number of clones to spawn.</p></div>`,
			"Missing max number of clones to spawn.", "", 0},
		"unknown": {envelope("Couldn't find unikernel name in json"), "", "", 0},
		"the client's text": {envelope(`unexpected field. got {"block_name":"failure: file already exists"}`),
			"", "", 0},
		"only part of the text": {envelope("failure: destroy: not found."), "", "", 0},
		"not a string":          {`{"data":["failure: destroy: not found"]}`, "", "", 0},
		"not JSON":              {`failure: destroy: not found`, "", "", 0},
		"long": {envelope("Error querying albatross: " + strings.Repeat("x", maxKnownText)),
			"", "", 0},
		"empty": {``, "", "", 0},
	} {
		got, ok := readError(false, []byte(tt.body))
		if ok != (tt.text != "") || ok && (got.Text != tt.text || got.Code != tt.code || got.Status != tt.status) {
			t.Errorf("%s: readError returned %+v, %v, want text %q, code %q, status %d",
				name, got, ok, tt.text, tt.code, tt.status)
		}
	}
}

// TestKnownTexts checks that classify finds each known text and that no text shadows a
// later one.
func TestKnownTexts(t *testing.T) {
	t.Parallel()
	for _, known := range knownTexts {
		for _, text := range []string{known.text, strings.ReplaceAll(known.text, "*", "a b(1)")} {
			if got := classify(text); got.Code != known.code || got.Status != known.status {
				t.Errorf("classifying %q: got %+v, want code %q and status %d", text, got, known.code, known.status)
			}
		}
	}
}

// TestDocumentedTexts checks that docs/errors.md lists every known text with its status and
// code.
func TestDocumentedTexts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 4 &&
			strings.Contains(line, "` | `") == false && strings.HasSuffix(line, "` |\n") {
			listed++
		}
	}
	for _, known := range knownTexts {
		if row := "| `" + known.text + "` | " + strconv.Itoa(known.status) + " | `" + known.code +
			"` |\n"; !strings.Contains(string(page), row) {
			t.Errorf("docs/errors.md has no row %s", row)
		}
	}
	if listed != len(knownTexts) {
		t.Errorf("docs/errors.md lists %d texts, want %d", listed, len(knownTexts))
	}
}

func FuzzErrorPage(f *testing.F) {
	f.Add([]byte(tyxmlPage))
	f.Add([]byte(`<div><p>\"a\195\"</p>`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		readError(true, body)
		readError(false, body)
	})
}
