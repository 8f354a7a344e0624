package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// FuzzCreateJSON sends bodies to POST /tokens. It checks that each response is 201 or a
// known refusal, that an accepted body is unambiguous, and that the token matches the
// body.
func FuzzCreateJSON(f *testing.F) {
	for _, seed := range []string{
		goodBody,
		`{"name":"CI","kind":"api","account":"alice","scopes":["unikernel:*","volume:list"],` +
			`"allowed_ips":["203.0.113.0/24","::1"],` +
			`"rate_limit":{"requests":60,"window":"1m"},"quota":null,"metadata":{"team":"infra","":""},` +
			`"not_before":"2026-04-01T00:00:00+02:00","expires_at":"2026-06-01T00:00:00Z"}`,
		`{"kind":"admin","name":"\u00fc\ud83d\ude00","expires_in":3600,"scopes":null,"preset":null}`,
		`{"name":"a","expires_in":"never","preset":"full","metadata":{"K":"1","\u212a":"2"}}`,
		`{"name":"a","name":"b"}`,
		`{"name":"a","\u006eame":"b"}`,
		`{"name":"a","preset":"read","expires_in":"90d","ſcopes":["*"]}`,
		`{"name":"a","expires_in":1e3}`,
		`{"name":"a","expires_in":9223372036854775808}`,
		`{"name":"a","expires_at":"2026-11-23T23:59:60Z"}`,
		`{"name":"` + vector + `","expires_in":"1d","preset":"read"}`,
		`{"scopes":[null,["*"]],"metadata":{"a":{"b":[1]}}}`,
		`[{}]`, `null`, `{}`, `{}{}`, "\ufeff{}", `{"a":` + strings.Repeat("[", 40), "{\"\xff\":1}",
		`{"name":"\ud800"}`, "",
	} {
		f.Add([]byte(seed))
	}
	create := fuzzHandler(f, memory{})
	f.Fuzz(func(t *testing.T, body []byte) {
		status, got := create(t, string(body), jsonRequest(http.MethodPost, "/tokens", string(body)))
		if status != http.StatusCreated {
			return
		}
		if twice := doubleName(body); twice != "" {
			t.Fatalf("%q contains %q twice but was accepted", body, twice)
		}
		response, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		sameMeaning(t, body, response)
	})
}

// doubleName returns a name that occurs twice in an object, in any letter case, or "". It
// uses a parser and a comparison that differ from the decoder's.
func doubleName(body []byte) string {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	var walk func() string
	walk = func() string {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		delim, ok := token.(json.Delim)
		if !ok {
			return ""
		}
		var names []string
		for dec.More() {
			if delim == '{' {
				token, err := dec.Token()
				if err != nil {
					return ""
				}
				name := token.(string)
				if slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(name, other) }) {
					return name
				}
				names = append(names, name)
			}
			if twice := walk(); twice != "" {
				return twice
			}
		}
		if _, err := dec.Token(); err != nil {
			return ""
		}
		return ""
	}
	return walk()
}

// sameMeaning compares the token with the body as read by a different parser.
func sameMeaning(t *testing.T, body, response []byte) {
	t.Helper()
	var in, out struct {
		Name       string            `json:"name"`
		Kind       *string           `json:"kind"`
		Account    *string           `json:"account"`
		Scopes     []string          `json:"scopes"`
		Preset     *string           `json:"preset"`
		AllowedIPs []string          `json:"allowed_ips"`
		Metadata   map[string]string `json:"metadata"`
		ExpiresAt  *time.Time        `json:"expires_at"`
		NotBefore  *time.Time        `json:"not_before"`
		Token      string            `json:"token"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Fatalf("%q was accepted, but another parser refused it: %v", body, err)
	}
	if err := json.Unmarshal(response, &out); err != nil {
		t.Fatal(err)
	}
	kind, account := "api", "default"
	if in.Kind != nil {
		kind = *in.Kind
	}
	if in.Account != nil {
		account = *in.Account
	}
	if kind == "api" && (out.Account == nil || *out.Account != account) || kind == "admin" && out.Account != nil {
		t.Errorf("%q: got account %v", body, out.Account)
	}
	if in.Name != out.Name || *out.Kind != kind || !maps.Equal(in.Metadata, out.Metadata) {
		t.Errorf("%q resulted in %s", body, response)
	}
	if in.Preset == nil {
		slices.Sort(in.Scopes)
		if !slices.Equal(slices.Compact(in.Scopes), out.Scopes) {
			t.Errorf("%q: got scopes %v", body, out.Scopes)
		}
	}
	if len(out.AllowedIPs) > len(in.AllowedIPs) || (len(out.AllowedIPs) == 0) != (len(in.AllowedIPs) == 0) {
		t.Errorf("%q: got allowed_ips %v", body, out.AllowedIPs)
	}
	for _, times := range []struct{ in, out *time.Time }{{in.ExpiresAt, out.ExpiresAt},
		{in.NotBefore, out.NotBefore}} {
		if times.in != nil && (times.out == nil || !times.in.Truncate(time.Second).Equal(*times.out)) {
			t.Errorf("%q resulted in %s", body, response)
		}
	}
	if out.ExpiresAt == nil || out.ExpiresAt.Sub(start) > 2*366*24*time.Hour {
		t.Errorf("%q: got expires_at %v", body, out.ExpiresAt)
	}
	if _, err := testPolicy.Prefixes.Parse(out.Token); err != nil {
		t.Errorf("%q: got invalid token: %v", body, err)
	}
}

// memory is a backend that can only create tokens. It doesn't save them, because the
// fuzzer checks only responses.
type memory struct {
	tokenstore.Backend // nil: no other method is called
}

func (memory) Apply(_ token.ID, _ time.Time, change tokenstore.ChangeFunc) (*token.Token, error) {
	changed, err := change(nil)
	return changed.Token, err
}

func (memory) Prune(tokenstore.Retention) (bool, error) { return false, nil }

func (memory) State() (tokenstore.State, error) { return tokenstore.State{}, nil }

func (memory) SetTimes(tokenstore.State, *tokenstore.AuditEntry) error { return nil }

func (memory) JournalPath() string { return "" }

func (memory) Sequence() uint64 { return 0 }

func (memory) Health() tokenstore.Health { return tokenstore.Health{DiskFree: -1} }

func (memory) Close() error { return nil }
