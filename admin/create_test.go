package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// members returns the names of an object's members, in order.
func members(t *testing.T, body []byte) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(body)))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

const objectMembers = "id kind name token_hint status account scopes resources allowed_ips rate_limit quota metadata " +
	"created_at created_by updated_at not_before expires_at expires_soon revoked_at previous_valid_until " +
	"usage_count denied_count last_used_at last_used_ip last_used_user_agent last_used_route format version"

func TestCreateReturnsTheObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.do(http.MethodPost, "/tokens", `{
		"name": "CI — Überprüfung", "kind": "api", "account": "alice",
		"scopes": ["volume:list", "unikernel:*", "volume:list"],
		"preset": null, "resources": ["unikernel/web-*", "volume/db"], "allowed_ips": ["203.0.113.0/24", "2001:db8::1"],
		"rate_limit": {"window": "60s", "requests": 60}, "quota": {"requests": 10000, "period": "month"},
		"metadata": {"team": "infra", "Env": ""}, "not_before": "2026-03-02T00:00:00+01:00",
		"expires_at": "2026-06-01T00:00:00.9Z", "expires_in": null}`)
	if w.Code != http.StatusCreated {
		t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	if got := strings.Join(members(t, w.Body.Bytes()), " "); got != objectMembers+" token" {
		t.Errorf("got members:\n%s", got)
	}
	var created struct{ ID, Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &created); err != nil {
		t.Fatal(err)
	}
	want := `{"id":"ID","kind":"api","name":"CI — Überprüfung","token_hint":"mmk_ID_…","status":"not_yet_valid",` +
		`"account":"alice",` +
		`"scopes":["unikernel:*","volume:list"],"resources":["block/db","unikernel/web-*"],` +
		`"allowed_ips":["203.0.113.0/24","2001:db8::1/128"],` +
		`"rate_limit":{"requests":60,"window":"1m"},"quota":{"requests":10000,"period":"month"},` +
		`"metadata":{"Env":"","team":"infra"},"created_at":"2026-03-01T12:00:00Z","created_by":"caddy-admin",` +
		`"updated_at":"2026-03-01T12:00:00Z",` +
		`"not_before":"2026-03-01T23:00:00Z","expires_at":"2026-06-01T00:00:00Z","expires_soon":false,` +
		`"revoked_at":null,"previous_valid_until":null,` +
		`"usage_count":0,"denied_count":0,"last_used_at":null,"last_used_ip":null,"last_used_user_agent":null,` +
		`"last_used_route":null,` +
		`"format":"native","version":1`
	want = strings.ReplaceAll(want, "ID", created.ID)
	if got := w.Body.String(); got != want+`,"token":"`+created.Token+`"}` {
		t.Errorf("got created token:\n%s", got)
	}
	if got := w.Header().Get("Location"); got != "tokens/"+created.ID {
		t.Errorf("got Location %q", got)
	}
	if got := w.Header().Get("ETag"); got != `"1"` {
		t.Errorf("got ETag %q", got)
	}
	if _, err := testPolicy.Prefixes.Parse(created.Token); err != nil {
		t.Error(err)
	}

	// Later responses contain the same object without the secret.
	w = f.do(http.MethodGet, "/tokens/"+created.ID, "")
	if got := w.Body.String(); w.Code != http.StatusOK || got != want+"}" {
		t.Errorf("reading the token: got status %d and body\n%s", w.Code, got)
	}
	if got := w.Header().Get("ETag"); got != `"1"` {
		t.Errorf("got ETag %q", got)
	}
	w = f.do(http.MethodGet, "/tokens", "")
	if got := w.Body.String(); got != `{"data":[`+want+`}],"next_cursor":null}` {
		t.Errorf("got listed token:\n%s", got)
	}
	for _, entry := range f.logs.All() {
		for _, field := range entry.Context {
			if strings.Contains(field.String, created.Token) {
				t.Errorf("the log contains the token: %s", entry.Message)
			}
		}
	}
}

func TestCreateDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		body string
		want map[string]any
	}{
		{`{"name":"a","expires_in":"1mo","preset":"read"}`, map[string]any{
			"kind": "api", "account": "default", "status": "active", "scopes": []any{"unikernel:list", "volume:list"},
			"allowed_ips": nil,
			"metadata":    nil, "not_before": nil, "expires_at": "2026-04-01T12:00:00Z",
		}},
		{`{"name":"b","expires_in":3600,"kind":"admin"}`, map[string]any{
			"kind": "admin", "account": nil, "scopes": nil, "expires_at": "2026-03-01T13:00:00Z",
		}},
		{`{"name":"c","expires_in":"90d","scopes":["*"],"allowed_ips":[],"metadata":{}}`, map[string]any{
			"scopes": []any{"*"}, "allowed_ips": nil, "metadata": nil,
		}},
	} {
		w := f.do(http.MethodPost, "/tokens", test.body)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusCreated {
			t.Errorf("%s: got status %d and body %s", test.body, w.Code, w.Body)
			continue
		}
		for name, want := range test.want {
			if a, b := mustJSON(got[name]), mustJSON(want); a != b {
				t.Errorf("%s: %s is %s, want %s", test.body, name, a, b)
			}
		}
	}
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestCreateNever(t *testing.T) {
	t.Parallel()
	unlimited := newFixture(t, func(c *Config) { c.Policy.MaxLifetime = token.Lifetime{} })
	w := unlimited.do(http.MethodPost, "/tokens", `{"name":"a","preset":"read","expires_in":"never"}`)
	if w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"expires_at":null`) {
		t.Errorf("got status %d and body %s", w.Code, w.Body)
	}
	limited := newFixture(t)
	w = limited.do(http.MethodPost, "/tokens", `{"name":"a","preset":"read","expires_in":"never"}`)
	limited.refused(w, 400, "invalid_field", "field=expires_in")
}

// TestCreateRefusesFields verifies that each field follows the rules in docs/admin.md.
func TestCreateRefusesFields(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// members replaces the valid members with the same names.
	valid := map[string]string{"name": `"a"`, "preset": `"read"`, "expires_in": `"90d"`}
	for _, test := range []struct{ field, members, detail string }{
		{"name", `"name":null`, "required"},
		{"name", `"name":""`, "required"},
		{"name", `"name":5`, "must be a string"},
		{"name", `"name":["a"]`, "must be a string"},
		{"name", `"name":{"a":1}`, "must be a string"},
		{"name", `"name":true`, "must be a string"},
		{"name", `"name":"a\u0000b"`, "control character"},
		{"name", `"name":"a\u202eb"`, "control character"},
		{"name", `"name":"a\u200bb"`, "control character"},
		{"name", `"name":"\u001b[2J"`, "control character"},
		{"name", `"name":" a"`, "white space"},
		{"name", `"name":"` + strings.Repeat("ü", 101) + `"`, "100"},
		{"name", `"name":"key ` + vector + `"`, "contains a token"},
		{"kind", `"kind":""`, `"api" or "admin"`},
		{"kind", `"kind":"API"`, `"api" or "admin"`},
		{"kind", `"kind":1`, "must be a string"},
		{"account", `"account":""`, "leave it out"},
		{"account", `"account":"bob"`, "default, alice"},
		{"account", `"account":{}`, "must be a string"},
		{"account", `"kind":"admin","preset":null,"account":"alice"`, "admin token"},
		{"preset", `"preset":""`, "leave it out"},
		{"preset", `"preset":"nope"`, "full, read"},
		{"preset", `"preset":["read"]`, "must be a string"},
		{"preset", `"scopes":["*"]`, "not both"},
		{"preset", `"kind":"admin"`, "admin token"},
		{"scopes", `"preset":null`, "at least one scope"},
		{"scopes", `"preset":null,"scopes":[]`, "at least one scope"},
		{"scopes", `"preset":null,"scopes":["unikernel:list "]`, "not a known scope"},
		{"scopes", `"preset":null,"scopes":["Unikernel:list"]`, "not a known scope"},
		{"scopes", `"preset":null,"scopes":[""]`, "not a known scope"},
		{"resources", `"resources":["web"]`, "a slash"},
		{"resources", `"resources":["host/web"]`, "the types are instance, unikernel, block"},
		{"resources", `"resources":[1]`, "only strings"},
		{"resources", `"resources":"unikernel/web"`, "list"},
		{"scopes", `"preset":null,"scopes":[null]`, "only strings"},
		{"scopes", `"preset":null,"scopes":["*",["*"]]`, "only strings"},
		{"scopes", `"preset":null,"scopes":"*"`, "a list of strings"},
		{"scopes", `"preset":null,"scopes":{"0":"*"}`, "a list of strings"},
		{"scopes", `"kind":"admin","preset":null,"scopes":["*"]`, "admin token"},
		{"allowed_ips", `"allowed_ips":["10.0.0.1/8"]`, "10.0.0.0/8"},
		{"allowed_ips", `"allowed_ips":["all"]`, "not an address range"},
		{"allowed_ips", `"allowed_ips":[1]`, "only strings"},
		{"allowed_ips", `"allowed_ips":"10.0.0.0/8"`, "a list of strings"},
		{"rate_limit", `"rate_limit":0`, `{"requests": 60, "window": "1m"}`},
		{"rate_limit", `"rate_limit":"60/1m"`, `{"requests": 60, "window": "1m"}`},
		{"rate_limit", `"rate_limit":[]`, `{"requests": 60, "window": "1m"}`},
		{"rate_limit", `"rate_limit":{}`, "requests must be from"},
		{"rate_limit", `"rate_limit":{"requests":60}`, "window must be whole seconds"},
		{"rate_limit", `"rate_limit":{"window":"1m"}`, "requests must be from"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":null}`, "window must be whole seconds"},
		{"rate_limit", `"rate_limit":{"requests":null,"window":"1m"}`, "requests must be from"},
		{"rate_limit", `"rate_limit":{"requests":0,"window":"1m"}`, "at least 1"},
		{"rate_limit", `"rate_limit":{"requests":-1,"window":"1m"}`, "digits only"},
		{"rate_limit", `"rate_limit":{"requests":1.0,"window":"1m"}`, "digits only"},
		{"rate_limit", `"rate_limit":{"requests":1e3,"window":"1m"}`, "digits only"},
		{"rate_limit", `"rate_limit":{"requests":"60","window":"1m"}`, "digits only"},
		{"rate_limit", `"rate_limit":{"requests":1000000001,"window":"1m"}`, "1000000000"},
		{"rate_limit", `"rate_limit":{"requests":99999999999999999999,"window":"1m"}`, "whole number"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":60}`, "window"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":"60"}`, "a number and a unit"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":"2d"}`, "set a quota"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":"0s"}`, "1s to 1d"},
		{"rate_limit", `"rate_limit":{"requests":60,"window":"1m","burst":5}`, "unknown"},
		{"rate_limit", `"kind":"admin","preset":null,"rate_limit":{"requests":60,"window":"1m"}`, "admin token"},
		{"quota", `"quota":""`, `{"requests": 10000, "period": "month"}`},
		{"quota", `"quota":{}`, "requests must be from"},
		{"quota", `"quota":{"requests":1}`, "period must be day or month"},
		{"quota", `"quota":{"requests":0,"period":"day"}`, "at least 1"},
		{"quota", `"quota":{"requests":1000000000000000,"period":"day"}`, "999999999999999"},
		{"quota", `"quota":{"requests":1,"period":"week"}`, `"day" or "month"`},
		{"quota", `"quota":{"requests":1,"period":1}`, `"day" or "month"`},
		{"quota", `"quota":{"requests":1,"period":"month","used":0}`, "unknown"},
		{"quota", `"kind":"admin","preset":null,"quota":{"requests":1,"period":"day"}`, "admin token"},
		{"metadata", `"metadata":{"a":null}`, "only strings"},
		{"metadata", `"metadata":{"a":1}`, "only strings"},
		{"metadata", `"metadata":{"":"x"}`, "1 to 64 characters"},
		{"metadata", `"metadata":["a"]`, "values are strings"},
		{"metadata", `"metadata":{"note":"` + vector + `"}`, "contains a token"},
		{"metadata", `"metadata":{"` + vector + `":"x"}`, "contains a token"},

		{"expires_in", `"expires_in":null`, "required"},
		{"expires_in", `"expires_in":1e3`, "digits only"},
		{"expires_in", `"expires_in":1.5`, "digits only"},
		{"expires_in", `"expires_in":3600.0`, "digits only"},
		{"expires_in", `"expires_in":-1`, "digits only"},
		{"expires_in", `"expires_in":-0`, "digits only"},
		{"expires_in", `"expires_in":0`, "must be longer than 0"},
		{"expires_in", `"expires_in":9223372036854775808`, "too long"},
		{"expires_in", `"expires_in":1000000000000`, "the year 9999"},
		{"expires_in", `"expires_in":63244800`, "max_lifetime"},
		{"expires_in", `"expires_in":"10"`, "a number and a unit"},
		{"expires_in", `"expires_in":"0d"`, "must be longer than 0"},
		{"expires_in", `"expires_in":"-1d"`, "a number and a unit"},
		{"expires_in", `"expires_in":"5m"`, "5mo for months"},
		{"expires_in", `"expires_in":"3y"`, "max_lifetime"},
		{"expires_in", `"expires_in":"99999999999d"`, "too long"},
		{"expires_in", `"expires_in":"Never"`, "a number and a unit"},
		{"expires_in", `"expires_in":""`, "a number and a unit"},
		{"expires_in", `"expires_in":true`, "write for example"},
		{"expires_in", `"expires_in":["90d"]`, "write for example"},
		{"expires_in", `"expires_in":{"days":90}`, "write for example"},

		{"expires_at", `"expires_at":"2026-06-01T00:00:00Z"`, "not both"},
		{"expires_at", `"expires_in":"never","expires_at":"2026-06-01T00:00:00Z"`, "not both"},
		{"expires_at", `"expires_in":null,"expires_at":"9999-12-31T23:59:59Z"`, "max_lifetime"},
		{"expires_at", `"expires_in":null,"expires_at":"9999-12-31T23:59:59-01:00"`, "years 1970 to 9999"},
		{"expires_at", `"expires_in":null,"expires_at":"10000-01-01T00:00:00Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"0001-01-01T00:00:00Z"`, "years 1970 to 9999"},
		{"expires_at", `"expires_in":null,"expires_at":"1970-01-01T00:00:00Z"`, "already have expired"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-03-01T12:00:00Z"`, "already have expired"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-02-30T00:00:00Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T10:00:00"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T10:00:00+25:00"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T10:00:00+0100"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T10:00:00z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23t10:00:00Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23 10:00:00Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T9:00:00Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T10:00:00,5Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23T23:59:60Z"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":"2026-11-23"`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":1795428000`, "time with a zone"},
		{"expires_at", `"expires_in":null,"expires_at":["2026-11-23T10:00:00Z"]`, "time with a zone"},
		{"not_before", `"not_before":"0001-01-01T00:00:00Z"`, "years 1970 to 9999"},
		{"not_before", `"not_before":"2026-09-01T00:00:00Z"`, "not before the token's expiry"},
		{"not_before", `"not_before":"tomorrow"`, "time with a zone"},

		{"x", `"x":1`, "known members are name, kind"},
		{"Name", `"name":null,"Name":"a"`, "given twice"},
		{"id", `"id":"4fQ9Zt2LkVb7"`, "unknown"},
		{"token", `"token":"x"`, "unknown"},
		{"created_at", `"created_at":"2026-03-01T12:00:00Z"`, "unknown"},
		{"usage_count", `"usage_count":0`, "unknown"},
		{"status", `"status":"active"`, "unknown"},
		{"", `"":1`, "unknown"},
	} {
		body := "{" + test.members
		for name, value := range valid {
			if !strings.Contains(test.members, `"`+name+`":`) {
				body += `,"` + name + `":` + value
			}
		}
		w := f.do(http.MethodPost, "/tokens", body+"}")
		if test.detail == "given twice" {
			f.refused(w, 400, "invalid_json")
			continue
		}
		got := f.refused(w, 400, "invalid_field", "field="+test.field)
		if detail, _ := got["detail"].(string); !strings.Contains(detail, test.detail) {
			t.Errorf("%s: got detail %q, want it to contain %q", test.members, detail, test.detail)
		}
		if strings.Contains(w.Body.String(), vector[20:]) {
			t.Errorf("%s: the response repeats a secret: %s", test.members, w.Body)
		}
	}
	if w := f.do(http.MethodGet, "/tokens?count=true", ""); !strings.Contains(w.Body.String(), `"total":0`) {
		t.Errorf("a token was created: %s", w.Body)
	}
}

func TestCreateSuggestsTheRightMember(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.do(http.MethodPost, "/tokens", `{"Name":"a","preset":"read","expires_in":"90d"}`)
	body := f.refused(w, 400, "invalid_field", "field=Name")
	if detail := body["detail"].(string); !strings.Contains(detail, "did you mean name?") {
		t.Errorf("got detail %q", detail)
	}
}

// TestCreateRepeatsNoSecret verifies that responses redact anything that looks like a
// secret, even if it is truncated.
func TestCreateRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.do(http.MethodPost, "/tokens", `{"name":"a","expires_in":"90d","preset":"`+strings.Repeat("long",
		10_000)+`"}`)
	f.refused(w, 400, "invalid_field", "field=preset")
	if w.Body.Len() > 3*maxDetail {
		t.Errorf("the response is %d bytes long", w.Body.Len())
	}
	// A long string that starts like a time isn't repeated either.
	w = f.do(http.MethodPost, "/tokens", `{"name":"a","expires_in":"99999999999999999999 hunter2","preset":"read"}`)
	f.refused(w, 400, "invalid_field", "field=expires_in")
	if strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("the response repeats the text: %s", w.Body)
	}
	const uuid = "d9428888-122b-41e1-b85c-61fa1f9d5c2e"
	for _, secret := range []string{vector, vector[:40], "x" + vector + "x", uuid, strings.ToUpper(uuid)} {
		for _, body := range []string{
			`{"name":"a","expires_in":"90d","preset":"` + secret + `"}`,
			`{"name":"a","expires_in":"90d","scopes":["` + secret + `"]}`,
			`{"name":"a","expires_in":"90d","preset":"read","account":"` + secret + `"}`,
			`{"name":"a","expires_in":"90d","preset":"read","allowed_ips":["` + secret + `"]}`,
			`{"name":"a","expires_in":"` + secret + `","preset":"read"}`,
			`{"name":"a","expires_at":"` + secret + `","preset":"read"}`,
			`{"name":"a","expires_in":"90d","preset":"read","` + secret + `":1}`,
			`{"` + secret + `":1,"` + secret + `":2}`,
			`{"name":` + secret + `}`,
		} {
			w := f.do(http.MethodPost, "/tokens", body)
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s: got status %d and body %s", body, w.Code, w.Body)
			}
			if got := w.Body.String(); strings.Contains(got, secret[len(secret)/2:]) {
				t.Errorf("%s: the response repeats the secret: %s", body, got)
			}
		}
	}
}

func TestLocationIsAbsoluteWithClientPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.ClientPath = func(r *http.Request) string { return "/keys/api/v1" + r.URL.Path }
	})
	w := f.do(http.MethodPost, "/tokens", `{"name":"a","preset":"read","expires_in":"90d"}`)
	if got := w.Header().Get("Location"); !strings.HasPrefix(got, "/keys/api/v1/tokens/") ||
		len(got) != len("/keys/api/v1/tokens/")+12 {
		t.Errorf("got Location %q", got)
	}
}
