package admin

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func newExplainFixture(t *testing.T) *fixture {
	t.Helper()
	g, err := gate.New(gate.Config{
		Table: gate.Table{Routes: []gate.Route{
			{Method: "GET", Path: "/api/unikernels", Scope: token.Scope{Name: "unikernel:list"}},
			{Method: "POST", Path: "/api/unikernel/create", Scope: token.Scope{Name: "unikernel:create"}, Upload: true},
		}},
		Prefixes: testPolicy.Prefixes,
		Failures: gate.NewFailureLimit(1, time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, func(c *Config) { c.Gates = []gate.NamedGate{{Name: "keys.example.com", Gate: g}} })
}

func TestExplain(t *testing.T) {
	t.Parallel()
	f := newExplainFixture(t)
	id, secret := f.create(`{"preset":"read","allowed_ips":["203.0.113.0/24"]}`)
	other, _ := f.create(`{"kind":"admin"}`)
	for name, test := range map[string]struct {
		body    string
		status  int
		code    string
		tokenID string
		failed  string
	}{
		"allowed": {`{"token":"` + secret + `","method":"GET","path":"/api/unikernels?instance=a"}`, 200, "ok",
			id, ""},
		"by its id": {`{"token_id":"` + id + `","method":"GET","path":"/api/unikernels","ip":"203.0.113.9"}`,
			200, "ok", id, ""},
		"scope": {`{"token_id":"` + id + `","method":"POST","path":"/api/unikernel/create"}`, 403,
			"insufficient_scope", id, "scope"},
		"scope, address": {
			`{"token_id":"` + id + `","method":"POST","path":"/api/unikernel/create","ip":"198.51.100.1"}`, 403,
			"ip_denied", id, "client_ip scope"},
		"method": {`{"token_id":"` + id + `","method":"DELETE","path":"/api/unikernels"}`, 405,
			"method_not_allowed", id, "route"},
		"path": {`{"token_id":"` + id + `","method":"GET","path":"//api/unikernels"}`, 400, "invalid_path",
			id, "path route"},
		"kind": {`{"token_id":"` + other + `","method":"GET","path":"/api/unikernels"}`, 403, "wrong_kind",
			other, "kind scope"},
		"unknown": {`{"token":"` + vector + `","method":"GET","path":"/api/unikernels"}`, 401, "unknown_token",
			"", "token"},
		"unknown, again": {`{"token":"` + vector + `","method":"GET","path":"/api/unikernels"}`, 401, "unknown_token",
			"", "token"},
		"malformed": {`{"token":"mmk_x","method":"GET","path":"/api/unikernels"}`, 401, "malformed_token", "",
			"token"},
		"a token in a URL": {`{"token":"` + secret + `","method":"GET","path":"/api/unikernels?t=` + secret + `"}`, 400,
			"token_in_url", id, "url"},
	} {
		w := f.do(http.MethodPost, "/explain", test.body)
		var got explanation
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: got status %d and body %s", name, w.Code, w.Body)
			continue
		}
		var failed []string
		for _, c := range got.Checks {
			if !c.Pass {
				failed = append(failed, c.Name)
			}
		}
		if got.Code != test.code || got.Status != test.status || got.Allowed != (test.code == "ok") ||
			string(got.TokenID) != test.tokenID || strings.Join(failed, " ") != test.failed {
			t.Errorf("%s: got %+v", name, got)
		}
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Errorf("%s: the response repeats the secret", name)
		}
	}
	found, err := f.store.Get(token.ID([]byte(id)))
	if err != nil || !reflect.DeepEqual(found.Usage, tokenstore.Usage{}) || found.Token.Version != 1 {
		t.Errorf("explain changed the token: got %+v, err %v", found, err)
	}
}

// TestExplainResources checks an explanation for a token that is bound to resources.
func TestExplainResources(t *testing.T) {
	t.Parallel()
	g, err := gate.New(gate.Config{Prefixes: testPolicy.Prefixes, Table: gate.Table{Routes: []gate.Route{
		{Method: "POST", Path: "/act", Scope: token.Scope{Name: "unikernel:create"},
			Targets: func(call *gate.Call) ([]token.Resource, error) {
				if len(call.Body) == 0 {
					return nil, &gate.BodyError{Detail: "The body is missing."}
				}
				return []token.Resource{{Type: "unikernel", Name: string(call.Body)}}, nil
			}}}}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.Gates = []gate.NamedGate{{Name: "a", Gate: g}} })
	id, _ := f.create(`{"scopes":["*"],"resources":["unikernel/web-*"]}`)
	for more, want := range map[string]string{
		``:                                     `"code":"ok"`,
		`,"body":"web-1"`:                      `acts on unikernel/web-1`,
		`,"body":"api"`:                        `"code":"resource_not_allowed"`,
		`,"resources":["unikernel/web-2"]`:     `acts on unikernel/web-2`,
		`,"resources":["volume/db"]`:           `may not act on block/db`,
		`,"resources":["unikernel/web-*"]`:     `without *`,
		`,"resources":["host/a"],"body":"web"`: `not a type of resource`,
	} {
		w := f.do(http.MethodPost, "/explain", `{"token_id":"`+id+`","method":"POST","path":"/act"`+more+`}`)
		if body := w.Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: got %s, want %s", more, body, want)
		}
	}
}

// TestExplainSeveralGates queries gates that require different scopes for the same route.
func TestExplainSeveralGates(t *testing.T) {
	t.Parallel()
	newGate := func(name, scope string, routes ...gate.Route) gate.NamedGate {
		routes = append(routes, gate.Route{Method: "GET", Path: "/api/unikernels", Scope: token.Scope{Name: scope}})
		g, err := gate.New(gate.Config{Table: gate.Table{Routes: routes}, Prefixes: testPolicy.Prefixes})
		if err != nil {
			t.Fatal(err)
		}
		return gate.NamedGate{Name: name, Gate: g}
	}
	f := newFixture(t, func(c *Config) {
		c.Gates = []gate.NamedGate{
			newGate("a", "unikernel:list"), newGate("b", "block:delete"), newGate("c", "unikernel:list"),
			newGate("d", "block:delete"),
			newGate("e", "unikernel:list",
				gate.Route{Method: "GET", Path: "/only", Scope: token.Scope{Name: "unikernel:list"}}),
		}
	})
	id, _ := f.create(`{"scopes":["unikernel:list"]}`)
	for question, want := range map[string]string{
		`"path":"/api/unikernels"`:             "a ok, b insufficient_scope",
		`"path":"/api/unikernels","gate":"a"`:  "a ok",
		`"path":"/api/unikernels","gate":"d"`:  "d insufficient_scope",
		`"path":"/only"`:                       "e ok",
		`"path":"/only","gate":"a"`:            "a route_not_allowed",
		`"path":"/nothing"`:                    "a route_not_allowed",
		`"path":"//api/unikernels"`:            "a invalid_path",
		`"path":"//api/unikernels","gate":"e"`: "e invalid_path",
	} {
		w := f.do(http.MethodPost, "/explain", `{"token_id":"`+id+`","method":"GET",`+question+`}`)
		var got explanation
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: got status %d and body %s", question, w.Code, w.Body)
			continue
		}
		text := got.Gate + " " + got.Code
		for _, other := range got.OtherGates {
			text += ", " + other.Gate + " " + other.Code
		}
		if text != want {
			t.Errorf("%s: got %s, want %s", question, text, want)
		}
	}
	for _, name := range []string{"", "f", "A"} {
		f.refused(f.do(http.MethodPost, "/explain", `{"token_id":"`+id+`","method":"GET","path":"/only","gate":"`+name+
			`"}`), 400, "invalid_field", "field=gate")
	}
}

func TestExplainRefusals(t *testing.T) {
	t.Parallel()
	f := newExplainFixture(t)
	id, _ := f.create(`{}`)
	for body, field := range map[string]string{
		`{"token_id":"` + id + `","path":"/"}`:                                         "method",
		`{"token_id":"` + id + `","method":"","path":"/"}`:                             "method",
		`{"token_id":"` + id + `","method":"GET /","path":"/"}`:                        "method",
		`{"token_id":"` + id + `","method":"GET"}`:                                     "path",
		`{"token_id":"` + id + `","method":"GET","path":"api"}`:                        "path",
		`{"method":"GET","path":"/"}`:                                                  "token",
		`{"token_id":"` + id + `","token":"` + vector + `","method":"GET","path":"/"}`: "token",
		`{"token":"","method":"GET","path":"/"}`:                                       "token",
		`{"token_id":"x","method":"GET","path":"/"}`:                                   "token_id",
		`{"token_id":"000000000000","method":"GET","path":"/"}`:                        "token_id",
		`{"token_id":"` + id + `","method":"GET","path":"/","ip":"203.0.113.0/24"}`:    "ip",
		`{"token_id":"` + id + `","method":"GET","path":"/","address":"203.0.113.1"}`:  "address",
		`{"token_id":"` + id + `","method":1,"path":"/"}`:                              "method",
	} {
		f.refused(f.do(http.MethodPost, "/explain", body), 400, "invalid_field", "field="+field)
	}
	f.refused(newFixture(t).do(http.MethodPost, "/explain", `{"token":"x","method":"GET","path":"/"}`), 409, "conflict")
}
