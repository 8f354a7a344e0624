package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// one is a backend with a single token. It doesn't save changes.
type one struct {
	memory
	token *token.Token
}

func (o one) Apply(_ token.ID, _ time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	changed, err := change(o.token)
	return changed.Token, err
}

func (o one) Token(token.ID) (*token.Token, error) { return o.token, nil }

func (one) Usage(token.ID, tokenstore.Day, tokenstore.Day) (tokenstore.Usage, tokenstore.FlushState, error) {
	return tokenstore.Usage{}, tokenstore.FlushState{}, nil
}

// fuzzed is the token to change.
var fuzzed = &token.Token{
	ID: token.ID([]byte("4fQ9Zt2LkVb7")), Terms: token.Terms{Kind: token.KindAPI, Account: "alice",
		Scopes: token.Grants{"unikernel:list"}}, Format: token.FormatNative, Prefix: "mm",
	Name: "ci", Metadata: map[string]string{"a": "1", "b": "2"},
	CreatedAt: start, UpdatedAt: start.Truncate(time.Second), SecretMadeAt: start.Truncate(time.Second),
	NotBefore: start.Truncate(time.Second).Add(-time.Hour), ExpiresAt: start.Truncate(time.Second).AddDate(0, 3, 0),
	Digest: token.Digest{1}, Version: 1,
}

// fuzzHandler returns a function that calls a handler backed by the backend.
func fuzzHandler(f *testing.F, backend tokenstore.Backend) func(t *testing.T, body string, r *http.Request) (status int,
	response map[string]any) {
	store, err := tokenstore.Open(backend, tokenstore.Options{
		Clock:         tokenstore.ClockFunc(func() time.Time { return start }),
		FlushInterval: -1,
	})
	if err != nil {
		f.Fatal(err)
	}
	handler := New(Config{
		Store:        func(context.Context) (*tokenstore.Store, error) { return store, nil },
		Policy:       testPolicy,
		Authenticate: func(*http.Request) (tokenstore.Actor, *Refusal) { return tokenstore.Actor{Name: "fuzz"}, nil },
	})
	return func(t *testing.T, body string, r *http.Request) (status int, response map[string]any) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil || !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("the response to %q isn't JSON: %q", body, w.Body)
		}
		if code, _ := response["code"].(string); w.Code != http.StatusOK && w.Code != http.StatusCreated &&
			!slices.Contains([]string{codeInvalidJSON, codeInvalidField, codeBodyTooLarge, codePrecondition}, code) {
			t.Fatalf("%q: got status %d and body %s", body, w.Code, w.Body)
		}
		return w.Code, response
	}
}

func jsonRequest(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// FuzzPatchJSON sends bodies to PATCH /tokens/{id}. If a body is accepted, it compares the
// token with the result of applying RFC 7396 to the output of a different parser.
func FuzzPatchJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"name":"new","account":null,"scopes":["*"],"allowed_ips":["203.0.113.0/24"],"metadata":{"a":null,` +
			`"c":"3"},"not_before":null,"expires_in":"1mo"}`,
		`{"preset":"full","metadata":null,"allowed_ips":null,"expires_at":"2026-06-01T00:00:00Z",` +
			`"rate_limit":null,"quota":null}`,
		`{"rate_limit":{"requests":60,"window":"1m"},"quota":{"requests":1,"period":"day"}}`,
		`{"rate_limit":{},"quota":{"period":"month"}}`,
		`{"expires_at":null,"expires_in":3600}`, `{"metadata":{"A":"x"}}`, `{"metadata":{"a":null,"A":"x"}}`,
		`{"metadata":{"":null}}`,
		`{"name":null}`, `{"scopes":null}`, `{"kind":"admin"}`, `{"name":"a","n\u0061me":"b"}`,
		`{"metadata":{"a":{"b":null}}}`, `[]`, `null`,
	} {
		f.Add(seed)
	}
	patch := fuzzHandler(f, one{token: fuzzed})
	f.Fuzz(func(t *testing.T, body string) {
		status, got := patch(t, body, jsonRequest(http.MethodPatch, "/tokens/"+fuzzed.ID.String(), body))
		if status != http.StatusOK {
			return
		}
		var in map[string]any
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatalf("%q was accepted, but another parser refused it: %v", body, err)
		}
		want := map[string]any{"name": "ci", "account": "alice", "metadata": map[string]any{"a": "1", "b": "2"}}
		for member, value := range in {
			switch member {
			case "account":
				if value == nil {
					value = "default"
				}
				want[member] = value
			case "metadata":
				merged := want[member].(map[string]any)
				if value == nil {
					clear(merged)
				}
				for key, entry := range orNone(value) {
					if merged[key] = entry; entry == nil {
						delete(merged, key)
					}
				}
			case "name":
				want[member] = value
			case "scopes", "preset", "allowed_ips", "not_before", "expires_at", "expires_in":
			case "rate_limit", "quota":
				if (value == nil) != (got[member] == nil) && len(orNone(value)) > 0 {
					t.Errorf("%q: got unexpected %s %v", body, member, got[member])
				}
			default:
				t.Errorf("%q was accepted", body)
			}
		}
		if got["name"] != want["name"] || got["account"] != want["account"] ||
			!maps.Equal(orNone(got["metadata"]), want["metadata"].(map[string]any)) {
			t.Errorf("%q: got %v", body, got)
		}
		for _, member := range []string{"allowed_ips", "not_before"} {
			if value, given := in[member]; given && (value == nil) != (got[member] == nil) &&
				fmt.Sprint(value) != "[]" {
				t.Errorf("%q: got unexpected %s %v", body, member, got[member])
			}
		}
		if got["kind"] != "api" || got["expires_at"] == nil || got["status"] == "expired" ||
			len(got["scopes"].([]any)) == 0 {
			t.Errorf("%q: got %v", body, got)
		}
	})
}

func orNone(value any) map[string]any {
	object, _ := value.(map[string]any)
	return object
}

// FuzzRotateJSON sends bodies to POST /tokens/{id}/rotate. It checks that the old secret
// never outlives the token's old expiry, and that the new secret is valid.
func FuzzRotateJSON(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"grace":"0s"}`, `{"grace":0}`, `{"grace":-0}`, `{"grace":null,"expires_in":"2y"}`,
		`{"grace":"9999y"}`, `{"grace":9223372036854775807}`,
		`{"grace":"1mo","expires_at":"2026-04-01T00:00:00Z"}`, `{"grace":"never"}`, `{"grace":{"grace":"0s"}}`,
		`{"expires_in":"never"}`, ` `,
	} {
		f.Add(seed)
	}
	rotate := fuzzHandler(f, one{token: fuzzed})
	f.Fuzz(func(t *testing.T, body string) {
		status, got := rotate(t, body, jsonRequest(http.MethodPost, "/tokens/"+fuzzed.ID.String()+"/rotate", body))
		if status != http.StatusOK {
			return
		}
		secret, _ := got["token"].(string)
		if credential, err := testPolicy.Prefixes.Parse(secret); err != nil || credential.ID != fuzzed.ID {
			t.Errorf("%q: got %v", body, got)
		}
		if until, set := got["previous_valid_until"].(string); set {
			end, err := time.Parse(time.RFC3339, until)
			if err != nil || !end.After(start) || end.After(fuzzed.ExpiresAt) {
				t.Errorf("%q: the old secret is valid until %s", body, until)
			}
		}
		if end, err := time.Parse(time.RFC3339, fmt.Sprint(got["expires_at"])); err != nil || !end.After(start) ||
			end.After(start.AddDate(2, 0, 0)) {
			t.Errorf("%q: the token expires at %v", body, got["expires_at"])
		}
	})
}

// FuzzImportJSON sends records to POST /import. It checks that each token is imported or
// skipped, and that no response contains a token's value.
func FuzzImportJSON(f *testing.F) {
	tokens := recordToken("ci", uuidOne, 29030400, recently) + "," + recordToken(uuidOne, uuidTwo, 1<<62, recently) +
		"," + recordToken("", "x", -1, "")
	for _, seed := range []string{
		userRecord(tokens), `{"status":200,"data":` + userRecord(tokens) + `}`, `{"tokens":[]}`, `{"tokens":null}`,
		`{"tokens":[{}]}`, `{"data":{"data":{"tokens":[]}}}`,
		`{"tokens":[{"name":"\u202e\u0000` + uuidOne + `","value":"` + uuidOne +
			`","created_at":"9999-12-31 23:59:59-00:00","expires_in":1}]}`,
		`{"tokens":[{"name":"\u202ex0000` + uuidOne + `_","value":"` + uuidOne + `","expires_in":1}]}`, `[]`, `null`,
		`"x"`, `{"tokens":{}}`,
	} {
		f.Add(seed)
	}
	take := fuzzHandler(f, memory{})
	f.Fuzz(func(t *testing.T, data string) {
		body := `{"format":"mollymawk","data":` + data + `}`
		status, got := take(t, body, jsonRequest(http.MethodPost, "/import", body))
		if status != http.StatusOK {
			return
		}
		type record struct {
			Tokens []struct{ Value, Name string } `json:"tokens"`
		}
		var in struct {
			Data struct {
				record
				Data *record `json:"data"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatalf("%q was accepted, but another parser refused it: %v", body, err)
		}
		all := in.Data.Tokens
		if all == nil && in.Data.Data != nil {
			all = in.Data.Data.Tokens
		}
		taken, _ := got["imported"].([]any)
		skipped, _ := got["skipped"].([]any)
		if len(taken)+len(skipped) != len(all) {
			t.Errorf("%q: got %v", body, got)
		}
		for _, token := range all {
			if _, err := testPolicy.Prefixes.Parse(token.Value); err == nil &&
				strings.Contains(fmt.Sprint(got), token.Value) {
				t.Errorf("%q: the response contains a token's value: %v", body, got)
			}
		}
	})
}
