package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// userRecord is what Mollymawk's sign-in answers with, the parts that must not be
// seen again marked.
func userRecord(tokens string) string {
	return `{"name":"alice","email":"alice@example.com","email_verified":null,"password":"SECRET-hash","uuid":"0c4b8a52-1111-4222-8333-944455556666",` +
		`"tokens":[` + tokens + `],"cookies":[{"name":"molly_session","value":"SECRET-cookie","expires_in":604800}],"active":true,"super_user":false,"unikernel_updates":[]}`
}

func recordToken(name, value string, expiresIn int64, created string) string {
	return fmt.Sprintf(`{"token_type":"Bearer","value":%q,"expires_in":%d,"created_at":%q,"last_access":%q,"name":%q,"usage_count":68}`, value, expiresIn, created, created, name)
}

const (
	uuidOne   = "d9428888-122b-41e1-b85c-61fa1f9d5c2e"
	uuidTwo   = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"
	uuidThree = "6f1c9b1e-0d5e-4c1a-8a57-2f4f1f0e9b33"
	recently  = "2026-02-01 12:00:00-00:00"
)

// TestImport takes over a user record: the clients' tokens work on.
func TestImport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	record := userRecord(strings.Join([]string{
		recordToken("ci", uuidOne, 29030400, recently),
		recordToken("long", uuidTwo, 1<<60, recently),
		recordToken("over", uuidThree, 60, recently),
		recordToken("", "6f1c9b1e-0d5e-4c1a-8a57-2f4f1f0e9b34", 29030400, recently),
		recordToken("negative", uuidThree, -5, recently),
		recordToken("broken", "nothing", 29030400, recently),
		recordToken("when", uuidThree, 29030400, "yesterday"),
		recordToken("holds "+vector, uuidThree, 29030400, recently),
		recordToken("again", uuidOne, 29030400, recently),
	}, ","))
	w := f.do(http.MethodPost, "/import", `{"format":"mollymawk","account":"alice","data":`+record+`}`)
	var got imported
	if err := json.Unmarshal(w.Body.Bytes(), &struct {
		Imported *[]string
		Skipped  *[]skippedImport
	}{&got.Imported, &got.Skipped}); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(got.Imported) != 3 {
		t.Errorf("imported: %s", w.Body)
	}
	var reasons []string
	for _, s := range got.Skipped {
		reasons = append(reasons, s.Name+": "+s.Reason)
	}
	want := "over: it has expired|negative: it has expired|broken: value: is none of Mollymawk's tokens, which are UUIDs of version 4 in lower case|" +
		"when: its created_at is none of Mollymawk's times|holds mmk_4fQ9Zt2LkVb7_REDACTED: its name holds a token|again: it has been imported already"
	if strings.Join(reasons, "|") != want {
		t.Errorf("skipped:\n%s\nwant\n%s", strings.Join(reasons, "|"), want)
	}
	if !strings.Contains(w.Body.String(), `"capped":[{"id":"`+got.Imported[1]+`","name":"long","expires_at":"2028-03-01T12:00:00Z"}]`) {
		t.Errorf("capped: %s", w.Body)
	}
	for _, secret := range []string{"SECRET", uuidOne, uuidTwo} {
		if strings.Contains(w.Body.String(), secret) || strings.Contains(fmt.Sprint(f.logs.All()), secret) {
			t.Errorf("%s is in the answer or the log", secret)
		}
	}
	first := answered(t, f.do(http.MethodGet, "/tokens/"+got.Imported[0], ""), 200)
	for name, want := range map[string]any{
		"name": "ci", "account": "alice", "format": "imported", "token_hint": nil, "status": "active",
		"expires_at": "2027-01-03T12:00:00Z", "usage_count": 0.0, "created_by": "caddy-admin",
	} {
		if first[name] != want {
			t.Errorf("%s is %v, want %v", name, first[name], want)
		}
	}
	if fmt.Sprint(first["scopes"]) != "[*]" || f.status(uuidOne) != "active" || f.status(uuidTwo) != "active" {
		t.Errorf("%v, %s, %s", first["scopes"], f.status(uuidOne), f.status(uuidTwo))
	}
	if unnamed := answered(t, f.do(http.MethodGet, "/tokens/"+got.Imported[2], ""), 200); unnamed["name"] != "imported from Mollymawk" {
		t.Errorf("%v", unnamed["name"])
	}
	// Once more, from the whole answer of a sign-in: harmless.
	w = f.do(http.MethodPost, "/import", `{"format":"mollymawk","data":{"status":200,"title":"Success","success":true,"data":`+record+`}}`)
	if !strings.HasPrefix(w.Body.String(), `{"imported":[],"skipped":[`) {
		t.Errorf("again: %s", w.Body)
	}
}

func TestImportScopes(t *testing.T) {
	t.Parallel()
	for grant, want := range map[string]string{
		`"preset":"read"`:             "[unikernel:list volume:list]",
		`"scopes":["unikernel:list"]`: "[unikernel:list]",
	} {
		f := newFixture(t)
		w := f.do(http.MethodPost, "/import", `{"format":"mollymawk",`+grant+`,"data":`+userRecord(recordToken("ci", uuidOne, 29030400, recently))+`}`)
		ids, _ := answered(t, w, 200)["imported"].([]any)
		if len(ids) != 1 {
			t.Fatalf("%s", w.Body)
		}
		if token := answered(t, f.do(http.MethodGet, "/tokens/"+ids[0].(string), ""), 200); fmt.Sprint(token["scopes"]) != want {
			t.Errorf("%s: %v", grant, token["scopes"])
		}
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	record := userRecord(recordToken("ci", uuidOne, 29030400, recently))
	for body, field := range map[string]string{
		`{"data":` + record + `}`:                                                     "format",
		`{"format":"csv","data":` + record + `}`:                                      "format",
		`{"format":"mollymawk"}`:                                                      "data",
		`{"format":"mollymawk","data":[]}`:                                            "data",
		`{"format":"mollymawk","data":{}}`:                                            "data",
		`{"format":"mollymawk","data":{"tokens":7}}`:                                  "data",
		`{"format":"mollymawk","data":{"tokens":[{"expires_in":"x"}]}}`:               "data",
		`{"format":"mollymawk","account":"bob","data":` + record + `}`:                "account",
		`{"format":"mollymawk","preset":"none","data":` + record + `}`:                "preset",
		`{"format":"mollymawk","scopes":["x:y"],"data":` + record + `}`:               "scopes",
		`{"format":"mollymawk","preset":"read","scopes":["*"],"data":` + record + `}`: "preset",
		`{"format":"mollymawk","users":1,"data":` + record + `}`:                      "users",
	} {
		w := f.do(http.MethodPost, "/import", body)
		f.refused(w, 400, "invalid_field", "field="+field)
		if strings.Contains(w.Body.String(), "SECRET") || strings.Contains(w.Body.String(), uuidOne) {
			t.Errorf("the answer repeats a secret: %s", w.Body)
		}
	}
	if w := f.do(http.MethodGet, "/tokens?count=true", ""); !strings.Contains(w.Body.String(), `"total":0`) {
		t.Errorf("something was imported: %s", w.Body)
	}
}

// TestMollymawkCalls makes, changes and deletes a token as a client of Mollymawk's
// own calls does.
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
		got := answered(t, w, http.StatusOK)
		if !strings.HasPrefix(w.Body.String(), `{"status":200,"title":"200","success":true,"data":`) {
			t.Errorf("the envelope is %s", w.Body)
		}
		object, _ := got["data"].(map[string]any)
		return object
	}
	w := call("create", `{"token_name":"ci","token_expiry":2419200,"molly_csrf":"x"}`)
	made := data(w)
	secret, _ := made["value"].(string)
	want := `"expires_in":2419200,"created_at":"2026-03-01 12:00:00-00:00","last_access":"2026-03-01 12:00:00-00:00","name":"ci","usage_count":0}}`
	if !strings.HasSuffix(w.Body.String(), want) || !strings.Contains(w.Body.String(), `"token_type":"Bearer","value":"mmk_`) || f.status(secret) != "active" {
		t.Errorf("%s", w.Body)
	}
	if updated := data(call("update", `{"token_name":"new","token_expiry":7257600,"token_value":"`+secret+`"}`)); updated["name"] != "new" ||
		updated["expires_in"] != 7257600.0 || updated["value"] != secret[:17]+"…" {
		t.Errorf("%v", updated)
	}
	if updated := data(call("update", `{"token_name":"by id","token_value":"`+secret[4:16]+`"}`)); updated["name"] != "by id" || updated["expires_in"] != 7257600.0 {
		t.Errorf("%v", updated)
	}
	f.refused(call("create", `{"token_name":"ci"}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"","token_expiry":60}`), 400, "invalid_field", "field=token_name")
	f.refused(call("create", `{"token_name":"`+vector+`","token_expiry":60}`), 400, "invalid_field", "field=token_name")
	f.refused(call("create", `{"token_name":"x","token_expiry":-1}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"x","token_expiry":1e9}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("create", `{"token_name":"x","token_expiry":1000000000}`), 400, "invalid_field", "field=token_expiry")
	f.refused(call("update", `{"token_name":"x"}`), 400, "invalid_field", "field=token_value")
	for _, path := range []string{"update", "delete"} {
		body := f.refused(call(path, `{"token_name":"x","token_expiry":60,"token_value":"`+vector+`"}`), 404, "not_found")
		if body["data"] != "Token not found" || body["success"] != false {
			t.Errorf("%v", body)
		}
	}
	f.refused(f.do(http.MethodGet, "/api/tokens/create", ""), 405, "method_not_allowed")
	f.refused(call("list", "{}"), 404, "not_found")
	if w := call("delete", `{"token_value":"`+secret+`","molly_csrf":"x"}`); w.Body.String() != `{"status":200,"title":"200","success":true,"data":"Token deleted successfully"}` {
		t.Errorf("%s", w.Body)
	}
	if got := f.status(secret); got != "no such token" {
		t.Errorf("after deleting: %s", got)
	}
}
