package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/tokenstore"
)

// readObject checks a response's status and returns its JSON object.
func readObject(t *testing.T, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil || w.Code != status {
		t.Fatalf("got status %d, want %d; body %s", w.Code, status, w.Body)
	}
	return object
}

// status returns the status that the store reports for a secret, or the store's error.
func (f *fixture) status(secret string) string {
	f.t.Helper()
	match, err := f.authenticate(secret)
	if err != nil {
		return err.Error()
	}
	return match.Status.String()
}

// TestEdit sends merge patches and checks the resulting members.
func TestEdit(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`:                                    `{"version":1}`,
		`{"name":"new"}`:                        `{"name":"new","version":2}`,
		`{"account":"alice"}`:                   `{"account":"alice"}`,
		`{"account":null}`:                      `{"account":"default"}`,
		`{"scopes":["unikernel:*"]}`:            `{"scopes":["unikernel:*"]}`,
		`{"preset":"full"}`:                     `{"scopes":["*"]}`,
		`{"resources":["unikernel/a"]}`:         `{"resources":["unikernel/a"]}`,
		`{"resources":["volume/a","block/a"]}`:  `{"resources":["block/a"]}`,
		`{"resources":[]}`:                      `{"resources":null,"version":1}`,
		`{"resources":null}`:                    `{"resources":null}`,
		`{"allowed_ips":["10.0.0.0/8"]}`:        `{"allowed_ips":["10.0.0.0/8"]}`,
		`{"allowed_ips":[]}`:                    `{"allowed_ips":null}`,
		`{"allowed_ips":null}`:                  `{"allowed_ips":null}`,
		`{"metadata":{"a":"9","b":null}}`:       `{"metadata":{"a":"9"}}`,
		`{"metadata":{"c":"3"}}`:                `{"metadata":{"a":"1","b":"2","c":"3"}}`,
		`{"metadata":null}`:                     `{"metadata":null}`,
		`{"metadata":{}}`:                       `{"metadata":{"a":"1","b":"2"},"version":1}`,
		`{"not_before":null}`:                   `{"not_before":null,"status":"active"}`,
		`{"expires_in":"1mo"}`:                  `{"expires_at":"2026-04-01T13:00:00Z"}`,
		`{"expires_in":3600,"name":"x"}`:        `{"expires_at":"2026-03-01T14:00:00Z","name":"x"}`,
		`{"expires_at":"2026-03-02T00:00:00Z"}`: `{"expires_at":"2026-03-02T00:00:00Z"}`,
		`{"rate_limit":null,"quota":null}`:      `{"rate_limit":null,"quota":null,"version":2}`,
		// Nested objects are also merged (RFC 7396 section 2).
		`{"rate_limit":{"requests":99}}`: `{"rate_limit":{"requests":99,"window":"1m"},` +
			`"quota":{"requests":10,"period":"day"}}`,
		`{"rate_limit":{"window":"1h"}}`: `{"rate_limit":{"requests":60,"window":"1h"}}`,
		`{"rate_limit":{}}`: `{"rate_limit":{"requests":60,"window":"1m"},` +
			`"version":1}`,
		`{"quota":{"period":"month"}}`: `{"quota":{"requests":10,"period":"month"},` +
			`"rate_limit":{"requests":60,"window":"1m"}}`,
		`{"quota":{"requests":5,"period":"day"}}`: `{"quota":{"requests":5,"period":"day"}}`,
		`{"quota":null,` +
			`"rate_limit":{"requests":1}}`: `{"quota":null,"rate_limit":{"requests":1,"window":"1m"}}`,
		`{"rate_limit":{"requests":600000,"window":"3600s"}}`: `{"rate_limit":{"requests":600000,"window":"1h"}}`,
	} {
		f := newFixture(t)
		id, _ := f.create(
			`{"allowed_ips":["192.0.2.0/24"],"metadata":{"a":"1","b":"2"},"not_before":"2026-03-01T12:30:00Z",
			"rate_limit":{"requests":60,"window":"1m"},"quota":{"requests":10,"period":"day"}}`)
		f.pass(time.Hour)
		w := f.do(http.MethodPatch, "/tokens/"+id, body, "Content-Type: ", "Content-Type: application/merge-patch+json")
		got := readObject(t, w, http.StatusOK)
		var wanted map[string]any
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatal(err)
		}
		for name, value := range wanted {
			if fmt.Sprint(got[name]) != fmt.Sprint(value) {
				t.Errorf("%s: %s is %v, want %v", body, name, got[name], value)
			}
		}
		if tag := w.Header().Get("ETag"); tag != fmt.Sprintf(`"%v"`, got["version"]) {
			t.Errorf("%s: got ETag %s for version %v", body, tag, got["version"])
		}
		if again := f.do(http.MethodGet, "/tokens/"+id, ""); again.Body.String() != w.Body.String() {
			t.Errorf("%s: the response is %s, but the token is %s", body, w.Body, again.Body)
		}
	}
}

func TestEditRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	before := f.do(http.MethodGet, "/tokens/"+id, "").Body.String()
	for body, field := range map[string]string{
		`{"name":null}`:                         "name",
		`{"name":""}`:                           "name",
		`{"name":"` + secret + `"}`:             "name",
		`{"name":7}`:                            "name",
		`{"scopes":null}`:                       "scopes",
		`{"scopes":[]}`:                         "scopes",
		`{"scopes":[null]}`:                     "scopes",
		`{"scopes":["x:y"],"name":"changed"}`:   "scopes",
		`{"preset":null}`:                       "preset",
		`{"preset":"none"}`:                     "preset",
		`{"preset":"read","scopes":["*"]}`:      "preset",
		`{"preset":""}`:                         "preset",
		`{"account":"bob"}`:                     "account",
		`{"account":""}`:                        "account",
		`{"resources":["x"]}`:                   "resources",
		`{"resources":["host/*"]}`:              "resources",
		`{"resources":{"unikernel":"a"}}`:       "resources",
		`{"allowed_ips":["x"]}`:                 "allowed_ips",
		`{"allowed_ips":"10.0.0.0/8"}`:          "allowed_ips",
		`{"metadata":{"a":1}}`:                  "metadata",
		`{"metadata":{"k":"` + secret + `"}}`:   "metadata",
		`{"metadata":[]}`:                       "metadata",
		`{"not_before":"2099-01-01T00:00:00Z"}`: "not_before",
		`{"not_before":"soon"}`:                 "not_before",
		`{"expires_at":null}`:                   "expires_at",
		`{"expires_in":60,"expires_at":null}`:   "expires_at",
		`{"expires_at":"2026-01-01T00:00:00Z"}`: "expires_at",
		`{"expires_in":"3y"}`:                   "expires_in",
		`{"expires_in":"never"}`:                "expires_in",
		`{"expires_in":"1mo","expires_at":"2026-05-01T00:00:00Z"}`: "expires_at",
		`{"rate_limit":{"requests":1}}`:                            "rate_limit",
		`{"rate_limit":{"requests":1,"window":null}}`:              "rate_limit",
		`{"rate_limit":{"requests":null,"window":"1m"}}`:           "rate_limit",
		`{"rate_limit":1}`:                                         "rate_limit",
		`{"quota":{"period":"month"}}`:                             "quota",
		`{"quota":{"requests":1,"period":""}}`:                     "quota",
		`{"quota":[]}`:                                             "quota",
		`{"kind":"admin"}`:                                         "kind",
		`{"id":"000000000000"}`:                                    "id",
		`{"status":"active"}`:                                      "status",
		`{"Name":"x"}`:                                             "Name",
		`{"revoked_at":null}`:                                      "revoked_at",
	} {
		w := f.do(http.MethodPatch, "/tokens/"+id, body)
		f.refused(w, 400, "invalid_field", "field="+field)
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Errorf("%s: the response repeats the secret", body)
		}
	}
	f.refused(f.do(http.MethodPatch, "/tokens/"+id, `{"name":"a","name":"b"}`), 400, "invalid_json")
	f.refused(f.do(http.MethodPatch, "/tokens/"+id, `[]`), 400, "invalid_json")
	w := f.do(http.MethodPatch, "/tokens/"+id, `{}`, "Content-Type: ", "Content-Type: application/json-patch+json")
	f.refused(w, 415, "unsupported_media_type")
	if got := w.Header().Get("Accept-Patch"); got != "application/merge-patch+json, application/json" {
		t.Errorf("got Accept-Patch %q", got)
	}
	f.refused(f.do(http.MethodPatch, "/tokens/000000000000", `{"name":"x"}`), 404, "not_found")
	if after := f.do(http.MethodGet, "/tokens/"+id, "").Body.String(); after != before {
		t.Errorf("the token was changed: %s", after)
	}
}

// TestChangeEndedToken verifies that expired and revoked tokens can't become valid again.
func TestChangeEndedToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	revoked, _ := f.create(`{}`)
	readObject(t, f.do(http.MethodPost, "/tokens/"+revoked+"/revoke", ""), 200)
	expired, _ := f.create(`{"expires_in":60}`)
	f.pass(time.Minute)
	for _, id := range []string{revoked, expired} {
		f.refused(f.do(http.MethodPatch, "/tokens/"+id, `{"expires_in":"90d"}`), 409, "conflict")
		f.refused(f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"expires_in":"90d"}`), 409, "conflict")
	}
	body := f.refused(f.do(http.MethodPost, "/tokens/"+revoked+"/enable", ""), 409, "conflict")
	if want := "The token was permanently revoked at 2026-03-01T12:00:00Z; create a new one."; body["detail"] != want {
		t.Errorf("got detail %q, want %q", body["detail"], want)
	}
}

func TestStateChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	for _, step := range []struct{ action, body, status string }{
		{"disable", "", "disabled"},
		{"disable", "{}", "disabled"},
		{"enable", "", "active"},
		{"enable", "", "active"},
		{"disable", "", "disabled"},
		{"revoke", "{}", "revoked"},
		{"revoke", "", "revoked"},
		{"disable", "", "revoked"},
	} {
		w := f.do(http.MethodPost, "/tokens/"+id+"/"+step.action, step.body)
		got := readObject(t, w, http.StatusOK)
		if got["status"] != step.status || f.status(secret) != step.status || w.Header().Get("ETag") == "" {
			t.Errorf("%s: got status %v, but %s in the store", step.action, got["status"], f.status(secret))
		}
	}
	f.refused(f.do(http.MethodPost, "/tokens/"+id+"/revoke", `{"reason":"x"}`), 400, "invalid_field", "field=reason")
	f.refused(f.do(http.MethodPost, "/tokens/000000000000/revoke", ""), 404, "not_found")
	if n := f.logs.FilterMessage("token revoked").Len(); n == 0 {
		t.Error("the change wasn't logged")
	}
}

// versionedCalls are the calls that change a token and support If-Match.
var versionedCalls = []struct{ method, path, body string }{
	{http.MethodPatch, "", `{"name":"x"}`},
	{http.MethodPost, "/rotate", `{}`},
	{http.MethodPost, "/disable", ``},
	{http.MethodPost, "/enable", ``},
	{http.MethodPost, "/revoke", ``},
	{http.MethodDelete, "", ``},
}

// TestIfMatch verifies that each change supports If-Match.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	version := 1
	for _, call := range versionedCalls {
		for _, tag := range []string{`"99"`, `W/"99"`, fmt.Sprint(version), `"x"`, `""`} {
			f.refused(f.do(call.method, "/tokens/"+id+call.path, call.body, "If-Match: "+tag), 412,
				"precondition_failed")
		}
		w := f.do(call.method, "/tokens/"+id+call.path, call.body, fmt.Sprintf(`If-Match: "99", "%d"`, version))
		if w.Code/100 != 2 {
			t.Fatalf("%s %s: got status %d and body %s", call.method, call.path, w.Code, w.Body)
		}
		version++
	}
	other, _ := f.create(`{}`)
	if w := f.do(http.MethodPatch, "/tokens/"+other, `{"name":"y"}`, "If-Match: *"); w.Code != 200 {
		t.Errorf("If-Match *: got status %d", w.Code)
	}
}

// TestOptionalBody verifies that an optional body may be empty, whether or not its length
// is declared, and otherwise must be JSON.
func TestOptionalBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	for _, action := range []string{"rotate", "disable", "enable"} {
		for _, test := range []struct {
			body, contentType string
			length            int64
			status            int
		}{
			{"", "", 0, 200},
			{"", "", -1, 200},
			{"", "application/json", -1, 200},
			{"", "text/plain;charset=UTF-8", 0, 200}, // what a browser's fetch sends for an empty string
			{"{}", "application/json", 2, 200},
			{"{}", "application/json", -1, 200},
			{"{}", "", 2, 415},
			{"{}", "", -1, 415},
			{"{}", "text/plain", -1, 415},
			{"a=b", "application/x-www-form-urlencoded", 3, 415},
			{" ", "application/json", 1, 400},
			{"null", "application/json", 4, 400},
			{"{", "application/json", -1, 400},
			{`{"x":1}`, "application/json", 7, 400},
		} {
			r := httptest.NewRequest(http.MethodPost, "/tokens/"+id+"/"+action,
				io.MultiReader(strings.NewReader(test.body)))
			r.ContentLength = test.length
			if test.contentType != "" {
				r.Header.Set("Content-Type", test.contentType)
			}
			w := f.serve(r)
			if w.Code != test.status {
				t.Errorf("%s with %q, %s, length %d: got status %d and body %s", action, test.body, test.contentType,
					test.length, w.Code, w.Body)
			}
		}
	}
	// A declared body with another media type is refused without being read.
	declared := httptest.NewRequest(http.MethodPost, "/tokens/"+id+"/revoke", new(endless))
	declared.ContentLength = 1000
	w := f.serve(declared)
	f.refused(w, 415, "unsupported_media_type")
	if w.Header().Get("Connection") != "close" {
		t.Error("the connection stayed open with an unread body")
	}
	r := httptest.NewRequest(http.MethodPost, "/tokens/"+id+"/revoke", new(endless))
	r.ContentLength = -1
	f.refused(f.serve(r), 413, "body_too_large")
	if w := f.do(http.MethodGet, "/tokens/"+id, ""); !strings.Contains(w.Body.String(), `"status":"active"`) {
		t.Errorf("a refused call changed the token: %s", w.Body)
	}
}

// TestLostUpdates verifies that only one of several edits with the same ETag succeeds.
func TestLostUpdates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	codes := make(chan int, 24)
	var wait sync.WaitGroup
	for i := range cap(codes) {
		wait.Go(func() {
			codes <- f.do(http.MethodPatch, "/tokens/"+id, fmt.Sprintf(`{"name":"n%d"}`, i), `If-Match: "1"`).Code
		})
	}
	wait.Wait()
	close(codes)
	count := make(map[int]int)
	for code := range codes {
		count[code]++
	}
	if count[200] != 1 || count[412] != cap(codes)-1 {
		t.Errorf("got %v", count)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct{ previous, expires, old string }{
		``:                    {"2026-03-02T12:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{}`:                  {"2026-03-02T12:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{"grace":null}`:      {"2026-03-02T12:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{"grace":"0s"}`:      {"<nil>", "2026-05-30T12:00:00Z", "no such token"},
		`{"grace":0}`:         {"<nil>", "2026-05-30T12:00:00Z", "no such token"},
		`{"grace":"1h"}`:      {"2026-03-01T13:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{"grace":90}`:        {"2026-03-01T12:01:30Z", "2026-05-30T12:00:00Z", "active"},
		`{"grace":"1mo"}`:     {"2026-04-01T12:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{"grace":"2y"}`:      {"2026-05-30T12:00:00Z", "2026-05-30T12:00:00Z", "active"},
		`{"expires_in":"1y"}`: {"2026-03-02T12:00:00Z", "2027-03-01T12:00:00Z", "active"},
		`{"expires_at":"2026-03-01T18:00:00Z","grace":"1h"}`: {"2026-03-01T13:00:00Z", "2026-03-01T18:00:00Z",
			"active"},
	} {
		f := newFixture(t)
		id, old := f.create(`{}`)
		f.set(start.Truncate(time.Second))
		w := f.do(http.MethodPost, "/tokens/"+id+"/rotate", body)
		got := readObject(t, w, http.StatusOK)
		secret, _ := got["token"].(string)
		if got["id"] != id || fmt.Sprint(got["previous_valid_until"]) != want.previous ||
			got["expires_at"] != want.expires || f.status(old) != want.old || f.status(secret) != "active" {
			t.Errorf("%s: got %v, and the old secret is %s", body, got, f.status(old))
		}
		if shown := f.do(http.MethodGet, "/tokens/"+id, "").Body.String(); strings.Contains(shown, secret[17:]) ||
			strings.Contains(shown, `"token":`) {
			t.Errorf("%s: the response contains the secret again", body)
		}
	}
}

func TestRotateRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, secret := f.create(`{}`)
	for body, field := range map[string]string{
		`{"grace":"never"}`:                     "grace",
		`{"grace":"1m"}`:                        "grace",
		`{"grace":-1}`:                          "grace",
		`{"grace":1.5}`:                         "grace",
		`{"grace":true}`:                        "grace",
		`{"grace":"` + secret + `"}`:            "grace",
		`{"expires_in":"3y"}`:                   "expires_in",
		`{"expires_in":"never"}`:                "expires_in",
		`{"expires_at":"2020-01-01T00:00:00Z"}`: "expires_at",
		`{"name":"x"}`:                          "name",
	} {
		w := f.do(http.MethodPost, "/tokens/"+id+"/rotate", body)
		f.refused(w, 400, "invalid_field", "field="+field)
		if strings.Contains(w.Body.String(), secret[17:]) {
			t.Errorf("%s: the response repeats the secret", body)
		}
	}
	f.refused(f.do(http.MethodPost, "/tokens/000000000000/rotate", ""), 404, "not_found")
	f.refused(f.do(http.MethodPost, "/tokens/"+id+"/rotate", "", "Idempotency-Key: a"), 400, "invalid_request")
	if f.status(secret) != "active" {
		t.Error("a refused rotation invalidated the secret")
	}
}

// TestEditOverlap moves and ends the time during which the old secret still works.
func TestEditOverlap(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct{ previous, old string }{
		`{"previous_valid_until":null}`: {
			"<nil>", "no such token"},
		`{"previous_valid_until":"2026-03-01T12:00:01.9Z"}`: {
			"2026-03-01T12:00:01Z", "active"},
		`{"previous_valid_until":"2026-04-01T14:00:00+02:00"}`: {
			"2026-04-01T12:00:00Z", "active"},
		`{"previous_valid_until":"2026-06-01T00:00:00Z","expires_in":"92d"}`: {
			"2026-06-01T00:00:00Z", "active"},
		`{"previous_valid_until":null,"expires_at":"2026-03-01T12:00:05Z","name":"new"}`: {
			"<nil>", "no such token"},
	} {
		f := newFixture(t)
		id, old := f.create(`{"expires_in":"90d"}`)
		f.set(start.Truncate(time.Second))
		secret, _ := readObject(t, f.do(http.MethodPost, "/tokens/"+id+"/rotate", ""), http.StatusOK)["token"].(string)
		got := readObject(t, f.do(http.MethodPatch, "/tokens/"+id, body), http.StatusOK)
		if fmt.Sprint(got["previous_valid_until"]) != want.previous || f.status(old) != want.old ||
			f.status(secret) != "active" {
			t.Errorf("%s: got %v, and the old secret is %s", body, got, f.status(old))
		}
	}

	f := newFixture(t)
	id, old := f.create(`{"expires_in":"90d"}`)
	refused := func(body string) {
		t.Helper()
		f.refused(f.do(http.MethodPatch, "/tokens/"+id, body), 400, "invalid_field", "field=previous_valid_until")
	}
	refused(`{"previous_valid_until":"2026-03-02T12:00:00Z"}`) // not rotated
	f.set(start.Truncate(time.Second))
	readObject(t, f.do(http.MethodPost, "/tokens/"+id+"/rotate", `{"grace":"1h"}`), http.StatusOK)
	for _, body := range []string{
		`{"previous_valid_until":"2026-03-01T12:00:00Z"}`,
		`{"previous_valid_until":"2026-05-30T12:00:01Z"}`,
		`{"previous_valid_until":"2026-03-01T14:00:00Z","expires_at":"2026-03-01T13:00:00Z"}`,
		`{"previous_valid_until":"tomorrow"}`,
		`{"previous_valid_until":3600}`,
	} {
		refused(body)
	}
	if f.status(old) != "active" {
		t.Error("a refused edit ended the old secret")
	}
	// An old secret that has ended can't be revived.
	f.set(start.Truncate(time.Second).Add(time.Hour))
	refused(`{"previous_valid_until":"2026-03-02T12:00:00Z"}`)
	if f.status(old) == "active" {
		t.Error("the old secret works again")
	}
}

// TestIdempotentCreate verifies that repeating a request doesn't create a second token.
func TestIdempotentCreate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = `{"name":"a","preset":"read","expires_in":"90d"}`
	key := "Idempotency-Key: 8e03978e-40d5-43e8-bc93-6894a57f9324"
	responses := make(chan *httptest.ResponseRecorder, 32)
	var wait sync.WaitGroup
	for range cap(responses) {
		wait.Go(func() { responses <- f.do(http.MethodPost, "/tokens", body, key) })
	}
	wait.Wait()
	close(responses)
	created := 0
	ids := make(map[any]bool)
	for w := range responses {
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		ids[got["id"]] = true
		_, hasSecret := got["token"]
		replayed := w.Header().Get("Idempotency-Replayed") == "true"
		if w.Code == http.StatusCreated {
			created++
		}
		if (w.Code == http.StatusCreated) != hasSecret || (w.Code == http.StatusOK) != replayed {
			t.Errorf("got status %d, replayed %v, has secret %v", w.Code, replayed, hasSecret)
		}
	}
	if created != 1 || len(ids) != 1 {
		t.Errorf("%d tokens with %d IDs were created, want one", created, len(ids))
	}
	// Repeat the request with different formatting, send a different request, then use a
	// different key.
	if w := f.do(http.MethodPost, "/tokens", ` { "preset":"read", "expires_in":"90d", "n\u0061me":"a" } `,
		key); w.Code != http.StatusOK {
		t.Errorf("different formatting: got status %d and body %s", w.Code, w.Body)
	}
	f.refused(f.do(http.MethodPost, "/tokens", strings.Replace(body, "90d", "91d", 1), key), 422,
		"idempotency_mismatch")
	if w := f.do(http.MethodPost, "/tokens", body, "Idempotency-Key: another"); w.Code != http.StatusCreated {
		t.Errorf("different key: got status %d", w.Code)
	}
	for _, bad := range []string{"\u00e4", "a b", strings.Repeat("a", 256), vector} {
		f.refused(f.do(http.MethodPost, "/tokens", body, "Idempotency-Key: "+bad), 400, "invalid_request")
	}
	f.refused(f.do(http.MethodPost, "/tokens", body, "Idempotency-Key: a", "Idempotency-Key: b"), 400,
		"invalid_request")
	f.pass(tokenstore.RequestRetention)
	if w := f.do(http.MethodPost, "/tokens", body, key); w.Code != http.StatusCreated {
		t.Errorf("a day later: got status %d", w.Code)
	}
}

func TestAcceptClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, secret := f.create(`{"expires_in":"90d"}`)
	f.pass(100 * 24 * time.Hour)
	f.create(`{}`)
	f.set(start.Add(time.Hour))
	if got := f.status(secret); got != "expired" {
		t.Fatal(got)
	}
	if got := readObject(t, f.do(http.MethodGet, "/healthz", ""), 200); got["warning"] == nil {
		t.Error("healthz returned no warning")
	}
	got := readObject(t, f.do(http.MethodPost, "/clock", ""), 200)
	if got["changed"] != true || got["from"] != "2026-06-09T12:00:00Z" || got["to"] != "2026-03-01T13:00:00Z" ||
		f.status(secret) != "active" {
		t.Errorf("got %v, and the token is %s", got, f.status(secret))
	}
	if got := readObject(t, f.do(http.MethodPost, "/clock", "{}"), 200); got["changed"] != false {
		t.Errorf("got %v", got)
	}
	if got := readObject(t, f.do(http.MethodGet, "/healthz", ""), 200); got["warning"] != nil {
		t.Errorf("got %v", got)
	}

	// The clock is ahead of the elapsed time.
	f.set(start.AddDate(10, 0, 0))
	if got := readObject(t, f.do(http.MethodGet, "/healthz", ""), 200); !strings.Contains(fmt.Sprint(got["warning"]),
		"clock accept") {
		t.Errorf("healthz with a clock that is ahead: got %v", got)
	}
	if got := readObject(t, f.do(http.MethodPost, "/clock", ""), 200); got["changed"] != true ||
		got["to"] != "2036-03-01T12:00:00Z" {
		t.Errorf("got %v", got)
	}
	if got := readObject(t, f.do(http.MethodGet, "/healthz", ""), 200); got["warning"] != nil {
		t.Errorf("got %v", got)
	}
}
