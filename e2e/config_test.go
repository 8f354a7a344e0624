package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestBadConfiguration validates Caddyfiles that each contain a mistake, such as a gate
// without routes, scope or store, an empty credential, or a path that isn't canonical. The
// error must name the file and, where possible, the line, and say what is wrong and what to
// write instead.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	// 7 lines
	const head = "{\n\tapi_tokens {\n\t\taccount default {\n\t\t\tupstream_token {env.UPSTREAM}\n\t\t}\n\t}\n}\n"
	gate := func(lines string) string {
		return head + ":80 {\n\tbearer_auth {\n" + lines + "\n\t}\n}\n" // the block starts on line 10
	}
	option := func(lines string) string { return "{\n\tapi_tokens {\n" + lines + "\n\t}\n}\n" } // on line 3
	c := newCaddy(t, map[string]string{"UPSTREAM": "secret", "EMPTY": ""})
	c.write("empty", "")
	c.write("foreign", "this is not a token store")
	for name, test := range map[string]struct {
		caddyfile string
		want      []string
	}{
		"no api_tokens": {":80 {\n\tbearer_auth {\n\t\troutes mollymawk\n\t}\n}\n",
			[]string{"Caddyfile:2", "api_tokens {", "upstream_token"}},
		"admin without api_tokens": {":80 {\n\tapi_tokens_admin\n}\n", []string{"Caddyfile:2", "api_tokens {"}},
		"no routes":                {gate("\t\trealm x"), []string{"Caddyfile:11", "routes mollymawk"}},
		"unknown table":            {gate("\t\troutes molly"), []string{"Caddyfile:10", `"molly"`, "mollymawk-2025"}},
		"unknown option": {gate("\t\troutes mollymawk\n\t\tscope a"),
			[]string{"Caddyfile:11", `"scope"`, "answer_timeout"}},
		"twice": {gate("\t\troutes mollymawk\n\t\troutes mollymawk"),
			[]string{"Caddyfile:11", "twice"}},
		"argument": {head + ":80 {\n\tbearer_auth realm {\n\t}\n}\n",
			[]string{"Caddyfile:9", `"realm"`}},
		"size": {gate("\t\troutes mollymawk\n\t\tmax_body large"), []string{"Caddyfile:11", "1MiB"}},
		"timeout": {gate("\t\troutes mollymawk\n\t\tanswer_timeout soon"),
			[]string{"Caddyfile:11", "5m"}},
		"realm": {gate("\t\troutes mollymawk\n\t\trealm `a\"b`"), []string{"Caddyfile:11", "realm"}},
		"cookie": {gate("\t\troutes mollymawk\n\t\tbrowser_sessions `a b`"),
			[]string{"Caddyfile:11", "session_id"}},
		"keys page, none": {gate("\t\troutes mollymawk\n\t\tkeys_page"),
			[]string{"Caddyfile:11", "https://keys.example.com/"}},
		"keys page, relative": {gate("\t\troutes mollymawk\n\t\tkeys_page keys.example.com"),
			[]string{"Caddyfile:11", "begins with /"}},
		"keys page, no scheme": {gate("\t\troutes mollymawk\n\t\tkeys_page //keys.example.com"),
			[]string{"Caddyfile:11", "begins with /"}},
		"keys page, scheme": {gate("\t\troutes mollymawk\n\t\tkeys_page javascript:alert(1)"),
			[]string{"Caddyfile:11", "begins with /"}},
		"keys page, blank": {gate("\t\troutes mollymawk\n\t\tkeys_page `https://x/a b`"),
			[]string{"Caddyfile:11", "percent-encode"}},
		"keys page, password": {gate("\t\troutes mollymawk\n\t\tkeys_page https://a:secret@x/"),
			[]string{"Caddyfile:11", "a user name or password"}},
		"keys page, itself": {gate("\t\troutes mollymawk\n\t\tkeys_page /tokens"),
			[]string{"Caddyfile:11", "redirect to itself"}},
		"keys page, itself " +
			"first": {gate("\t\tkeys_page /tokens\n\t\troutes mollymawk"), []string{"redirect to itself"}},
		"keys page, not a URL": {gate("\t\troutes mollymawk\n\t\tkeys_page https://[x"),
			[]string{"Caddyfile:11", "write a full URL"}},
		"headers, none": {gate("\t\troutes mollymawk\n\t\trequest_headers"),
			[]string{"Caddyfile:11", "request_headers is empty", "Accept"}},
		"headers, X-Token-Id": {gate("\t\troutes mollymawk\n\t\trequest_headers Accept X-Token-Id"),
			[]string{"Caddyfile:11", "X-Token-Id", "always removed"}},
		"headers, wildcard": {gate("\t\troutes mollymawk\n\t\trequest_headers X-*"),
			[]string{"Caddyfile:11", `"X-*"`, "complete names"}},
		"headers, twice": {gate("\t\troutes mollymawk\n\t\trequest_headers A\n\t\trequest_headers B"),
			[]string{"Caddyfile:12", "twice"}},
		"route, no scope": {gate("\t\troute POST /x"),
			[]string{"Caddyfile:10", "route POST /api/custom/build custom:build"}},
		"route, lower-case method": {gate("\t\troute post /x a:b"), []string{"Caddyfile:10", "POST"}},
		"route, method *": {gate("\t\troute * /x a:b"),
			[]string{"Caddyfile:10", `method "*"`, "one route line for each method", "GET"}},
		"route, method ANY": {gate("\t\troute ANY /x a:b"),
			[]string{"Caddyfile:10", `method "ANY"`, "one route line for each method"}},
		"route, methods with a comma": {gate("\t\troute GET,POST /x a:b"),
			[]string{"Caddyfile:10", `method "GET,POST"`, "one route line for each method: GET, POST"}},
		"route, two methods": {gate("\t\troute GET POST /x a:b"),
			[]string{"Caddyfile:10", "one line for each method"}},
		"route, colon":  {gate("\t\troute GET /x/:id a:b"), []string{"Caddyfile:10", "write * ", "/x/*"}},
		"route, braces": {gate("\t\troute GET /x/{id} a:b"), []string{"Caddyfile:10", "write * ", "/x/*"}},
		"route, escaped slash": {gate("\t\troute GET /x/a%2Fb a:b"),
			[]string{"Caddyfile:10", "%2F", "refuses every request that contains it"}},
		"route, two slashes": {gate("\t\troute GET /api//x a:b"), []string{"Caddyfile:10", "did you mean /api/x"}},
		"route, dots":        {gate("\t\troute GET /api/../x a:b"), []string{"Caddyfile:10", "did you mean /x"}},
		"route, escaped letter": {gate("\t\troute GET /api/%75 a:b"),
			[]string{"Caddyfile:10", "did you mean /api/u"}},
		"route, invalid scope": {gate("\t\troute GET /x build"), []string{"Caddyfile:10", "resource:action"}},
		"route, unknown option": {gate("\t\troute GET /x a:b {\n\t\t\tlarge\n\t\t}"),
			[]string{"Caddyfile:11", "upload and websocket"}},
		"route twice":      {gate("\t\troute GET /x a:b\n\t\troute GET /x a:c"), []string{"GET /x", "twice"}},
		"unknown global":   {option("\t\tacount x"), []string{"Caddyfile:3", `"acount"`, "account"}},
		"lifetime":         {option("\t\tmax_lifetime 3m"), []string{"Caddyfile:3", "3mo"}},
		"audit":            {option("\t\taudit_retention forever"), []string{"Caddyfile:3", "90d"}},
		"warning":          {option("\t\twarn_before forever"), []string{"Caddyfile:3", "90d"}},
		"prefix":           {option("\t\tprefix Molly"), []string{"Caddyfile:3", "two lower-case letters"}},
		"store":            {option("\t\tstore sqlite x"), []string{"Caddyfile:3", `"sqlite"`, "bbolt"}},
		"store, two paths": {option("\t\tstore bbolt a b"), []string{"Caddyfile:3", `"b"`}},
		"account twice": {option("\t\taccount a\n\t\taccount a"),
			[]string{"Caddyfile:4", "account a", "twice"}},
		"account, unknown option": {option("\t\taccount a {\n\t\t\ttoken x\n\t\t}"),
			[]string{"Caddyfile:4", `"token"`, "upstream_token"}},
		"account, invalid scope": {option("\t\taccount a {\n\t\t\tmax_scopes unikernel:lis*\n\t\t}"),
			[]string{"Caddyfile:4", `"unikernel:lis*"`, "unikernel:list"}},
		"account, no scopes": {option("\t\taccount a {\n\t\t\tmax_scopes\n\t\t}"),
			[]string{"Caddyfile:4", "max_scopes read unikernel:restart"}},
		"upstream unset": {option("\t\taccount a {\n\t\t\tupstream_token {env.UNSET}\n\t\t}"),
			[]string{"account a", "upstream_token", "environment variable", "is not set"}},
		"upstream empty": {option("\t\taccount a {\n\t\t\tupstream_token {env.EMPTY}\n\t\t}"),
			[]string{"account a", "upstream_token", "environment variable", "is empty"}},
		"upstream file, empty": {option("\t\taccount a {\n\t\t\tupstream_token {file." + c.path("empty") + "}\n\t\t}"),
			[]string{"account a", "upstream_token", "file", "is empty"}},
		"upstream file, missing": {
			option("\t\taccount a {\n\t\t\tupstream_token {file." + c.path("missing") + "}\n\t\t}"),
			[]string{"account a", "upstream_token", "file", "does not exist"}},
		"empty store": {option("\t\tstore bbolt " + c.path("empty")),
			[]string{c.path("empty"), "empty", "restore a backup"}},
		"foreign store": {option("\t\tstore bbolt " + c.path("foreign")),
			[]string{c.path("foreign"), "not a token store"}},
		"directory": {option("\t\tstore bbolt " + c.dir), []string{c.dir, "is a directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte(test.caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := c.command("validate", "--config", file).CombinedOutput()
			if err == nil {
				t.Fatalf("the configuration is valid:\n%s", out)
			}
			text := strings.ReplaceAll(string(out), `\"`, `"`) // the log is JSON
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("the error lacks %q:\n%s", want, out)
				}
			}
			checkNoSecret(t, "the error", string(out), "secret")
		})
	}
}

// TestNoErrorRevealsUpstreamToken misconfigures an upstream token in several ways and checks
// that the token isn't revealed by validate, by a reload, by a load through the admin endpoint
// or in the log.
func TestNoErrorRevealsUpstreamToken(t *testing.T) {
	t.Parallel()
	const secret = "15232af5-6194-407b-818d-50267002ba07"
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.env["BRACES"], s.env["WORDS"] = "{"+secret+"}", secret+" x"
	s.write(secret, secret+"\n\n")
	for name, line := range map[string]string{
		"braces":                  "upstream_token {" + secret + "}",
		"text and braces":         "upstream_token x{" + secret + "}",
		"variable with braces":    "upstream_token {$BRACES}",
		"variable with two words": "upstream_token {$WORDS}",
		"quoted variable":         "upstream_token \"{$WORDS}\"",
		"env":                     "upstream_token {env." + secret + "}",
		"env with braces":         "upstream_token {env.BRACES}",
		"file":                    "upstream_token {file." + secret + "}",
		"file with two lines":     "upstream_token {file." + s.path(secret) + "}",
		"a directory":             "upstream_token {file." + s.path(secret) + "/x}",
		"Bearer":                  "upstream_token \"Bearer " + secret + "\"",
		"two words":               "upstream_token Bearer " + secret,
		"two words in braces":     "upstream_token { " + secret + " }",
		"twice":                   "upstream_token " + secret + "\n\t\t\tupstream_token " + secret + "x",
		"without the option name": secret,
		"in braces, without":      "{" + secret + "}",
		"a block":                 "upstream_token " + secret + " {\n\t\t\t}",
	} {
		s.write("wrong", strings.Replace(plainSite, "upstream_token {env.UPSTREAM}", line, 1))
		out, err := s.command("validate", "--adapter", "caddyfile", "--config", s.path("wrong")).CombinedOutput()
		if err == nil {
			t.Errorf("%s: validate accepted the configuration", name)
		}
		reloaded, err := s.command("reload", "--adapter", "caddyfile", "--config", s.path("wrong"), "--address",
			"unix/"+s.path("admin.sock")).CombinedOutput()
		if err == nil {
			t.Errorf("%s: reload accepted the configuration", name)
		}
		_, _, body := curl(t, "--unix-socket", s.path("admin.sock"), "-H", "Content-Type: text/caddyfile",
			"--data-binary", "@"+s.path("wrong"), "http://caddy/load")
		for where, text := range map[string]string{"validate": string(out), "reload": string(reloaded), "load": body} {
			if strings.Contains(text, secret[:8]) {
				t.Errorf("%s: the output of %s reveals the token: %s", name, where,
					strings.ReplaceAll(text, secret, "(SECRET)"))
			}
		}
	}
	s.checkLogs(secret)
}

// TestAdaptResolvesNothing checks that adapting a configuration doesn't resolve the
// placeholders for its secrets.
func TestAdaptResolvesNothing(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	c.write("Caddyfile", plainSite)
	out, err := c.command("adapt", "--config", c.path("Caddyfile")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "{env.UPSTREAM}") {
		t.Errorf("the placeholder was resolved: %s", out)
	}
}

// TestExample runs the shipped example and checks that caddy fmt wouldn't change it.
func TestExample(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	backend := mollymawktest.New(t, mollymawktest.Options{})
	c := newCaddy(t,
		map[string]string{"MOLLYMAWK_URL": backend.URL(), "MOLLYMAWK_TOKEN": backend.AddToken("alice", "gate", 1e15)})
	c.env["CADDY_ADMIN"], c.env["MOLLYGATE_PORT"] = "unix/"+c.path("admin.sock"), c.env["HTTP"]
	c.env["MOLLYGATE_DASHBOARD_PORT"] = freePort(t)
	c.start(string(example))
	formatted, err := c.command("fmt", c.path("Caddyfile")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(formatted) != string(example) {
		t.Errorf("caddy fmt would change Caddyfile.example to\n%s", formatted)
	}

	token, admin := c.token("--preset", "full"), c.token("--kind", "admin")
	if status, _, body := curl(t, append(bearer(token), c.url("/api/unikernels"))...); status != 200 {
		t.Errorf("calling the backend: got status %d: %s", status, body)
	}
	keys := "http://localhost:" + c.env["MOLLYGATE_DASHBOARD_PORT"] + "/api/v1/tokens"
	if status, _, body := curl(t, append(bearer(admin), keys)...); status != 200 ||
		!strings.Contains(body, tokenID(token)) {
		t.Errorf("calling the admin API: got status %d: %s", status, body)
	}
	if status, _, body := curl(t, c.url("/style.css")); status != 200 {
		t.Errorf("getting a page from the backend: got status %d: %s", status, body)
	}
}
