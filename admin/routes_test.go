package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/problem"
	"github.com/mollygate/mollygate/tokenstore"
)

// bodies are good bodies of the calls that need one.
var bodies = map[string]string{
	"POST /tokens":       goodBody,
	"PATCH /tokens/{id}": `{"name":"x"}`,
	"POST /lookup":       `{"token":"` + vector + `"}`,
	"POST /introspect":   "token=" + vector,
	"POST /explain":      `{"token":"` + vector + `","method":"GET","path":"/"}`,
	"POST /import": `{"format":"mollymawk","data":{"tokens":[{"value":"` + uuidOne +
		`","expires_in":29030400,"created_at":"` + recently + `","name":"a"}]}}`,
}

// everyCall makes each call there is, Mollymawk's among them, for the token.
func (f *fixture) everyCall(id string, headers []string, look func(name string, w *httptest.ResponseRecorder)) {
	f.t.Helper()
	for _, route := range routes {
		name := route.method + " " + route.path
		call := headers
		if strings.HasPrefix(bodies[name], "token=") {
			call = append([]string{"Content-Type: ", "Content-Type: application/x-www-form-urlencoded"}, headers...)
		}
		look(name, f.do(route.method, strings.Replace(route.path, "{id}", id, 1), bodies[name], call...))
	}
	calls := *f
	calls.handler = NewMollymawk(f.config)
	for path := range mollymawkCalls {
		look("POST "+path, calls.do(http.MethodPost, path, `{"token_name":"x","token_expiry":3600,"token_value":"`+id+
			`"}`, headers...))
	}
}

// TestEveryCallIsGuarded: the checks that don't depend on what is asked for are made
// of every call, before anything is done.
func TestEveryCallIsGuarded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	before := f.do(http.MethodGet, "/tokens/"+id, "").Body.String()
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
		"Origin: https://evil.example", "Origin: null"} {
		f.everyCall(id, []string{header}, func(name string, w *httptest.ResponseRecorder) {
			if !strings.HasPrefix(name, "GET ") {
				t.Log(name, header)
				f.refused(w, 403, "cross_site")
			}
		})
	}

	nobody := newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return f.store, nil }
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{},
				&Refusal{Problem: problem.Problem{Status: 401, Code: "missing_token", Title: "t", Detail: "d"}}
		}
	})
	nobody.everyCall(id, nil, func(name string, w *httptest.ResponseRecorder) {
		t.Log(name)
		nobody.refused(w, 401, "missing_token")
	})
	if after := f.do(http.MethodGet, "/tokens/"+id, "").Body.String(); after != before {
		t.Errorf("a refused call changed the token: %s", after)
	}
	if got := f.list("count=true"); *got.Total != 1 {
		t.Errorf("there are %d tokens", *got.Total)
	}
}

// TestEveryCallWithoutTheStore: what can't be answered isn't, and what was only read
// isn't told to have been written.
func TestEveryCallWithoutTheStore(t *testing.T) {
	t.Parallel()
	away := newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return nil, errors.New("the disk is on fire") }
	})
	closed := newFixture(t)
	if err := closed.store.Close(); err != nil {
		t.Fatal(err)
	}
	written := []string{"POST /tokens", "POST /import", "POST /clock", "POST /api/tokens/create"}
	for _, f := range []*fixture{away, closed} {
		f.everyCall("000000000000", nil, func(name string, w *httptest.ResponseRecorder) {
			switch name {
			case "GET /scopes", "GET /accounts", "GET /openapi.json":
				if w.Code != http.StatusOK {
					t.Errorf("%s: %d", name, w.Code)
				}
				return
			case "POST /explain":
				return // asks no store unless there is a gate
			case "POST /session", "GET /session", "DELETE /session":
				f.refused(w, 404, "not_found") // nobody can sign in here; see TestSession
				return
			}
			t.Log(name)
			body := f.refused(w, 503, "store_unavailable")
			if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "fire") {
				t.Errorf("%s: %v %s", name, w.Header(), w.Body)
			}
			detail, _ := body["detail"].(string)
			if strings.Contains(detail, "written") &&
				(f == away || !slices.Contains(written, name) && !strings.Contains(name, "{id}")) {
				t.Errorf("%s: %s", name, detail)
			}
		})
	}
}

// TestEveryCallHasParameters: none is taken that isn't known, nor a token.
func TestEveryCallHasParameters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, route := range routes {
		if route.path == sessionPath {
			continue // which isn't there without a sign-in
		}
		path := strings.Replace(route.path, "{id}", "000000000000", 1)
		f.refused(f.do(route.method, path+"?colour=red", ""), 400, "invalid_parameter", "parameter=colour")
		f.refused(f.do(route.method, path+"?x="+vector, ""), 400, "token_in_url")
		for _, parameter := range route.parameters {
			f.refused(f.do(route.method, path+"?"+parameter+"="+uuidOne, ""), 400, "token_in_url")
		}
	}
}

// TestSecretsShowOnce: the secret of a token is in the answer of the create or the
// rotation that made it, and in no other answer, no audit entry and no log.
func TestSecretsShowOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var answers []string
	see := func(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		answers = append(answers, w.Body.String()+fmt.Sprint(w.Header()))
		return w
	}
	var secrets []string
	for _, key := range []string{"a", "b", "b"} {
		w := see(f.do(http.MethodPost, "/tokens", goodBody, "Idempotency-Key: "+key))
		if made := answered(t, w, w.Code); made["token"] != nil {
			secrets = append(secrets, made["token"].(string))
		}
	}
	id := secrets[0][4:16]
	for range 2 {
		w := see(f.do(http.MethodPost, "/tokens/"+id+"/rotate", ""))
		secrets = append(secrets, answered(t, w, 200)["token"].(string))
	}
	if len(secrets) != 4 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, secret := range secrets {
		see(f.do(http.MethodPost, "/lookup", `{"token":"`+secret+`"}`))
		see(f.do(http.MethodPost, "/lookup", `{"token":"`+secret+`x"}`))
		see(f.do(http.MethodPost, "/tokens", `{"name":"`+secret+`"}`))
		see(f.do(http.MethodPost, "/tokens", goodBody, "Idempotency-Key: "+secret))
		see(f.do(http.MethodPost, "/import", `{"format":"`+secret+`","data":{"tokens":"`+secret+`"}}`))
		see(f.do(http.MethodPatch, "/tokens/"+id, `{"account":"`+secret+`"}`))
		see(f.do(http.MethodPatch, "/tokens/"+id, `{}`, "If-Match: "+secret))
		see(f.do(http.MethodGet, "/audit?actor="+secret, ""))
		body, headers := form("token=" + secret)
		see(f.do(http.MethodPost, "/introspect", body, headers...))
	}
	other := secrets[1][4:16]
	f.everyCall(other, nil, func(_ string, w *httptest.ResponseRecorder) {
		// The deletion comes in the middle; and what makes a secret shows it.
		if w.Code != http.StatusCreated && !strings.Contains(w.Body.String(), `"token":"`) {
			see(w)
		}
	})
	for i, secret := range secrets {
		shown := 0
		for _, answer := range answers {
			shown += strings.Count(answer, secret[17:40])
		}
		if shown != 1 {
			t.Errorf("secret %d is shown %d times", i, shown)
		}
		for _, entry := range f.logs.All() {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, secret[17:40]) {
				t.Errorf("secret %d is in the log: %s", i, text)
			}
		}
	}
}

// TestCodesAreTheGates: a code that the gate has too says the same.
func TestCodesAreTheGates(t *testing.T) {
	t.Parallel()
	if all := Codes(); !slices.IsSorted(all) || !slices.Contains(all, "idempotency_mismatch") ||
		slices.Contains(all, "idempotency_unsupported") {
		t.Errorf("%q", all)
	}
	for _, code := range gate.Codes() {
		if ours, shared := codes[string(code)]; shared {
			if theirs := gate.Refuse(code).Problem(); theirs.Status != ours.status || theirs.Title != ours.title {
				t.Errorf("%s: %d %s here, %d %s at the gate", code, ours.status, ours.title, theirs.Status,
					theirs.Title)
			}
		}
	}
}
