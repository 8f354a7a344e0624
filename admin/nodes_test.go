package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/backendtest"
	"github.com/mollygate/mollygate/tokenstore/bolt"
)

// sharedFixture is a fixture whose store other gates share.
type sharedFixture struct {
	*fixture
	shared *backendtest.Shared
}

func newSharedFixture(t *testing.T, change ...func(*Config)) *sharedFixture {
	t.Helper()
	shared := new(backendtest.Shared)
	f := newFixtureOver(t, func(b tokenstore.Backend) tokenstore.Backend {
		shared.Backend = b
		return shared
	}, change...)
	shared.Now = f.store.Now
	shared.CheckBackup = bolt.CheckBackup
	shared.Set(func(s *backendtest.SharedState) {
		s.AsOf, s.MaxStaleness = start, time.Hour
		s.Nodes = []tokenstore.Node{
			{ID: "n1", Name: "gate-1", Version: "v1.4.0", Self: true, Live: true, Started: start.Add(-time.Hour),
				LastSeen: start, AsOf: start},
			{ID: "n2", Name: "gate-2"},
		}
	})
	return &sharedFixture{f, shared}
}

// loseContact lets time pass since the last contact.
func (f *sharedFixture) loseContact(age time.Duration) {
	f.shared.Set(func(s *backendtest.SharedState) { s.Problem = errors.New("kv-1:2379: connection refused.") })
	f.pass(age)
}

// TestReadsWaitForChanges checks which calls wait for the changes of other gates.
func TestReadsWaitForChanges(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	id, secret := f.create(`{}`)
	body := fmt.Sprintf(`{"token":%q}`, secret)
	for _, test := range []struct {
		method, target, body string
		want                 int
	}{
		{"GET", "/tokens", "", 1},
		{"GET", "/tokens/" + id, "", 1},
		{"GET", "/tokens/" + id + "/usage", "", 1},
		{"GET", "/audit", "", 1},
		{"GET", "/overview", "", 1},
		{"GET", "/stats", "", 1},
		{"GET", "/nodes", "", 1},
		{"GET", "/backup", "", 1},
		{"POST", "/lookup", body, 1},
		{"POST", "/explain", `{"token_id":"` + id + `","method":"GET","path":"/api/unikernels"}`, 1},
		{"PATCH", "/tokens/" + id, `{"name":"b"}`, 1}, // If-Match must see the current version
		{"DELETE", "/tokens/" + id, "", 1},
		{"GET", "/healthz", "", 0},
		{"POST", "/clock", "", 0},
		{"POST", "/compact", "", 0},
		{"GET", "/events", "", 0},
		{"GET", "/settings", "", 0},
		{"GET", "/scopes", "", 0},
		{"GET", "/accounts", "", 0},
		{"GET", "/openapi.json", "", 0},
	} {
		before := f.shared.Syncs()
		w := f.do(test.method, test.target, test.body)
		if got := f.shared.Syncs() - before; got != test.want || w.Header().Get(replicaAgeHeader) != "" {
			t.Errorf("%s %s: got %d waits and headers %v", test.method, test.target, got, w.Header())
		}
	}
}

// TestReplicaAge checks that reads succeed without contact, and show the age of the copy.
func TestReplicaAge(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	id, secret := f.create(`{}`)
	f.loseContact(12*time.Second + 900*time.Millisecond)
	for target, body := range map[string]string{"/tokens": "", "/tokens/" + id: "", "/nodes": "", "/backup": "",
		"/lookup": fmt.Sprintf(`{"token":%q}`, secret)} {
		method := http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
		w := f.do(method, target, body)
		if got := w.Header().Get(replicaAgeHeader); w.Code != http.StatusOK || got != "12" {
			t.Errorf("%s: got status %d and age %q", target, w.Code, got)
		}
	}
	if w := f.do(http.MethodGet, "/healthz", ""); w.Header().Get(replicaAgeHeader) != "" {
		t.Errorf("healthz: got headers %v", w.Header())
	}
	detail := f.refused(f.do(http.MethodPost, "/tokens/"+id+"/revoke", ""), 503, codeStore)["detail"].(string)
	if !strings.HasPrefix(detail, "Writing to the token store failed: this gate can't reach the shared store. ") ||
		strings.Contains(detail, "kv-1") {
		t.Errorf("a change: got %q", detail)
	}

	// Another machine's clock may be ahead.
	f.shared.Set(func(s *backendtest.SharedState) { s.AsOf = f.store.Now().Add(time.Minute) })
	if got := f.do(http.MethodGet, "/tokens", "").Header().Get(replicaAgeHeader); got != "0" {
		t.Errorf("with a time ahead: got age %q", got)
	}

	f.shared.Set(func(s *backendtest.SharedState) { s.AsOf = time.Time{} })
	f.refused(f.do(http.MethodGet, "/tokens", ""), 503, codeStore)
}

// TestNodes checks the list of gates.
func TestNodes(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	f.pass(7 * time.Second)
	want := map[string]any{"nodes": []any{
		map[string]any{"id": "n1", "name": "gate-1", "version": "v1.4.0", "self": true, "live": true,
			"started_at": "2026-03-01T11:00:00Z", "last_seen_at": "2026-03-01T12:00:00Z",
			"as_of": "2026-03-01T12:00:00Z", "age_seconds": 7.0},
		map[string]any{"id": "n2", "name": "gate-2", "version": nil, "self": false, "live": false,
			"started_at": nil, "last_seen_at": nil, "as_of": nil, "age_seconds": nil},
	}}
	if got := readObject(t, f.do(http.MethodGet, "/nodes", ""), 200); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	w := newFixture(t).do(http.MethodGet, "/nodes", "")
	if got := w.Body.String(); got != `{"nodes":[]}` || w.Code != http.StatusOK {
		t.Errorf("without a shared store: got %s", got)
	}
}

// TestUsageByNode checks a token's usage at each gate.
func TestUsageByNode(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	id, secret := f.create(`{}`)
	byNode := func() any {
		t.Helper()
		return readObject(t, f.do(http.MethodGet, "/tokens/"+id+"/usage?from=2027-01-01T00:00:00Z", ""), 200)["by_node"]
	}
	if got := byNode(); !reflect.DeepEqual(got, []any{}) {
		t.Errorf("an unused token: got %v", got)
	}
	parsed, err := token.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	f.use(secret, 2, tokenstore.LastUse{Time: start.Add(time.Second)})
	f.shared.Set(func(s *backendtest.SharedState) {
		s.Used = map[token.ID]map[string]tokenstore.Usage{parsed: {"n2": {Denied: 3},
			"n0": {Allowed: 5, Last: tokenstore.LastUse{Time: start}}}}
	})
	node := func(id string, name any, allowed, denied float64, last any) any {
		return map[string]any{"id": id, "name": name, "usage_count": allowed, "denied_count": denied,
			"last_used_at": last}
	}
	want := []any{node("n0", nil, 5, 0, "2026-03-01T12:00:00Z"), node("n1", "gate-1", 2, 0, "2026-03-01T12:00:01Z"),
		node("n2", "gate-2", 0, 3, nil)}
	if got := byNode(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := readObject(t, f.do(http.MethodGet, "/tokens/"+id, ""), 200)["usage_count"]; got != 7.0 {
		t.Errorf("got %v uses, want 7", got)
	}

	single := newFixture(t)
	id, _ = single.create(`{}`)
	if got, there := readObject(t, single.do(http.MethodGet, "/tokens/"+id+"/usage", ""), 200)["by_node"]; there {
		t.Errorf("without a shared store: got %v", got)
	}
}

// TestReplicaHealth checks healthz while the copy of a shared store ages.
func TestReplicaHealth(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	_, secret := f.create(`{}`)
	replica := func(w *httptest.ResponseRecorder) string {
		t.Helper()
		var body struct {
			Warning string
			Checks  struct{ Replica json.RawMessage }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if body.Warning != "" && !strings.Contains(string(body.Checks.Replica), body.Warning) {
			t.Errorf("got warning %q", body.Warning)
		}
		return fmt.Sprint(w.Code, " ", string(body.Checks.Replica))
	}
	check := func(want string) {
		t.Helper()
		if got := replica(f.do(http.MethodGet, "/healthz", "")); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check(`200 {"status":"ok","age_seconds":0}`)
	f.loseContact(4999 * time.Millisecond)
	check(`200 {"status":"ok","age_seconds":4}`)
	f.pass(time.Millisecond)
	const warning = `200 {"status":"warning","detail":"This gate has had no contact with the shared store for %s: ` +
		`kv-1:2379: connection refused. Valid keys keep working%s; nothing can be changed.","age_seconds":%d}`
	check(fmt.Sprintf(warning, "5 seconds", " until 2026-03-01T13:00:00Z", 5))
	if _, err := f.authenticate(secret); err != nil {
		t.Errorf("with an old copy: %v", err)
	}
	f.shared.Set(func(s *backendtest.SharedState) { s.MaxStaleness = 0 })
	f.pass(25 * time.Hour)
	check(fmt.Sprintf(warning, "1 day", "", 90005))

	f.shared.Set(func(s *backendtest.SharedState) { s.MaxStaleness = time.Hour })
	detail := "This gate has had no contact with the shared store for 1 day: kv-1:2379: connection refused. " +
		"All requests are refused until contact is restored. " +
		"Check that the shared store runs and that this gate can reach it."
	check(`503 {"status":"failed","detail":"` + detail + `","age_seconds":90005}`)
	f.refused(f.do(http.MethodGet, "/healthz", ""), 503, codeStore, "detail="+detail+" See Caddy's log for details.")
	if _, err := f.authenticate(secret); !errors.Is(err, tokenstore.ErrStale) {
		t.Errorf("with a stale copy: got error %v", err)
	}
	overview := readObject(t, f.do(http.MethodGet, "/overview", ""), 200)["health"].(map[string]any)
	if got := overview["replica"].(map[string]any)["status"]; got != checkFailed {
		t.Errorf("the overview: got status %v", got)
	}

	f.shared.Set(func(s *backendtest.SharedState) { s.AsOf, s.MaxStaleness = time.Time{}, 0 })
	check(`200 {"status":"warning","detail":"This gate has never had contact with the shared store: kv-1:2379: ` +
		`connection refused. Valid keys keep working; nothing can be changed."}`)

	single := newFixture(t)
	checks := readObject(t, single.do(http.MethodGet, "/healthz", ""), 200)["checks"].(map[string]any)
	if names := slices.Sorted(maps.Keys(checks)); slices.Contains(names, "replica") {
		t.Errorf("without a shared store: got checks %q", names)
	}
}

// TestStaleRefusals checks what callers read when the copy of a shared store is too old: what to
// do, but not where the shared store is.
func TestStaleRefusals(t *testing.T) {
	t.Parallel()
	f := newSharedFixture(t)
	_, secret := f.create(`{"kind":"admin"}`)
	f.loseContact(2 * time.Hour)
	c := newCall(f.handler.(*api), httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	stale := f.store.Stale()
	const want = "The token store is temporarily unavailable: this gate has had no contact with the shared store for " +
		"too long. Check that the shared store runs and that this gate can reach it. " +
		"Try again, or see Caddy's log for details."
	if got := c.storeRefusal(stale).Problem; got.Detail != want || got.Status != 503 {
		t.Errorf("got %+v", got)
	}
	_, refusal := gate.Authenticate(f.store, testPolicy.Prefixes, token.KindAdmin, []string{"Bearer " + secret},
		f.store.Now())
	if got := refusal.Problem(); got.Code != codeStore ||
		got.Detail != "API keys can't be checked at the moment. Keep your key and try again." {
		t.Errorf("at a gate: got %+v", got)
	}
}
