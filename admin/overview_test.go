package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

type overviewBody struct {
	Requests struct {
		Hours, Days []struct{ Allowed, Refused int }
	}
	Tokens *struct {
		Status                 map[string]int
		Admin, Expiring        int
		Accounts, Owners, Tags []struct {
			Name  string
			Count int
		}
		Busiest []struct {
			Token            struct{ Name string }
			Allowed, Refused int
		}
		Attention []struct {
			Reason string
			Count  int
			Items  []struct {
				Token      struct{ Name string }
				Scopes     []string
				UsedScopes []string `json:"used_scopes"`
				LastUse    *struct {
					IP, Route string
				} `json:"last_use"`
				Refused *int
			}
		}
	}
	Health map[string]struct{ Status, Detail, Time string }
}

func (f *fixture) overview() (o overviewBody) {
	f.t.Helper()
	w := f.do(http.MethodGet, "/overview", "")
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusOK {
		f.t.Fatalf("got status %d, body %s, err %v", w.Code, w.Body, err)
	}
	return o
}

// TestOverview verifies the totals, and that each token that needs attention is listed for its
// reason and no other.
func TestOverview(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) {
		c.BackendFailures = func() []BackendFailure {
			return []BackendFailure{{Gate: "api.example.com", Code: gate.BackendUnreachable, Time: start}}
		}
	})
	if o := newFixture(t).overview(); o.Tokens == nil || len(o.Tokens.Attention) > 0 || len(o.Requests.Days) > 0 ||
		o.Tokens.Status["active"] != 0 {
		t.Errorf("empty store: got %+v", o)
	}
	create := func(name, more string) (id, secret string) {
		t.Helper()
		return f.create(`{"name":"` + name + `","preset":null,` + more + `}`)
	}
	const both, lasting = `"scopes":["unikernel:create","unikernel:list"]`, `"expires_in":"1y"`
	_, idle := create("idle", both+","+lasting)
	_, wide := create("wide", `"scopes":["*"],`+lasting)
	_, unused := create("unused scopes", both+","+lasting+`,"metadata":{"owner":"web team","tags":"ci, prod"}`)
	rotatedID, rotated := create("rotated", `"scopes":["unikernel:list"],`+lasting+`,"metadata":{"owner":"web team"}`)
	revokedID, revoked := create("revoked", `"scopes":["unikernel:list"],`+lasting)
	quietID, quiet := create("quietly revoked", `"scopes":["unikernel:list"],`+lasting)
	_, admin := f.create(`{"kind":"admin","name":"carol"}`)

	use := func(secret, scope string, times int) {
		t.Helper()
		match, err := f.authenticate(secret)
		if err != nil {
			t.Fatal(err)
		}
		for range times {
			f.store.CountAllowed(match, scope,
				tokenstore.LastUse{Time: f.store.Now(), IP: "203.0.113.7", Route: "GET /x"})
		}
	}
	refuse := func(secret string, code gate.Code) {
		t.Helper()
		match, err := f.authenticate(secret)
		if err != nil {
			t.Fatal(err)
		}
		f.store.CountDenied(match, tokenstore.Refusal{Time: f.store.Now(), Method: "GET", Path: "/api/unikernels",
			Code: string(code), IP: "203.0.113.9"})
	}
	use(admin, "", 3)
	use(idle, "unikernel:list", 1)
	refuse(quiet, gate.InsufficientScope) // before its revocation
	f.pass(60 * day)
	f.pass(35 * day)
	use(wide, "unikernel:list", 5)
	use(unused, "unikernel:list", 2)
	_, expiring := create("expiring", `"scopes":["unikernel:list"],"expires_in":"40d"`)
	create("short-lived", `"scopes":["unikernel:list"],"expires_in":"6d"`) // not in its last quarter
	f.pass(35 * day)
	create("short-lived too", `"scopes":["unikernel:list"],"expires_in":"6d"`)
	use(wide, "unikernel:list", 5)
	use(unused, "unikernel:list", 2)
	use(expiring, "unikernel:list", 1)
	f.do(http.MethodPost, "/tokens/"+rotatedID+"/rotate", `{"grace":"7d"}`)
	f.pass(time.Hour)
	use(rotated, "unikernel:list", 1) // the old secret
	for _, id := range []string{revokedID, quietID} {
		f.do(http.MethodPost, "/tokens/"+id+"/revoke", "")
	}
	f.pass(time.Hour)
	refuse(revoked, gate.RevokedToken)
	refuse(revoked, gate.RevokedToken)

	o := f.overview()
	var got []string
	for _, a := range o.Tokens.Attention {
		line := fmt.Sprint(a.Reason, " ", a.Count)
		for _, item := range a.Items {
			line += " " + item.Token.Name
			if item.LastUse != nil {
				line += " " + item.LastUse.IP + " " + item.LastUse.Route
			}
			line += fmt.Sprint(item.Scopes, item.UsedScopes)
			if item.Refused != nil {
				line += fmt.Sprint(" ", *item.Refused)
			}
		}
		got = append(got, line)
	}
	want := []string{
		"used_after_revocation 1 revoked 203.0.113.9 GET /api/unikernels[] [] 2",
		"expiring 1 expiring 203.0.113.7 GET /x[] []",
		"old_secret_in_use 1 rotated 203.0.113.7 GET /x[] []",
		"wide_grant 1 wide 203.0.113.7 GET /x[] [unikernel:list]",
		"unused_scopes 1 unused scopes 203.0.113.7 GET /x[unikernel:create] [unikernel:list]",
		"unused 1 idle 203.0.113.7 GET /x[] []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if o.Tokens.Admin != 1 || o.Tokens.Expiring != 1 || o.Tokens.Status["active"] != 6 {
		t.Errorf("got %+v", o.Tokens)
	}
	if text := fmt.Sprint(o.Tokens.Owners, o.Tokens.Tags, o.Tokens.Accounts); text !=
		"[{web team 2}] [{ci 1} {prod 1}] [{default 9}]" {
		t.Errorf("got %s", text)
	}
	if busy := o.Tokens.Busiest; len(busy) != 5 || fmt.Sprint(busy[0]) != "{{wide} 5 0}" {
		t.Errorf("got busiest %v", busy)
	}
	// Only the last 90 days and no requests by admins.
	if text := fmt.Sprint(o.Requests.Days); text != "[{7 0} {9 2}]" {
		t.Errorf("got days %s", text)
	}
	backend := o.Health["backend"]
	if backend.Status != "warning" || !strings.Contains(backend.Detail, "api.example.com") {
		t.Errorf("got backend %+v", backend)
	}
	if o.Health["backup"].Time != "" {
		t.Errorf("got backup %+v", o.Health["backup"])
	}
	if w := f.do(http.MethodGet, "/backup", ""); w.Code != http.StatusOK {
		t.Fatalf("got status %d", w.Code)
	}
	if o := f.overview(); o.Health["backup"].Time == "" {
		t.Errorf("after a backup: got %+v", o.Health["backup"])
	}

	// Refusals are listed newest first, without fractional seconds.
	w := f.do(http.MethodGet, "/tokens/"+revokedID+"/refusals", "")
	line := `{"time":"` + f.store.Now().UTC().Format(time.RFC3339) + `","method":"GET","path":"/api/unikernels",` +
		`"scope":null,"code":"revoked_token","ip":"203.0.113.9","user_agent":null}`
	if want := `{"data":[` + line + `,` + line + `]}`; w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	f.refused(f.do(http.MethodGet, "/tokens/000000000000/refusals", ""), 404, "not_found")
}

// TestRanking verifies that a ranking keeps the highest ranks and counts all items.
func TestRanking(t *testing.T) {
	t.Parallel()
	r := ranking[int]{limit: 3}
	for _, n := range []int{5, 1, 9, 3, 9, 7} {
		r.add(float64(n), func() int { return n })
	}
	if got := r.items(); r.count != 6 || !slices.Equal(got, []int{9, 9, 7}) {
		t.Errorf("got %d items, best %v", r.count, got)
	}
}

// TestSurveyInBackground verifies that an overview doesn't wait for a slow survey, and that only
// one runs at a time.
func TestSurveyInBackground(t *testing.T) {
	t.Parallel()
	var scans atomic.Int64
	goOn := make(chan struct{})
	f := newFixtureOver(t, func(b tokenstore.Backend) tokenstore.Backend { return slowScan{b, &scans, goOn} })
	f.create(`{}`)
	for range 3 {
		if o := f.overview(); o.Tokens != nil {
			t.Fatalf("got tokens %+v before the survey was done", o.Tokens)
		}
	}
	close(goOn)
	for range 1000 {
		if o := f.overview(); o.Tokens != nil {
			if n := scans.Load(); n != 1 {
				t.Errorf("got %d surveys, want 1", n)
			}
			return
		}
	}
	t.Error("the survey isn't in the overview")
}

// TestSurveyDue verifies that a survey of many tokens is repeated sooner if a token has changed.
func TestSurveyDue(t *testing.T) {
	t.Parallel()
	s := surveys{last: &survey{}, made: start, took: time.Second, changes: 3}
	for _, tt := range []struct {
		after   time.Duration
		changes uint64
		want    bool
	}{
		{49 * time.Second, 3, false}, {50 * time.Second, 3, true}, {4 * time.Second, 4, false},
		{5 * time.Second, 4, true},
	} {
		if got := s.due(start.Add(tt.after), tt.changes); got != tt.want {
			t.Errorf("after %s, with %d changes: got %t", tt.after, tt.changes, got)
		}
	}
}

// slowScan is a backend whose scans wait.
type slowScan struct {
	tokenstore.Backend
	scans *atomic.Int64
	goOn  chan struct{}
}

func (s slowScan) Scan(after token.ID, yield func(*token.Token, tokenstore.Usage) bool) error {
	s.scans.Add(1)
	<-s.goOn
	return s.Backend.Scan(after, yield)
}

// TestEvents verifies that the stream announces changes and usage, and that it ends with the
// caller's authorization and with the server.
func TestEvents(t *testing.T) {
	t.Parallel()
	var stopping, unauthorized atomic.Bool
	f := newFixture(t, func(c *Config) {
		c.Stopping = stopping.Load
		c.Authenticate = func(*http.Request) (tokenstore.Actor, *Refusal) {
			return tokenstore.Actor{Name: "me", Authorize: func() error {
				if unauthorized.Load() {
					return RefuseReconfigured()
				}
				return nil
			}}, nil
		}
	})
	id, secret := f.create(`{}`)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	open := func() *bufio.Scanner {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Fatalf("got Content-Type %q", got)
		}
		return bufio.NewScanner(response.Body)
	}
	next := func(lines *bufio.Scanner) (event string) {
		t.Helper()
		for lines.Scan() {
			switch line := lines.Text(); {
			case line == "" && event != "":
				return event
			case line != "" && !strings.HasPrefix(line, ":"):
				event += line + " "
			}
		}
		return "end"
	}
	lines := open()
	for !lines.Scan() { // until the first comment, the feed may not be open
		t.Fatal("the stream ended")
	}
	f.do(http.MethodPost, "/tokens/"+id+"/disable", "")
	if got, want := next(lines), `event: change data: {"action":"disable","token_id":"`+id+`"} `; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f.do(http.MethodPost, "/tokens/"+id+"/enable", "")
	next(lines)
	f.use(secret, 3, tokenstore.LastUse{Time: f.store.Now()})
	if got, want := next(lines), `event: usage data: {"token_ids":["`+id+`"]} `; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	unauthorized.Store(true)
	if got := next(lines); got != "end" {
		t.Errorf("unauthorized: got %q", got)
	}
	unauthorized.Store(false)
	lines = open()
	stopping.Store(true)
	if got := next(lines); got != "end" {
		t.Errorf("stopping: got %q", got)
	}
}

// TestSettings verifies that the settings show the policy and the gates.
func TestSettings(t *testing.T) {
	t.Parallel()
	g, err := gate.New(gate.Config{Table: gate.Table{Routes: []gate.Route{
		{Method: "GET", Path: "/api/unikernels", Scope: token.Scope{Name: "unikernel:list"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) {
		c.Settings = Settings{Version: "v1.2.3", AuditRetention: "2y", HistoryRetention: "400d"}
		c.Policy.MaxResources = map[string]token.Resources{"alice": {"unikernel/web-*"}}
		c.Policy.MaxScopes = map[string]token.Grants{"alice": {"unikernel:*"}}
		c.Gates = []gate.NamedGate{{Name: "keys.example.com", URL: "https://molly.example.com", Gate: g}}
	})
	body := f.do(http.MethodGet, "/settings", "").Body.String()
	for _, want := range []string{`"version":"v1.2.3"`, `"prefixes":["mm","zz"]`, `"max_lifetime":"2y"`,
		`"warn_before":"30d"`,
		`"audit_retention":"2y"`, `"history_retention":"400d"`, `"session_hours":12`,
		`"accounts":[{"name":"default","max_scopes":null,"max_resources":null},` +
			`{"name":"alice","max_scopes":["unikernel:*"],"max_resources":["unikernel/web-*"]}]`,
		`{"name":"instance","aliases":[],"container":true},`,
		`{"name":"block","aliases":["volume"],"container":false}]`,
		`"gates":[{"name":"keys.example.com","url":"https://molly.example.com","routes":[`,
		`{"method":"GET","path":"/api/unikernels","scope":"unikernel:list"}]}]`} {
		if !strings.Contains(body, want) {
			t.Errorf("got %s without %s", body, want)
		}
	}
}
