package command

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCommandImport(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	record := `{"name":"alice","password":"SECRET","tokens":[
		{"name":"ci","value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e","expires_in":315360000,
			"created_at":"2026-01-01 00:00:00-00:00"},
		{"name":"old","value":"0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10","expires_in":1,
			"created_at":"2026-01-01 00:00:00-00:00"}]}`
	run := func(args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(record)},
			append([]string{"import", "-", "--address", s.address(), "--preset", "read"}, args...)...)
	}
	got := run("--account", "alice")
	id := strings.TrimSpace(got.out)
	if got.code != exitOK || s.present(t, "d9428888-122b-41e1-b85c-61fa1f9d5c2e") != "active" ||
		s.stored(t, id).Account != "alice" ||
		!strings.Contains(got.err, `skipped "old": it has expired`) ||
		!strings.Contains(got.err, "limited by max_lifetime") || !strings.Contains(got.err, "Imported 1 of 2 keys.") {
		t.Errorf("import: got unexpected outcome %+v", got)
	}
	if got := run("-o", "json"); got.code != exitOK ||
		!strings.Contains(got.out, `{"imported":[],"skipped":[{"name":"ci","reason":"it is already imported"}`) {
		t.Errorf("import: got unexpected outcome %+v", got)
	}
	if got := run("--account", "bob"); got.code != exitUsage || !strings.Contains(got.err, "--account") ||
		strings.Contains(got.err, "SECRET") {
		t.Errorf("import: got unexpected outcome %+v", got)
	}
}

// TestCommandImportMany imports more tokens than a single request to the admin API can
// contain.
func TestCommandImportMany(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	const count = 450
	var tokens []string
	for i := range count {
		tokens = append(tokens, fmt.Sprintf(`{"token_type":"Bearer","name":"ci %d",
			"value":"d9428888-122b-41e1-b85c-%012d","expires_in":315360000,"created_at":"2026-01-01 00:00:00-00:00",
			"last_access":"2026-01-01 00:00:00-00:00","usage_count":1}`, i, i))
	}
	record := `{"tokens":[` + strings.Join(tokens, ",") + `]}`
	for _, want := range []string{"Imported 450 of 450 keys.", "Imported 0 of 450 keys."} {
		got := runCommand(&console{in: strings.NewReader(record)}, "import", "-", "--address", s.address(), "--preset",
			"read", "-o", "id")
		if got.code != exitOK || !strings.Contains(got.err, want) {
			t.Errorf("got exit code %d, standard error %.300q; want %q", got.code, got.err, want)
		}
	}
	for _, last := range []int{0, 99, 100, count - 1} {
		if status := s.present(t, fmt.Sprintf("d9428888-122b-41e1-b85c-%012d", last)); status != "active" {
			t.Errorf("got status %s for token %d", status, last)
		}
	}
	if got := runCommand(&console{in: strings.NewReader(`{"tokens":[]}`)}, "import", "-", "--address", s.address(),
		"--preset", "read", "-o", "json"); got.code != exitOK ||
		!strings.Contains(got.out, `{"imported":[],"skipped":[],"capped":[]}`) {
		t.Errorf("no tokens: got unexpected outcome %+v", got)
	}
	none := func(args ...string) outcome {
		return runCommand(&console{in: strings.NewReader(`{"tokens":[]}`)}, append([]string{"import", "-"}, args...)...)
	}
	if got := none("--address", s.address(), "--preset", "read"); got.code != exitOK || got.out != "" ||
		got.err != "The user record contains no API keys to import.\n" {
		t.Errorf("no tokens, table output: got unexpected outcome %+v", got)
	}
	if got := none("--address", s.address(), "--preset", "read", "--account", "nobody"); got.code != exitUsage ||
		!strings.Contains(got.err, "nobody") {
		t.Errorf("no tokens, unknown account: got unexpected outcome %+v", got)
	}
	if got := none("--address", s.address(), "--scope", "nothing:here"); got.code != exitUsage ||
		!strings.Contains(got.err, "nothing:here") {
		t.Errorf("no tokens, unknown scope: got unexpected outcome %+v", got)
	}
	if got := none("--address", "127.0.0.1:1"); got.code != exitUnreachable {
		t.Errorf("no tokens, no server: got unexpected outcome %+v", got)
	}
}

// TestCommandImportSendsTokensOnly checks that only the user record's tokens leave this
// process.
func TestCommandImportSendsTokensOnly(t *testing.T) {
	t.Parallel()
	const tokens = `[{"name":"ci \u00e9","value":"d9428888-122b-41e1-b85c-61fa1f9d5c2e","expires_in":315360000,` +
		`"created_at":"2026-01-01 00:00:00-00:00"}]`
	sent := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- string(body)
		_, _ = io.WriteString(w, `{"imported":[],"skipped":[],"capped":[]}`)
	}))
	t.Cleanup(server.Close)
	run := func(record string) outcome {
		return runCommand(&console{in: strings.NewReader(record)}, "import", "-", "--address",
			server.Listener.Addr().String())
	}
	const rest = `"email":"SECRET@example.com","password":"SECRET","cookies":[{"value":"SECRET"}]`
	for name, record := range map[string]string{
		"the record":            `{` + rest + `,"tokens":` + tokens + `}`,
		"the whole response":    `{"status":200,"data":{` + rest + `,"tokens":` + tokens + `}}`,
		"tokens in both":        `{"tokens":` + tokens + `,"data":{` + rest + `,"tokens":[]}}`,
		"no tokens at the top":  `{"tokens":null,"data":{` + rest + `,"tokens":` + tokens + `}}`,
		"tokens of other names": `{"Tokens":[{"value":"SECRET"}],"TOKENS":["SECRET"],"tokens":` + tokens + `}`,
		"more than 1 MiB":       `{"cookies":["` + strings.Repeat("SECRET", 1<<18) + `"],"tokens":` + tokens + `}`,
	} {
		got := run(record)
		if got.code != exitOK {
			t.Errorf("%s: got unexpected outcome %+v", name, got)
			continue
		}
		if body := <-sent; body != `{"format":"mollymawk","data":{"tokens":`+strings.ReplaceAll(tokens, `\u00e9`, "é")+
			`}}` && body != `{"format":"mollymawk","data":{"tokens":`+tokens+`}}` {
			t.Errorf("%s: import sent %s", name, body)
		}
	}
	for name, record := range map[string]string{
		"no tokens":         `{` + rest + `}`,
		"a text":            `{` + rest + `,"tokens":"SECRET"}`,
		"an object":         `{` + rest + `,"tokens":{"SECRET":1}}`,
		"a record's record": `{"data":{"data":{` + rest + `,"tokens":` + tokens + `}}}`,
		"a list":            `[{` + rest + `,"tokens":` + tokens + `}]`,
		"other letter case": `{` + rest + `,"Tokens":` + tokens + `}`,
		"a name twice":      `{"tokens":` + tokens + `,` + rest + `,"tokens":[{"value":"SECRET"}]}`,
		"truncated":         `{` + rest + `,"tokens":` + tokens,
		"trailing data":     `{"tokens":` + tokens + `} SECRET`,
		"not JSON":          `SECRET`,
	} {
		if got := run(record); got.code != exitUsage || !strings.Contains(got.err, "/api/login") ||
			strings.Contains(got.err, "SECRET") {
			t.Errorf("%s: got unexpected outcome %+v", name, got)
		}
		select {
		case body := <-sent:
			t.Errorf("%s: import sent %s", name, body)
		default:
		}
	}
}
