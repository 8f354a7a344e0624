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

// bodies maps each call that needs a body to a valid body.
var bodies = map[string]string{
	"POST /tokens":       goodBody,
	"PATCH /tokens/{id}": `{"name":"x"}`,
	"POST /lookup":       `{"token":"` + vector + `"}`,
	"POST /introspect":   "token=" + vector,
	"POST /explain":      `{"token":"` + vector + `","method":"GET","path":"/"}`,
	"POST /import": `{"format":"mollymawk","data":{"tokens":[{"value":"` + uuidOne +
		`","expires_in":29030400,"created_at":"` + recently + `","name":"a"}]}}`,
}

// everyCall makes every API call for the token, including Mollymawk's calls.
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

// TestEveryCallIsGuarded verifies that every call is refused without effect if it fails a
// check that doesn't depend on the route.
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
		t.Errorf("got an unexpected total of %d tokens", *got.Total)
	}
}

// TestEveryCallWithoutTheStore verifies that calls fail without a store, and that calls
// that only read don't report a failed write.
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
			case "GET /scopes", "GET /resources", "GET /accounts", "GET /openapi.json":
				if w.Code != http.StatusOK {
					t.Errorf("%s: got status %d", name, w.Code)
				}
				return
			case "POST /explain":
				return // doesn't use the store without a gate
			case "POST /restore", "POST /shared/accept":
				f.refused(w, 404, "not_found") // not on a site
				return
			case "POST /session", "GET /session", "DELETE /session", "POST /sign-in-links", "DELETE /sign-in-links":
				f.refused(w, 404, "not_found") // this fixture has no sessions; see TestSession
				return
			}
			t.Log(name)
			body := f.refused(w, 503, "store_unavailable")
			if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "fire") {
				t.Errorf("%s: got headers %v and body %s", name, w.Header(), w.Body)
			}
			detail, _ := body["detail"].(string)
			if strings.Contains(detail, "Writing") &&
				(f == away || !slices.Contains(written, name) && !strings.Contains(name, "{id}")) {
				t.Errorf("%s: got %s", name, detail)
			}
		})
	}
}

// TestEveryCallRefusesParameters verifies that every call refuses unknown parameters and
// tokens in parameters.
func TestEveryCallRefusesParameters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, route := range routes {
		if route.path == sessionPath || route.path == linksPath || route.operator {
			continue // the path doesn't exist here
		}
		path := strings.Replace(route.path, "{id}", "000000000000", 1)
		f.refused(f.do(route.method, path+"?colour=red", ""), 400, "invalid_parameter", "parameter=colour")
		f.refused(f.do(route.method, path+"?x="+vector, ""), 400, "token_in_url")
		for _, parameter := range route.parameters {
			f.refused(f.do(route.method, path+"?"+parameter+"="+uuidOne, ""), 400, "token_in_url")
		}
	}
}

// TestSecretsShowOnce verifies that a secret appears only in the response to the call that
// created it, never in another response, an audit entry or the log.
func TestSecretsShowOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var responses []string
	see := func(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		responses = append(responses, w.Body.String()+fmt.Sprint(w.Header()))
		return w
	}
	var secrets []string
	for _, key := range []string{"a", "b", "b"} {
		w := see(f.do(http.MethodPost, "/tokens", goodBody, "Idempotency-Key: "+key))
		if created := readObject(t, w, w.Code); created["token"] != nil {
			secrets = append(secrets, created["token"].(string))
		}
	}
	id := secrets[0][4:16]
	for range 2 {
		w := see(f.do(http.MethodPost, "/tokens/"+id+"/rotate", ""))
		secrets = append(secrets, readObject(t, w, 200)["token"].(string))
	}
	if len(secrets) != 4 {
		t.Fatalf("got %d secrets", len(secrets))
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
		// Skip the calls that fail after the deletion and the calls that create a secret.
		if w.Code != http.StatusCreated && !strings.Contains(w.Body.String(), `"token":"`) {
			see(w)
		}
	})
	for i, secret := range secrets {
		shown := 0
		for _, response := range responses {
			shown += strings.Count(response, secret[17:40])
		}
		if shown != 1 {
			t.Errorf("secret %d appears %d times, want once", i, shown)
		}
		for _, entry := range f.logs.All() {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, secret[17:40]) {
				t.Errorf("the log contains secret %d: %s", i, text)
			}
		}
	}
}

// TestSharedCodes verifies that the admin API and the gate use the same status and title
// for the codes they share.
func TestSharedCodes(t *testing.T) {
	t.Parallel()
	if all := Codes(); !slices.IsSorted(all) || !slices.Contains(all, "idempotency_mismatch") ||
		slices.Contains(all, "idempotency_unsupported") {
		t.Errorf("got %q", all)
	}
	for _, code := range gate.Codes() {
		if ours, shared := codes[string(code)]; shared {
			if theirs := gate.Refuse(code).Problem(); theirs.Status != ours.status || theirs.Title != ours.title {
				t.Errorf("%s: got %d %s in the admin API, %d %s in the gate", code, ours.status, ours.title,
					theirs.Status, theirs.Title)
			}
		}
	}
}
