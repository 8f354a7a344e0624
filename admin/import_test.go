package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// userRecord returns the user record in Mollymawk's sign-in response. The parts that must
// not appear in any response or log are marked.
func userRecord(tokens string) string {
	return `{"name":"alice","email":"alice@example.com","email_verified":null,"password":"SECRET-hash",` +
		`"uuid":"0c4b8a52-1111-4222-8333-944455556666",` +
		`"tokens":[` + tokens +
		`],"cookies":[{"name":"molly_session","value":"SECRET-cookie","expires_in":604800}],"active":true,` +
		`"super_user":false,"unikernel_updates":[]}`
}

func recordToken(name, value string, expiresIn int64, created string) string {
	return fmt.Sprintf(
		`{"token_type":"Bearer","value":%q,"expires_in":%d,"created_at":%q,"last_access":%q,"name":%q,`+
			`"usage_count":68}`, value, expiresIn, created, created, name)
}

const (
	uuidOne   = "d9428888-122b-41e1-b85c-61fa1f9d5c2e"
	uuidTwo   = "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a10"
	uuidThree = "6f1c9b1e-0d5e-4c1a-8a57-2f4f1f0e9b33"
	recently  = "2026-02-01 12:00:00-00:00"
)

// TestImport imports a user record and verifies that the user's tokens still work.
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
		t.Fatalf("got status %d and body %s", w.Code, w.Body)
	}
	if len(got.Imported) != 3 {
		t.Errorf("unexpected imported tokens in response %s", w.Body)
	}
	var reasons []string
	for _, s := range got.Skipped {
		reasons = append(reasons, s.Name+": "+s.Reason)
	}
	want := "over: it has expired|negative: it has expired|broken: value: is not a Mollymawk token, which is a " +
		"version 4 UUID in lower case|" +
		"when: its created_at isn't in Mollymawk's time format|holds mmk_4fQ9Zt2LkVb7_REDACTED: its name contains " +
		"a token|again: it is already imported"
	if strings.Join(reasons, "|") != want {
		t.Errorf("got skipped tokens\n%s\nwant\n%s", strings.Join(reasons, "|"), want)
	}
	if !strings.Contains(w.Body.String(),
		`"capped":[{"id":"`+got.Imported[1]+`","name":"long","expires_at":"2028-03-01T12:00:00Z"}]`) {
		t.Errorf("unexpected capped tokens in response %s", w.Body)
	}
	for _, secret := range []string{"SECRET", uuidOne, uuidTwo} {
		if strings.Contains(w.Body.String(), secret) || strings.Contains(fmt.Sprint(f.logs.All()), secret) {
			t.Errorf("%s appears in the response or the log", secret)
		}
	}
	first := readObject(t, f.do(http.MethodGet, "/tokens/"+got.Imported[0], ""), 200)
	for name, want := range map[string]any{
		"name": "ci", "account": "alice", "format": "imported", "token_hint": nil, "status": "active",
		"expires_at": "2027-01-03T12:00:00Z", "usage_count": 0.0, "created_by": "caddy-admin",
	} {
		if first[name] != want {
			t.Errorf("%s is %v, want %v", name, first[name], want)
		}
	}
	if fmt.Sprint(first["scopes"]) != "[*]" || f.status(uuidOne) != "active" || f.status(uuidTwo) != "active" {
		t.Errorf("got scopes %v, statuses %s and %s", first["scopes"], f.status(uuidOne), f.status(uuidTwo))
	}
	if unnamed := readObject(t, f.do(http.MethodGet, "/tokens/"+got.Imported[2], ""),
		200); unnamed["name"] != "imported from Mollymawk" {
		t.Errorf("got %v", unnamed["name"])
	}
	// Importing the whole sign-in response again is harmless.
	w = f.do(http.MethodPost, "/import",
		`{"format":"mollymawk","data":{"status":200,"title":"Success","success":true,"data":`+record+`}}`)
	if !strings.HasPrefix(w.Body.String(), `{"imported":[],"skipped":[`) {
		t.Errorf("importing again: got response %s", w.Body)
	}
}

func TestImportScopes(t *testing.T) {
	t.Parallel()
	for grant, want := range map[string]string{
		`"preset":"read"`:             "[unikernel:list volume:list]",
		`"scopes":["unikernel:list"]`: "[unikernel:list]",
	} {
		f := newFixture(t)
		w := f.do(http.MethodPost, "/import", `{"format":"mollymawk",`+grant+`,"data":`+
			userRecord(recordToken("ci", uuidOne, 29030400, recently))+`}`)
		ids, _ := readObject(t, w, 200)["imported"].([]any)
		if len(ids) != 1 {
			t.Fatalf("got response %s", w.Body)
		}
		if token := readObject(t, f.do(http.MethodGet, "/tokens/"+ids[0].(string), ""),
			200); fmt.Sprint(token["scopes"]) != want {
			t.Errorf("%s: got %v", grant, token["scopes"])
		}
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	record := userRecord(recordToken("ci", uuidOne, 29030400, recently))
	for body, field := range map[string]string{
		`{"data":` + record + `}`:                                       "format",
		`{"format":"csv","data":` + record + `}`:                        "format",
		`{"format":"mollymawk"}`:                                        "data",
		`{"format":"mollymawk","data":[]}`:                              "data",
		`{"format":"mollymawk","data":{}}`:                              "data",
		`{"format":"mollymawk","data":{"tokens":7}}`:                    "data",
		`{"format":"mollymawk","data":{"tokens":[{"expires_in":"x"}]}}`: "data",
		`{"format":"mollymawk","account":"bob","data":` + record + `}`:  "account",
		`{"format":"mollymawk","account":"","data":` + record + `}`:     "account",
		`{"format":"mollymawk","preset":"none","data":` + record + `}`:  "preset",
		`{"format":"mollymawk","preset":"","data":` + record + `}`:      "preset",
		`{"format":"mollymawk","data":{"status":400,"title":"400","success":false,` +
			`"data":"Invalid email or password."}}`: "data",
		`{"format":"mollymawk","scopes":["x:y"],"data":` + record +
			`}`: "scopes",
		`{"format":"mollymawk","preset":"read","scopes":["*"],"data":` + record + `}`: "preset",
		`{"format":"mollymawk","users":1,"data":` + record + `}`:                      "users",
	} {
		w := f.do(http.MethodPost, "/import", body)
		f.refused(w, 400, "invalid_field", "field="+field)
		if strings.Contains(w.Body.String(), "SECRET") || strings.Contains(w.Body.String(), uuidOne) {
			t.Errorf("the response repeats a secret: %s", w.Body)
		}
	}
	if w := f.do(http.MethodGet, "/tokens?count=true", ""); !strings.Contains(w.Body.String(), `"total":0`) {
		t.Errorf("a token was imported: %s", w.Body)
	}
}

// TestImportSignInResponse imports a Mollymawk sign-in response, with and without its
// envelope.
func TestImportSignInResponse(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{true, false} {
		f := newFixture(t)
		backend := mollymawktest.New(t, mollymawktest.Options{Clock: func() time.Time { return start.Add(-time.Hour) }})
		value := backend.AddToken("alice", "ci", 28*24*time.Hour)
		backend.AddToken("alice", "old", time.Minute)
		response, err := http.Post(backend.URL()+"/api/login", "application/json",
			strings.NewReader(`{"email":"alice@example.com","password":"`+mollymawktest.Password+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var envelope struct{ Data json.RawMessage }
		record, err := io.ReadAll(response.Body)
		if err != nil || json.Unmarshal(record, &envelope) != nil {
			t.Fatalf("got record %s, err %v", record, err)
		}
		if !whole {
			record = envelope.Data
		}
		w := f.do(http.MethodPost, "/import", `{"format":"mollymawk","account":"alice","preset":"read","data":`+
			string(record)+`}`)
		got := readObject(t, w, 200)
		ids, _ := got["imported"].([]any)
		if len(ids) != 1 || fmt.Sprint(got["skipped"]) != "[map[name:old reason:it has expired]]" ||
			f.status(value) != "active" {
			t.Fatalf("whole %v: got response %s, and the token is %s", whole, w.Body, f.status(value))
		}
		// The token expires at the same time as it would in Mollymawk.
		if token := readObject(t, f.do(http.MethodGet, "/tokens/"+ids[0].(string), ""),
			200); token["expires_at"] != "2026-03-29T11:00:00Z" || token["name"] != "ci" {
			t.Errorf("got %v", token)
		}
	}
}

// TestImportedNames imports tokens with unusual names. Mollymawk accepts any name, even
// the token's own value, which must not appear anywhere.
func TestImportedNames(t *testing.T) {
	t.Parallel()
	const hidden = "d9428888-122b-41e1-\u200bb85c-61fa1f9d5c2e"
	for name, want := range map[string]string{
		"ci":                                 "ci",
		" ci\n\t":                            "ci",
		"a\u202eb\u0000c\u2028":              "abc",
		"\u200b":                             "imported from Mollymawk",
		strings.Repeat("ü", 150):             strings.Repeat("ü", 100),
		strings.Repeat("ü", 99) + " b":       strings.Repeat("ü", 99),
		uuidOne:                              "REDACTED",
		"of alice: " + uuidTwo + "!":         "of alice: REDACTED!",
		strings.ToUpper(uuidOne):             "REDACTED",
		strings.ReplaceAll(uuidOne, "-", ""): "REDACTED",
		hidden:                               "REDACTED",
		"x0000" + uuidOne + "_ and 00000000000000000000000000000000" + uuidOne: "xREDACTED_ and REDACTED",
		"mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5Kc":                                  "mmk_4fQ9Zt2LkVb7_REDACTED",
		strings.Repeat("x", 80) + " mmk_4fQ9Zt2LkVb7_N": strings.Repeat("x", 80) +
			" mmk_4fQ9Zt2LkVb7_RE",
		"<script>alert(1)</script>": "<script>alert(1)</script>",
	} {
		f := newFixture(t)
		for i, seconds := range []int64{29030400, 60} { // imported, then skipped
			text, _ := json.Marshal(name)
			record := fmt.Sprintf(`{"tokens":[{"value":%q,"expires_in":%d,"created_at":%q,"name":%s}]}`, uuidOne,
				seconds, recently, text)
			w := f.do(http.MethodPost, "/import", `{"format":"mollymawk","data":`+record+`}`)
			got := readObject(t, w, 200)
			for _, skipped := range got["skipped"].([]any) {
				if shown := skipped.(map[string]any)["name"]; shown != want {
					t.Errorf("%q was reported as %q, want %q", name, shown, want)
				}
			}
			if n := len(got["imported"].([]any)); n != 1-i {
				t.Fatalf("%q: got response %s", name, w.Body)
			}
		}
		for _, target := range []string{"/tokens", "/audit"} {
			w := f.do(http.MethodGet, target, "")
			readObject(t, w, 200)
			if text, _ := json.Marshal(want); !strings.Contains(unescapeHTML(w.Body.String()),
				unescapeHTML(string(text))) {
				t.Errorf("%q: %s is %s", name, target, w.Body)
			}
			if seen := w.Body.String() + fmt.Sprint(f.logs.All()); strings.Contains(seen, uuidOne) ||
				strings.Contains(seen, uuidOne[9:]) {
				t.Errorf("%q: a secret appears in a response or the log", name)
			}
		}
	}
}

func unescapeHTML(text string) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(text)
}

// TestImportContinues verifies that an invalid token doesn't keep the other tokens from
// being imported.
func TestImportContinues(t *testing.T) {
	t.Parallel()
	unlimited := func(c *Config) { c.Policy.MaxLifetime = token.Lifetime{} }
	for name, f := range map[string]*fixture{"limited": newFixture(t), "unlimited": newFixture(t, unlimited)} {
		record := userRecord(strings.Join([]string{
			recordToken("first", uuidOne, 29030400, recently),
			recordToken("future", uuidTwo, 29030400, "9999-12-01 12:00:00-00:00"),
			recordToken("no such day", uuidTwo, 29030400, "2026-02-30 12:00:00-00:00"),
			recordToken("least", uuidTwo, -1<<63, recently),
			recordToken("in nanoseconds 292 years", "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a12", -9223372037, recently),
			recordToken("upper case", strings.ToUpper(uuidTwo), 29030400, recently),
			recordToken("most", "0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a11", 1<<63-1, recently),
			`{"value":"` + uuidTwo + `","name":"without times"}`,
			`{}`,
			recordToken("last", uuidThree, 29030400, recently),
		}, ","))
		w := f.do(http.MethodPost, "/import", `{"format":"mollymawk","data":`+record+`}`)
		got := readObject(t, w, 200)
		if f.status(uuidOne) != "active" || f.status(uuidThree) != "active" ||
			len(got["imported"].([]any))+len(got["skipped"].([]any)) != 10 ||
			f.status("0b5e7a52-6a31-4b8c-9d2f-3f1c5f1f7a12") != "no such token" {
			t.Errorf("%s: got response %s", name, w.Body)
		}
	}
}

// breaking is a backend that fails after a number of changes.
type breaking struct {
	tokenstore.Backend
	left atomic.Int64
}

func (b *breaking) Apply(id token.ID, now time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	if b.left.Add(-1) < 0 {
		return nil, errors.New("the disk is on fire")
	}
	return b.Backend.Apply(id, now, change)
}

// TestImportWithFailingStore verifies that a failed import can be repeated, and that the
// response says so.
func TestImportWithFailingStore(t *testing.T) {
	t.Parallel()
	backend, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	failing := &breaking{Backend: backend}
	failing.left.Store(1)
	clock := tokenstore.ClockFunc(func() time.Time { return start })
	store, err := tokenstore.Open(failing, tokenstore.Options{Clock: clock, FlushInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f := newFixture(t, func(c *Config) {
		c.Store = func(context.Context) (*tokenstore.Store, error) { return store, nil }
	})
	body := `{"format":"mollymawk","data":` + userRecord(recordToken("a", uuidOne, 29030400, recently)+","+
		recordToken("b", uuidTwo, 29030400, recently)) + `}`
	problem := f.refused(f.do(http.MethodPost, "/import", body), 503, "store_unavailable")
	if detail, _ := problem["detail"].(string); !strings.Contains(detail, "Run the import again") {
		t.Errorf("got detail %q", detail)
	}
	failing.left.Store(10)
	got := readObject(t, f.do(http.MethodPost, "/import", body), 200)
	if len(got["imported"].([]any)) != 1 ||
		fmt.Sprint(got["skipped"]) != "[map[name:a reason:it is already imported]]" {
		t.Errorf("got %v", got)
	}
}
