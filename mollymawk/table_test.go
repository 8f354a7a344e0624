package mollymawk_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/gate"
	_ "github.com/mollygate/mollygate/mollymawk"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// tables lists the routes that accept a token, for both generations. Mollymawk had no
// scaling or monitoring in 2025.
var tables = map[string][]string{
	"mollymawk": {
		"GET /api/unikernels unikernel:list",
		"POST /api/unikernel/create unikernel:create adapt upload",
		"POST /api/unikernel/destroy unikernel:destroy",
		"POST /api/unikernel/restart unikernel:restart adapt",
		"POST /api/unikernel/update unikernel:update adapt",
		"POST /api/unikernel/rollback unikernel:rollback",
		"GET /api/unikernel/console unikernel:console stream",
		"POST /api/unikernel/scaling/update unikernel:scale adapt",
		"GET /api/unikernel/monitoring/status monitoring:read explicit",
		"POST /api/unikernel/monitoring/update monitoring:write adapt explicit",
		"POST /api/block/create=/api/volume/create block:create adapt upload",
		"POST /api/block/upload=/api/volume/upload block:upload adapt upload",
		"POST /api/block/download=/api/volume/download block:download adapt stream",
		"POST /api/block/delete=/api/volume/delete block:delete",
	},
	"mollymawk-2025": {
		"GET /api/unikernels unikernel:list",
		"POST /api/unikernel/create unikernel:create adapt upload",
		"POST /api/unikernel/destroy unikernel:destroy",
		"POST /api/unikernel/restart unikernel:restart adapt",
		"POST /api/unikernel/update unikernel:update adapt",
		"POST /api/unikernel/rollback unikernel:rollback",
		"GET /api/unikernel/console unikernel:console stream",
		"POST /api/volume/create=/api/block/create block:create adapt upload",
		"POST /api/volume/upload=/api/block/upload block:upload adapt upload",
		"POST /api/volume/download=/api/block/download block:download adapt stream",
		"POST /api/volume/delete=/api/block/delete block:delete",
	},
}

func describe(route *gate.Route) string {
	line := fmt.Sprintf("%s %s %s", route.Method, strings.Join(append([]string{route.Path}, route.Aliases...), "="),
		route.Scope.Name)
	words := map[string]bool{
		"upload": route.Upload, "stream": route.Stream, "adapt": route.Adapt != nil || route.AdaptUpload != nil,
		"explicit": route.Scope.Explicit, "websocket": route.WebSocket,
	}
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if words[word] {
			line += " " + word
		}
	}
	return line
}

func TestTables(t *testing.T) {
	if got, want := gate.TableNames(), []string{"mollymawk", "mollymawk-2025"}; !slices.Equal(got, want) {
		t.Errorf("got names %q, want %q", got, want)
	}
	for name, want := range tables {
		table, ok := gate.TableByName(name)
		if !ok {
			t.Fatalf("table %s isn't registered", name)
		}
		var got []string
		for i := range table.Routes {
			got = append(got, describe(&table.Routes[i]))
			if table.Routes[i].CredentialRefused == nil {
				t.Errorf("%s: %s has no CredentialRefused", name, table.Routes[i].Name())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got routes\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, name := range []string{"", "Mollymawk", "mollymawk-2024", "other"} {
		if _, ok := gate.TableByName(name); ok {
			t.Errorf("unexpected table %q", name)
		}
	}
}

// TestPresets checks which scopes each preset grants.
func TestPresets(t *testing.T) {
	table, _ := gate.TableByName("mollymawk")
	want := map[string][]string{
		"read": {"unikernel:console", "unikernel:list"},
		"deploy": {"unikernel:console", "unikernel:create", "unikernel:list", "unikernel:restart", "unikernel:rollback",
			"unikernel:update"},
		"backup": {"block:download"},
		"full": {
			"block:create", "block:delete", "block:download", "block:upload", "unikernel:console", "unikernel:create",
			"unikernel:destroy",
			"unikernel:list", "unikernel:restart", "unikernel:rollback", "unikernel:scale", "unikernel:update",
		},
	}
	if got := slices.Sorted(maps.Keys(table.Presets)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("got unexpected preset names %q", got)
	}
	for name, grants := range table.Presets {
		var got []string
		for i := range table.Routes {
			if grants.Cover(table.Routes[i].Scope) {
				got = append(got, table.Routes[i].Scope.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want[name]) {
			t.Errorf("preset %s: got %q, want %q", name, got, want[name])
		}
	}
}

// allowAll is a store that accepts every token and grants it all scopes except monitoring.
type allowAll struct{}

func (allowAll) InUse(token.Digest) bool { return true }

func (allowAll) Authenticate(c token.Credential, _ time.Time) (tokenstore.Match, error) {
	return tokenstore.Match{
		Token:  tokenstore.Principal{ID: c.ID, Terms: &token.Terms{Kind: token.KindAPI, Scopes: token.Grants{"*"}}},
		Status: token.StatusActive,
	}, nil
}

func (allowAll) TakeRate(tokenstore.Match, time.Time) token.Standing { return token.Standing{} }

func (allowAll) RateStanding(tokenstore.Principal, time.Time) token.Standing {
	return token.Standing{}
}

func (allowAll) TakeQuota(tokenstore.Match, time.Time) (tokenstore.Reservation, token.Standing, error) {
	return tokenstore.Reservation{}, token.Standing{}, nil
}

func (allowAll) QuotaStanding(tokenstore.Principal, time.Time) (token.Standing, error) {
	return token.Standing{}, nil
}

// TestGateOfTable checks that the gate uses the paths of the backend's generation,
// whichever generation the client uses, and refuses all paths that don't accept tokens.
func TestGateOfTable(t *testing.T) {
	const uuid = "0b0e5b6a-7d2c-4c1e-9d43-6a5c1f0e8b77"
	for name, block := range map[string]string{"mollymawk": "/api/block/", "mollymawk-2025": "/api/volume/"} {
		table, _ := gate.TableByName(name)
		g, err := gate.New(gate.Config{Table: table, Prefixes: token.Prefixes{"mm"}, MaxBody: 1 << 20,
			MaxUpload: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		decide := func(method, path string) gate.Decision {
			request := gate.Request{Method: method, Path: path, Authorization: []string{"Bearer " + uuid},
				ClientIP: "::1"}
			var d gate.Decision
			g.Decide(allowAll{}, &request, &d)
			return d
		}
		for _, action := range []string{"create", "upload", "download", "delete"} {
			for _, spelled := range []string{"/api/block/", "/api/volume/"} {
				if d := decide("POST", spelled+action); d.Refused() || d.Path != block+action {
					t.Errorf("%s: POST %s%s: got refusal %q and path %q, want no refusal and path %q",
						name, spelled, action, d.Refusal.Code, d.Path, block+action)
				}
			}
		}
		for i := range table.Routes {
			route := &table.Routes[i]
			want := gate.Code("")
			if route.Scope.Explicit {
				want = gate.InsufficientScope
			}
			if d := decide(route.Method, route.Path); d.Refusal.Code != want || d.Path != route.Path {
				t.Errorf("%s: %s: got refusal %q and path %q, want refusal %q and path %q",
					name, route.Name(), d.Refusal.Code, d.Path, want, route.Path)
			}
			if d := decide("HEAD", route.Path); d.Refusal.Code != gate.MethodNotAllowed ||
				d.Refusal.Allow != route.Method {
				t.Errorf("%s: HEAD %s: got refusal %q, want %q and Allow %s",
					name, route.Path, d.Refusal.Code, gate.MethodNotAllowed, route.Method)
			}
		}
		// Requests for session paths aren't treated as misspelled routes.
		const sessionOnly, spelling = "browser session", "Check its spelling"
		for detail, paths := range map[string][]string{
			sessionOnly: {
				"/api/tokens/create", "/api/tokens/delete", "/api/login", "/api/register",
				"/api/account/sessions/close", "/account", "/logout",
				"/api/admin/settings/albatross/create", "/admin/users", "/dashboard", "/tokens", "/select/instance",
				"/unikernel/info", "/sign-in",
			},
			spelling: {"/", "/main.js", "/api/unikernel", "/api/unikernels/x", "/api/block", "/api/Unikernels",
				"/api/tokens", "/api/tokens/create/x"},
		} {
			for _, path := range paths {
				for _, method := range []string{"GET", "POST"} {
					if d := decide(method, path); d.Refusal.Code != gate.RouteNotAllowed ||
						!strings.Contains(d.Refusal.Problem().Detail, detail) {
						t.Errorf("%s: %s %s: got refusal %q with detail %s",
							name, method, path, d.Refusal.Code, d.Refusal.Problem().Detail)
					}
				}
			}
		}
	}
}

func TestCredentialRefused(t *testing.T) {
	table, _ := gate.TableByName("mollymawk")
	refused := table.Routes[0].CredentialRefused
	envelope := func(data string) string {
		return `{"status":400,"title":"400","success":false,"data":` + data + `}`
	}
	for _, tt := range []struct {
		status int
		body   string
		want   bool
	}{
		{400, envelope(`"Failed to find user with token 0b0e5b6a"`), true},
		{400, envelope(`"Token value is not valid 0b0e5b6a"`), true},
		{400, envelope(`"No molly-session in cookie header. User not found"`), true},
		{400, envelope(`"No molly-session in cookie header."`), true},
		{400, envelope(`"User account is deactivated"`), true},
		{400, `{ "data" : "Token value is not valid x" }`, true},
		{400, envelope("\"Token value is not valid \xff\""), true},
		{400, envelope(`"\u0054oken value is not valid x"`), true},

		{400, envelope(`"User account is deactivated."`), false},
		{400, envelope(`"failed to find user with token x"`), false},
		{400, envelope(`"The text: Token value is not valid x"`), false},
		{400, envelope(`"Bad HTTP request method."`), false},
		{400, envelope(`"Couldn't find unikernel name in json"`), false},
		{400, envelope(`["Token value is not valid x"]`), false},
		{400, envelope(`null`), false},
		{400, `{"Data":"Token value is not valid x"}`, false},
		{400, `Token value is not valid x`, false},
		{400, `"Token value is not valid x"`, false},
		{400, ``, false},
		{401, envelope(`"Token value is not valid x"`), false},
		{404, envelope(`"Token value is not valid x"`), false},
		{500, envelope(`"User account is deactivated"`), false},
	} {
		if got := refused(tt.status, []byte(tt.body)); got != tt.want {
			t.Errorf("%d %s: got %v, want %v", tt.status, tt.body, got, tt.want)
		}
	}
	if refused(400, nil) {
		t.Error("an empty body was treated as a refused credential")
	}
}
