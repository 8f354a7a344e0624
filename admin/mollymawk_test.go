package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// TestMollymawkCalls creates, changes and deletes a token with Mollymawk's own calls.
func TestMollymawkCalls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.handler = NewMollymawk(f.config)
	call := func(path, body string) *httptest.ResponseRecorder {
		t.Helper()
		return f.do(http.MethodPost, "/api/tokens/"+path, body)
	}
	data := func(w *httptest.ResponseRecorder) map[string]any {
		t.Helper()
		got := readObject(t, w, http.StatusOK)
		if !strings.HasPrefix(w.Body.String(), `{"status":200,"title":"200","success":true,"data":`) {
			t.Errorf("got envelope %s", w.Body)
		}
		object, _ := got["data"].(map[string]any)
		return object
	}
	w := call("create", `{"token_name":"ci","token_expiry":2419200,"molly_csrf":"x"}`)
	created := data(w)
	secret, _ := created["value"].(string)
	want := `"expires_in":2419200,"created_at":"2026-03-01 12:00:00-00:00",` +
		`"last_access":"2026-03-01 12:00:00-00:00","name":"ci","usage_count":0}}`
	if !strings.HasSuffix(w.Body.String(), want) ||
		!strings.Contains(w.Body.String(), `"token_type":"Bearer","value":"mmk_`) || f.status(secret) != "active" {
		t.Errorf("got response %s", w.Body)
	}
	if updated := data(call("update", `{"token_name":"new","token_expiry":7257600,"token_value":"`+secret+
		`"}`)); updated["name"] != "new" ||
		updated["expires_in"] != 7257600.0 || updated["value"] != secret[:17]+"…" {
		t.Errorf("got %v", updated)
	}
	if updated := data(call("update", `{"token_name":"by id","token_value":"`+secret[4:16]+
		`"}`)); updated["name"] != "by id" || updated["expires_in"] != 7257600.0 {
		t.Errorf("got %v", updated)
	}
	f.refused(call("create", `{"token_name":"ci"}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"","token_expiry":60}`), 400, "invalid_field", "field=token_name")
	f.refused(call("create", `{"token_name":"`+vector+`","token_expiry":60}`), 400, "invalid_field", "field=token_name")
	f.refused(call("create", `{"token_name":"x","token_expiry":-1}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"x","token_expiry":1e9}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"x","token_expiry":1000000000}`), 400, "invalid_field",
		"field=token_expiry")
	f.refused(call("update", `{"token_name":"x"}`), 400, "invalid_field", "field=token_value")
	for _, path := range []string{"update", "delete"} {
		body := f.refused(call(path, `{"token_name":"x","token_expiry":60,"token_value":"`+vector+`"}`), 404,
			"not_found")
		if body["data"] != "Token not found" || body["success"] != false {
			t.Errorf("got %v", body)
		}
	}
	f.refused(f.do(http.MethodGet, "/api/tokens/create", ""), 405, "method_not_allowed")
	f.refused(call("list", "{}"), 404, "not_found")
	if w := call("delete",
		`{"token_value":"`+secret+
			`","molly_csrf":"x"}`); w.Body.String() != `{"status":200,"title":"200","success":true,`+
		`"data":"Token deleted successfully"}` {
		t.Errorf("got response %s", w.Body)
	}
	if got := f.status(secret); got != "no such token" {
		t.Errorf("after deleting: got %s", got)
	}
}

func newMollymawkFixture(t *testing.T, change ...func(*Config)) (f *fixture,
	call func(path, body string, headers ...string) *httptest.ResponseRecorder) {
	f = newFixture(t, change...)
	calls := *f
	calls.handler = NewMollymawk(f.config)
	return f, func(path, body string, headers ...string) *httptest.ResponseRecorder {
		t.Helper()
		return calls.do(http.MethodPost, "/api/tokens/"+path, body, headers...)
	}
}

// TestMollymawkUpdate verifies that the expiry is relative to the token's creation, as in
// Mollymawk, and that expired tokens don't become valid again.
func TestMollymawkUpdate(t *testing.T) {
	t.Parallel()
	f, call := newMollymawkFixture(t)
	id, secret := f.create(`{"name":"ci"}`)
	f.pass(time.Hour)
	f.use(secret, 3, tokenstore.LastUse{Time: f.store.Now()})
	want := `{"status":200,"title":"200","success":true,"data":{"token_type":"Bearer","value":"mmk_` + id +
		`_…","expires_in":7200,` +
		`"created_at":"2026-03-01 12:00:00-00:00","last_access":"2026-03-01 13:00:00-00:00","name":"ci",` +
		`"usage_count":3}}`
	if got := call("update", `{"token_expiry":7200,"token_value":"`+id+`"}`).Body.String(); got != want {
		t.Errorf("got %s", got)
	}
	if got := readObject(t, f.do(http.MethodGet, "/tokens/"+id, ""), 200); got["expires_at"] != "2026-03-01T14:00:00Z" {
		t.Errorf("got %v", got)
	}
	for _, seconds := range []string{"0", "3600", "60", "99999999999999", "9223372036854775807", "9223372036854775808",
		"1.5", `"60"`, "null"} {
		w := call("update", `{"token_name":"changed","token_expiry":`+seconds+`,"token_value":"`+secret+`"}`)
		if seconds == "null" {
			readObject(t, w, 200)
			continue
		}
		f.refused(w, 400, "invalid_field", "field=token_expiry")
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Errorf("%s: the response repeats the secret", seconds)
		}
	}
	f.refused(call("update", `{"token_name":"`+vector+`","token_value":"`+id+`"}`), 400, "invalid_field",
		"field=token_name")
	f.pass(time.Hour)
	f.refused(call("update", `{"token_name":"x","token_expiry":7257600,"token_value":"`+id+`"}`), 409, "conflict")

	// An imported token has no public part.
	imported := readObject(t,
		f.do(http.MethodPost, "/import",
			`{"format":"mollymawk","data":`+userRecord(recordToken("old", uuidOne, 29030400, recently))+`}`), 200)
	id = imported["imported"].([]any)[0].(string)
	w := call("update", `{"token_name":"new","token_value":"`+uuidOne+`"}`)
	if data := readObject(t, w, 200)["data"].(map[string]any); data["value"] != id || data["name"] != "new" ||
		strings.Contains(w.Body.String(), uuidOne) {
		t.Errorf("got response %s", w.Body)
	}
	if data := readObject(t, call("delete", `{"token_value":"`+uuidOne+`"}`),
		200); data["data"] != "Token deleted successfully" || f.status(uuidOne) != "no such token" {
		t.Errorf("got %v", data)
	}
}

func TestMollymawkRefusals(t *testing.T) {
	t.Parallel()
	f, call := newMollymawkFixture(t)
	id, _ := f.create(`{}`)
	for body, want := range map[string]string{
		`{"token_name":"x","token_expiry":60,"name":"x"}`:                     "name",
		`{"token_name":7,"token_expiry":60}`:                                  "token_name",
		`{"token_expiry":60}`:                                                 "token_name",
		`{"token_name":"a\u0000","token_expiry":60}`:                          "token_name",
		`{"token_name":"` + strings.Repeat("x", 101) + `","token_expiry":60}`: "token_name",
		`{"token_name":"x","token_expiry":true}`:                              "token_expiry",
	} {
		f.refused(call("create", body), 400, "invalid_field", "field="+want)
	}
	f.refused(call("create", `{"token_name":"x","token_name":"y","token_expiry":60}`), 400, "invalid_json")
	f.refused(call("create", "token_name=x", "Content-Type: ", "Content-Type: application/x-www-form-urlencoded"), 415,
		"unsupported_media_type")
	f.refused(call("create", `{"token_name":"x","token_expiry":60}`, "Sec-Fetch-Site: cross-site"), 403, "cross_site")
	f.refused(call("create?t="+vector, `{"token_name":"x","token_expiry":60}`), 400, "token_in_url")
	for _, path := range []string{"", "create/", "Create", "%63reate", "../tokens/create", "create%00"} {
		f.refused(call(path, `{}`), 404, "not_found")
	}
	for _, value := range []string{"", "x", id[:11], strings.ToLower(id) + "x", "000000000000", uuidOne} {
		f.refused(call("delete", `{"token_value":"`+value+`"}`), 404, "not_found")
	}
	f.refused(call("delete", `{}`), 400, "invalid_field", "field=token_value")
	if got := f.list("count=true"); *got.Total != 1 {
		t.Errorf("got an unexpected total of %d tokens", *got.Total)
	}
}

// TestMollymawkBearer verifies that the calls require an admin token and count as uses of
// it.
func TestMollymawkBearer(t *testing.T) {
	t.Parallel()
	console := newFixture(t)
	id, secret := console.create(`{"kind":"admin"}`)
	_, api := console.create(`{}`)
	f, call := newMollymawkFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return console.store, nil }
		c.Authenticate = BearerAuthenticator(Bearer{
			Store: c.Store, Prefixes: c.Policy.Prefixes, Realm: "mollygate admin",
			ClientIP: func(r *http.Request) netip.Addr { return netip.MustParseAddrPort(r.RemoteAddr).Addr() },
		})
	})
	const body = `{"token_name":"made","token_expiry":2419200}`
	f.refused(call("create", body), 401, "missing_token")
	f.refused(call("create", body, "Authorization: Bearer "+vector), 401, "unknown_token")
	f.refused(call("create", body, "Authorization: Bearer "+api), 403, "wrong_kind")
	f.refused(call("create", body, "Cookie: molly_session=x"), 401, "missing_token")
	w := call("create", body, "Authorization: Bearer "+secret)
	value := readObject(t, w, 200)["data"].(map[string]any)["value"].(string)
	if got := readObject(t, console.do(http.MethodGet, "/tokens/"+value[4:16], ""), 200); got["created_by"] != id ||
		got["account"] != "default" || fmt.Sprint(got["scopes"]) != "[*]" {
		t.Errorf("got %v", got)
	}
	if got := readObject(t, console.do(http.MethodGet, "/tokens/"+id, ""), 200); got["usage_count"] != 1.0 ||
		got["last_used_route"] != "POST /api/tokens/create" {
		t.Errorf("got %v", got)
	}
	if got := fmt.Sprint(f.logs.All()); strings.Contains(got, value[17:]) {
		t.Error("the log contains the secret")
	}
}
