package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// misplaced is an upstream token that appears both in its proper place and where it doesn't
// belong.
const misplaced = "15232af5-6194-407b-818d-50267002ba07"

// TestTokenInWrongOption puts the upstream token into every Caddyfile option and checks that
// the error names the file, the line and the option, but not the token.
func TestTokenInWrongOption(t *testing.T) {
	t.Parallel()
	const head = "{\n\tapi_tokens {\n\t\taccount default {\n\t\t\tupstream_token {$TOKEN}\n\t\t}\n" // 5 lines
	global := func(lines string) string {
		return head + lines + "\n\t}\n}\n:80 {\n\tbearer_auth {\n\t\troutes mollymawk\n\t}\n}\n" // on line 6
	}
	gate := func(lines string) string {
		return head + "\t}\n}\n:80 {\n\tbearer_auth {\n\t\troutes mollymawk\n" + lines + "\n\t}\n}\n" // on line 11
	}
	c := newCaddy(t, map[string]string{"TOKEN": misplaced})
	for caddyfile, want := range map[string]string{
		global("{$TOKEN}"):                                            "Caddyfile:6",
		global("max_lifetime {$TOKEN}"):                               "Caddyfile:6 max_lifetime",
		global("max_lifetime 99999999999999{$TOKEN}"):                 "Caddyfile:6 max_lifetime",
		global("max_lifetime 1d {$TOKEN}"):                            "Caddyfile:6 max_lifetime",
		global("warn_before {$TOKEN}"):                                "Caddyfile:6 warn_before",
		global("warn_before 1d {$TOKEN}"):                             "Caddyfile:6 warn_before",
		global("audit_retention {$TOKEN}"):                            "Caddyfile:6 audit_retention",
		global("audit_retention 1d {$TOKEN}"):                         "Caddyfile:6 audit_retention",
		global("prefix {$TOKEN}"):                                     "Caddyfile:6 prefix",
		global("prefix mm {$TOKEN}"):                                  "Caddyfile:6 prefix",
		global("store {$TOKEN}"):                                      "Caddyfile:6 store",
		global("store bbolt /x {$TOKEN}"):                             "Caddyfile:6 store",
		global("store bbolt /x {\n{$TOKEN}\n}"):                       "Caddyfile:7 store",
		global("store bbolt \"{{$TOKEN}}\""):                          "store",
		global("account a {$TOKEN}"):                                  "Caddyfile:6 account",
		global("account \"{$TOKEN} \""):                               "Caddyfile:6 account",
		global("account {$TOKEN}{$TOKEN}{$TOKEN}"):                    "Caddyfile:6 account",
		global("account {$TOKEN}\naccount {$TOKEN}"):                  "Caddyfile:7 account",
		global("account {$TOKEN} {\nupstream_token\n}"):               "Caddyfile:7 upstream_token",
		global("account {$TOKEN} {\nupstream_token \"\"\n}"):          "Caddyfile:7 upstream_token",
		global("account {$TOKEN} {\nupstream_token {env.NOTHING}\n}"): "account upstream_token",
		global("account {$TOKEN} {\nmax_scopes nothing:here\n}"):      "account max_scopes",
		global("account a {\nmax_scopes {$TOKEN}\n}"):                 "account max_scopes",
		global("account a {\nmax_scopes \"{$TOKEN} \"\n}"):            "Caddyfile:7 max_scopes",
		global("account a {\nmax_scopes read {$TOKEN}\n}"):            "account max_scopes",
		global("account a {\n{$TOKEN} x\n}"):                          "Caddyfile:7 account",
		gate("{$TOKEN}"):                                              "Caddyfile:11 bearer_auth",
		gate("}\nbearer_auth /x {$TOKEN} {"):                          "Caddyfile:12 bearer_auth",
		gate("realm a {$TOKEN}"):                                      "Caddyfile:11 realm",
		gate("realm \"a\\\"{$TOKEN}\""):                               "Caddyfile:11 realm",
		gate("browser_sessions \"{$TOKEN} \""):                        "Caddyfile:11 browser_sessions",
		gate("max_body {$TOKEN}"):                                     "Caddyfile:11 max_body",
		gate("max_body 1 {$TOKEN}"):                                   "Caddyfile:11 max_body",
		gate("max_upload {$TOKEN}"):                                   "Caddyfile:11 max_upload",
		gate("max_buffered {$TOKEN}"):                                 "Caddyfile:11 max_buffered",
		gate("max_buffered 1 {$TOKEN}"):                               "Caddyfile:11 max_buffered",
		gate("detached_requests {$TOKEN}"):                            "Caddyfile:11 detached_requests",
		gate("detached_requests 1 {$TOKEN}"):                          "Caddyfile:11 detached_requests",
		gate("body_timeout {$TOKEN}"):                                 "Caddyfile:11 body_timeout",
		gate("answer_timeout {$TOKEN}"):                               "Caddyfile:11 answer_timeout",
		gate("answer_timeout 1s {$TOKEN}"):                            "Caddyfile:11 answer_timeout",
		gate("request_headers \"{$TOKEN} \""):                         "Caddyfile:11 request_headers",
		gate("failure_limit {$TOKEN} 1m"):                             "Caddyfile:11 failure_limit",
		gate("failure_limit 1 {$TOKEN}"):                              "Caddyfile:11 failure_limit",
		gate("refusals {$TOKEN}"):                                     "Caddyfile:11 refusals",
		gate("refusals a {$TOKEN}"):                                   "Caddyfile:11 refusals",
		gate("route {$TOKEN} /x a:b"):                                 "Caddyfile:11 method",
		gate("route {$TOKEN},GET /x a:b"):                             "Caddyfile:11 method",
		gate("route \"G@{$TOKEN}\" /x a:b"):                           "Caddyfile:11 method",
		gate("route GET {$TOKEN} a:b"):                                "Caddyfile:11 path",
		gate("route GET //{$TOKEN} a:b"):                              "Caddyfile:11 path",
		gate("route GET /x/:id/{$TOKEN} a:b"):                         "Caddyfile:11 path",
		gate("route GET /%2f{$TOKEN} a:b"):                            "Caddyfile:11 path",
		gate("route GET /*{$TOKEN} a:b"):                              "Caddyfile:11 path",
		gate("route GET /{$TOKEN} a:b\nroute GET /{$TOKEN} a:b"):      "route twice",
		gate("route GET /x {$TOKEN}"):                                 "Caddyfile:11 scope",
		gate("route GET /x a:b {\n{$TOKEN}\n}"):                       "Caddyfile:12 route",
		gate("route GET /x a:b {\nupload {$TOKEN}\n}"):                "Caddyfile:12 upload",
		gate("}\nbearer_auth {\nroutes {$TOKEN}"):                     "Caddyfile:13 table",
		gate("}\nbearer_auth {\nroutes mollymawk {$TOKEN}"):           "Caddyfile:13 routes",
		gate("}\napi_tokens_admin {\ntrust_user\n{$TOKEN}"):           "Caddyfile:14 api_tokens_admin",
		gate("}\napi_tokens_admin {$TOKEN} {\ntrust_user"):            "Caddyfile:12 api_tokens_admin",
	} {
		c.write("Caddyfile", caddyfile)
		out, err := c.command("validate", "--config", c.path("Caddyfile")).CombinedOutput()
		checkMisplaced(t, caddyfile, want, string(out), err == nil)
	}
}

// TestTokenInWrongMember puts the upstream token into various members of a JSON configuration
// and loads it through Caddy's admin endpoint.
func TestTokenInWrongMember(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.write("token", misplaced)
	load := func(app, handler string) {
		t.Helper()
		config := `{"admin":{"listen":"unix/` + s.path("admin.sock") + `"},"apps":{"api_tokens":` + app +
			`,"http":{"servers":{"x":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` + handler + `]}]}}}}}`
		if !json.Valid([]byte(config)) {
			t.Fatal(config)
		}
		if err := os.WriteFile(s.path("config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(app, handler, want string) {
		t.Helper()
		load(app, handler)
		status, _, body := curl(t, "--unix-socket", s.path("admin.sock"), "-H", "Content-Type: application/json",
			"--data-binary", "@"+s.path("config.json"), "http://caddy/load")
		checkMisplaced(t, app+handler, want, body, status == 200)
	}
	const good = `{"accounts":{"default":{"upstream_token":"` + misplaced + `"}}}`
	for _, app := range []struct{ json, want string }{
		{`{"` + misplaced + `":1}`, "no option max_lifetime"},
		{`{"max_lifetime":"` + misplaced + `"}`, "max_lifetime"},
		{`{"max_lifetime":123456789012345678901234567890}`, "max_lifetime string"},
		{`{"warn_before":"` + misplaced + `"}`, "warn_before"},
		{`{"audit_retention":"` + misplaced + `"}`, "audit_retention"},
		{`{"prefixes":["mm","` + misplaced + `"]}`, "prefix 2"},
		{`{"prefixes":"` + misplaced + `"}`, "prefixes array"},
		{`{"store":"` + misplaced + `"}`, "store module"},
		{`{"store":{"path":"` + misplaced + `"}}`, "store module"},
		{`{"store":{"module":"` + misplaced + `"}}`, "store bbolt"},
		{`{"store":{"module":"bbolt","` + misplaced + `":1}}`, "no option path"},
		{`{"store":{"module":"bbolt","path":["` + misplaced + `"]}}`, "path string"},
		{`{"store":{"module":"bbolt","path":"/proc/` + misplaced + `/x"},"accounts":{"a":{"upstream_token":"` +
			misplaced + `"}}}`, "/proc/"},
		{`{"store":{"module":"bbolt","path":"/proc/` + misplaced + `/x"},"accounts":{"a":{"upstream_token":"{file.` +
			s.path("token") + `}"}}}`, "/proc/"},
		{`{"store":{"module":"bbolt","path":"{` + misplaced + `}"}}`, "placeholder path"},
		{`{"accounts":"` + misplaced + `"}`, "accounts object"},
		{`{"accounts":{"` + misplaced + ` ":{}}}`, "account white space"},
		{`{"accounts":{"` + misplaced + `":{"max_scopes":["a:b"]}}}`, "account max_scopes"},
		{`{"accounts":{"` + misplaced + `":{"upstream_token":"{env.NOTHING}"}}}`, "account upstream_token"},
		{`{"accounts":{"` + misplaced + `":{"x":1}}}`, "account no option"},
		{`{"accounts":{"a":"` + misplaced + `"}}`, "account a object"},
		{`{"accounts":{"a":{"` + misplaced + `":1}}}`, "account a no option upstream_token"},
		{`{"accounts":{"a":{"upstream_token":["` + misplaced + `"]}}}`, "account a upstream_token string"},
		{`{"accounts":{"a":{"max_scopes":["` + misplaced + `"]}}}`, "account a max_scopes"},
		{`{"accounts":{"a":{"max_scopes":"` + misplaced + `"}}}`, "account a max_scopes array"},
	} {
		try(app.json, `{"handler":"bearer_auth","routes":"mollymawk"}`, app.want)
	}
	for options, want := range map[string]string{
		`"` + misplaced + `":1`:                                                      "no option answer_timeout",
		`"routes":"` + misplaced + `"`:                                               "route table",
		`"routes":"mollymawk","realm":"` + misplaced + `é"`:                          "realm",
		`"routes":"mollymawk","browser_sessions":"` + misplaced + ` "`:               "browser_sessions",
		`"max_body":"` + misplaced + `"`:                                             "max_body integer",
		`"max_body":123456789012345678901234567890`:                                  "max_body integer",
		`"answer_timeout":"` + misplaced + `"`:                                       "answer_timeout time",
		`"failure_limit":{"window":"` + misplaced + `"}`:                             "failure_limit window duration",
		`"failure_limit":{"` + misplaced + `":1}`:                                    "failure_limit no option window",
		`"routes":"mollymawk","request_headers":["` + misplaced + ` "]`:              "request_headers",
		`"routes":"mollymawk","refusals":"` + misplaced + `"`:                        "refusals",
		`"custom_routes":[{"` + misplaced + `":1}]`:                                  "custom_routes no option",
		`"custom_routes":[{"method":"` + misplaced + `"}]`:                           "method",
		`"custom_routes":[{"method":"GET","path":"` + misplaced + `"}]`:              "path",
		`"custom_routes":[{"method":"GET","path":"/x","scope":"` + misplaced + `"}]`: "scope",
	} {
		try(good, `{"handler":"bearer_auth",`+options+`}`, want)
	}
	gate := `{"handler":"bearer_auth","routes":"mollymawk"},`
	try(good, gate+`{"handler":"api_tokens_admin","`+misplaced+`":1}`, "no option trust_users")
	try(good, gate+`{"handler":"api_tokens_admin","trust_users":"`+misplaced+`"}`, "trust_users true or false")
	s.checkLogs(misplaced)
}

// checkMisplaced checks the error that Caddy returns for a rejected configuration.
func checkMisplaced(t *testing.T, config, want, got string, taken bool) {
	t.Helper()
	config = strings.ReplaceAll(config, misplaced, "(TOKEN)")
	if taken {
		t.Errorf("Caddy accepted\n%s", config)
	}
	folded := strings.ToLower(got)
	for _, part := range []string{misplaced[:8], misplaced[24:], "123456789012345678901234567890", "999999999999"} {
		if strings.Contains(folded, part) {
			t.Errorf("%s\nthe error contains a configured value: %s", config,
				strings.ReplaceAll(folded, misplaced, "(TOKEN)"))
		}
	}
	for _, word := range strings.Fields(want) {
		if !strings.Contains(got, word) {
			t.Errorf("%s\nthe error lacks %s: %s", config, word, strings.ReplaceAll(got, misplaced, "(TOKEN)"))
		}
	}
}
