package gate

import (
	"slices"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
)

// route parses "METHOD /path scope".
func route(line string) Route {
	fields := strings.Fields(line)
	return Route{Method: fields[0], Path: fields[1], Scope: token.Scope{Name: fields[2]}}
}

func TestRouterFind(t *testing.T) {
	lines := []string{
		"GET /api/report report:read",
		"POST /api/report report:write",
		"GET /api/* any:read",
		"GET /api/*/console console:read",
		"GET /api/unikernel/* unikernel:read",
		"PUT /api/unikernel/* unikernel:write",
		"DELETE /*/*/* any:delete",
		"GET /api/unikernel/create unikernel:template",
		"POST /api/unikernel/create unikernel:create",
		"GET / root:read",
	}
	tests := []struct{ method, path, route, allow string }{
		{"GET", "/api/report", "GET /api/report", ""},
		{"POST", "/api/report", "POST /api/report", ""},
		{"PUT", "/api/report", "", "GET, POST"},
		{"HEAD", "/api/report", "", "GET, POST"},
		{"get", "/api/report", "", "GET, POST"},
		{"GET", "/api/other", "GET /api/*", ""},
		{"POST", "/api/other", "", "GET"}, // a GET route allows only GET
		{"GET", "/api", "", ""},
		{"GET", "/api/", "", ""},
		{"GET", "/api//", "", ""},
		{"GET", "/", "GET /", ""},
		{"POST", "/", "", "GET"},
		{"GET", "/API/report", "", ""},
		{"GET", "/api/x/console", "GET /api/*/console", ""},
		{"GET", "/api//console", "", ""},
		{"GET", "/api/a/b/console", "", ""},
		{"GET", "/api/unikernel/console", "GET /api/unikernel/*", ""}, // the leftmost literal wins
		{"GET", "/api/unikernel/create", "GET /api/unikernel/create", ""},
		{"POST", "/api/unikernel/create", "POST /api/unikernel/create", ""},
		{"PUT", "/api/unikernel/create", "PUT /api/unikernel/*", ""}, // no more specific route supports the method
		{"DELETE", "/api/unikernel/create", "DELETE /*/*/*", ""},
		{"PATCH", "/api/unikernel/create", "", "DELETE, GET, POST, PUT"},
		{"PATCH", "/api/unikernel/console", "", "DELETE, GET, PUT"},
		{"PATCH", "/a/b/c", "", "DELETE"},
		{"DELETE", "/a/b/", "", ""},
		{"GET", "", "", ""},
		{"GET", "*", "", ""},
		{"GET", "a/b", "", ""},
		{"GET", "xapi/report", "", ""},
		{"GET", "xapi/other", "", ""},
	}
	// The order of the routes doesn't matter.
	for _, order := range [][]string{lines, reversed(lines), sorted(lines)} {
		routes := make([]Route, 0, len(order))
		for _, line := range order {
			routes = append(routes, route(line))
		}
		rt, err := newRouter(routes, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			found, allow := rt.find(tt.method, tt.path)
			if found != nil {
				allow = ""
			}
			if routeName(found) != tt.route || allow != tt.allow {
				t.Errorf("%s %s: got route %q, allow %q; want %q, %q", tt.method, tt.path, routeName(found), allow,
					tt.route, tt.allow)
			}
		}
	}
}

// A target that isn't a path, such as "*", matches no route.
func TestRouterFindNoPath(t *testing.T) {
	rt, err := newRouter([]Route{route("GET /* any:read"), route("GET /*/* any:read")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"", "*", "a", "ab/c", "ab/c/d", "/", "//", "//a", "/a/"} {
		if found, allow := rt.find("GET", target); found != nil || allow != "" {
			t.Errorf("%q: got route %q, allow %q; want none", target, routeName(found), allow)
		}
	}
}

func reversed(lines []string) []string {
	lines = slices.Clone(lines)
	slices.Reverse(lines)
	return lines
}

func sorted(lines []string) []string {
	lines = slices.Clone(lines)
	slices.Sort(lines)
	return lines
}

// Changing the configuration after New doesn't change the gate.
func TestNewCopiesRoutes(t *testing.T) {
	tokens := newTestTokens(t)
	routes := testRoutes()
	g := newTestGate(t, func(c *Config) { c.Routes = routes })
	routes[0].Scope.Name, routes[0].Method = "other:scope", "PUT"
	if d := decide(g, tokens, request(tokens.reader, nil)); d.Refused() {
		t.Errorf("got refusal %q, want none", d.Refusal.Code)
	}
}

func TestNewErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		routes []Route
		want   []string // parts of the error
	}{
		{"no method", []Route{{Path: "/a", Scope: token.Scope{Name: "a:b"}}}, []string{`"" is not a method`}},
		{"broken method", []Route{route("G@T /a a:b")}, []string{`"G@T" is not a method`}},
		{"all methods", []Route{route("* /a a:b")},
			[]string{`method "*"`, "no request would match it", "write one route line for each method"}},
		{"any method", []Route{route("ANY /a a:b")}, []string{`method "ANY"`, "write one route line for each method"}},
		{"all methods, lower case", []Route{route("all /a a:b")},
			[]string{`method "all"`, "write one route line for each method"}},
		{"two methods, comma", []Route{route("GET,POST /a a:b")},
			[]string{`method "GET,POST"`, "write one route line for each method: GET, POST"}},
		{"two methods, bar", []Route{route("GET|HEAD /a a:b")},
			[]string{"write one route line for each method: GET, HEAD"}},
		{"three methods, slashes", []Route{route("GET/HEAD/PUT /a a:b")},
			[]string{"write one route line for each method: GET, HEAD, PUT"}},
		{"two methods, plus", []Route{route("GET+POST /a a:b")},
			[]string{"write one route line for each method: GET, POST"}},
		{"colon", []Route{route("GET /x/:id a:b")},
			[]string{`path "/x/:id"`, "write * for a segment", "did you mean /x/*?"}},
		{"colons", []Route{route("GET /x/:id/y/:other_id? a:b")}, []string{"did you mean /x/*/y/*?"}},
		{"braces", []Route{route("GET /x/{id}/y a:b")}, []string{"did you mean /x/*/y?"}},
		{"braces with a type", []Route{route("GET /x/{id:[0-9]+} a:b")}, []string{"did you mean /x/*?"}},
		{"angles", []Route{route("GET /x/<int:id> a:b")}, []string{"did you mean /x/*?"}},
		{"brackets", []Route{route("GET /x/[id] a:b")}, []string{"did you mean /x/*?"}},
		{"escaped slash, upper case", []Route{route("GET /a%2Fb a:b")},
			[]string{"%2F", "refuses every request that contains it", "did you mean /a/b?"}},
		{"escaped backslash", []Route{route("GET /a%5cb a:b")},
			[]string{"%5c", "refuses every request that contains it"}},
		{"twice escaped slash", []Route{route("GET /a%252Fb a:b")},
			[]string{"%252F", "refuses every request that contains it"}},
		{"lower-case method", []Route{route("get /a a:b")}, []string{"did you mean GET?"}},
		{"CONNECT", []Route{route("CONNECT /a a:b")}, []string{"CONNECT can't be allowed"}},
		{"TRACE", []Route{route("TRACE /a a:b")}, []string{"TRACE can't be allowed"}},
		{"doubled slash", []Route{route("GET /api//x a:b")}, []string{`"/api//x"`, "did you mean /api/x?"}},
		{"dots", []Route{route("GET /api/../x a:b")}, []string{"did you mean /x?"}},
		{"escaped slash", []Route{route("GET /api%2fx a:b")}, []string{"did you mean /api/x?"}},
		{"lower-case escape", []Route{route("GET /h%c3%a9 a:b")}, []string{"did you mean /h%C3%A9?"}},
		{"no slash", []Route{route("GET api/x a:b")}, []string{"did you mean /api/x?"}},
		{"trailing slash", []Route{route("GET /api/ a:b")}, []string{"did you mean /api?"}},
		{"nothing to suggest", []Route{route("GET /a;b a:b")},
			[]string{`"/a;b" is not canonical`, "write it as the backend does"}},
		{"half a wildcard", []Route{route("GET /api/*.png a:b")}, []string{`"/api/*.png"`, "write * alone"}},
		{"double wildcard", []Route{route("GET /api/** a:b")}, []string{"write * alone"}},
		{"alias", []Route{{Method: "GET", Path: "/a", Aliases: []string{"/b/"}, Scope: token.Scope{Name: "a:b"}}},
			[]string{"did you mean /b?"}},
		{"wildcard alias",
			[]Route{{Method: "GET", Path: "/a/*", Aliases: []string{"/b/*"}, Scope: token.Scope{Name: "a:b"}}},
			[]string{"a route with aliases can't have a *"}},
		{"no scope", []Route{{Method: "GET", Path: "/a"}}, []string{`scope ""`, "write resource:action"}},
		{"scope without action", []Route{route("GET /a report")}, []string{"write resource:action"}},
		{"scope of three parts", []Route{route("GET /a a:b:c")}, []string{"write resource:action"}},
		{"scope in capitals", []Route{route("GET /a Report:read")}, []string{"write resource:action"}},
		{"wildcard scope", []Route{route("GET /a report:*")}, []string{"write resource:action"}},
		{"twice", []Route{route("GET /a a:b"), route("GET /a a:c")}, []string{"route GET /a is declared twice"}},
		{"wildcard twice", []Route{route("GET /a/* a:b"), route("GET /a/* a:c")},
			[]string{"route GET /a/* is declared twice"}},
		{"alias of another",
			[]Route{route("GET /a a:b"), {Method: "GET", Path: "/b", Aliases: []string{"/a"},
				Scope: token.Scope{Name: "a:b"}}}, []string{"route GET /a is declared twice"}},
		{"several", []Route{route("get /a a:b"), route("GET /b x")}, []string{"route get /a", "route GET /b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Config{Table: Table{Routes: tt.routes}})
			if err == nil {
				t.Fatal("got no error, want one")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error doesn't contain %q: %v", part, err)
				}
			}
		})
	}
}

// TestUnusualRoutes checks valid methods and paths that resemble other programs' syntax.
func TestUnusualRoutes(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"M-SEARCH /a a:b", "PURGE /a a:b", "GET /v1/items:batch a:b", "GET /@user/(x) a:b",
		"GET /a/b:c/:1 a:b", "ALLOW /a a:b"} {
		r := route(line)
		if err := r.Check(); err != nil {
			t.Errorf("%s: got error %v, want none", line, err)
		}
	}
}

// If one of a resource's routes is explicit, the grant "*" doesn't cover its other routes
// either.
func TestExplicitResource(t *testing.T) {
	tokens := newTestTokens(t)
	read := tokens.add(t, "mmk", "monitor00000", func(tok *token.Token) { tok.Scopes = token.Grants{"monitoring:*"} })
	g := newTestGate(t, func(c *Config) {
		c.Routes = append(c.Routes, route("GET /mine monitoring:read"), route("GET /new monitoring:new"))
	})
	for _, path := range []string{"/api/other-users", "/mine", "/new"} {
		with := func(r *Request) { r.Path = path }
		if d := decide(g, tokens, request(tokens.good, with)); d.Refusal.Code != InsufficientScope {
			t.Errorf("%s with the grant *: got refusal %q", path, d.Refusal.Code)
		}
		if d := decide(g, tokens, request(read, with)); d.Refused() {
			t.Errorf("%s with the grant monitoring:*: got refusal %q", path, d.Refusal.Code)
		}
	}
}

func TestCatalog(t *testing.T) {
	first := Table{
		Routes: []Route{
			route("POST /b report:write"), route("GET /b report:read"), route("GET /a report:read"),
			{Method: "GET", Path: "/c", Scope: token.Scope{Name: "monitoring:read", Explicit: true}},
		},
		Presets: map[string]token.Grants{"read": {"report:read"}, "full": {"*"}},
	}
	second := Table{
		Routes:  []Route{route("GET /b report:read"), route("GET /d monitoring:read"), route("GET /e image:read")},
		Presets: map[string]token.Grants{"images": {"image:*"}, "read": {"image:read", "report:read"}},
	}
	catalog := Catalog(first, second)
	var got []string
	for _, scope := range catalog.Scopes {
		line := scope.Name + " " + strings.Join(scope.Routes, ", ")
		if scope.Explicit {
			line += " explicit"
		}
		got = append(got, line)
	}
	want := []string{
		"image:read GET /e",
		"monitoring:read GET /c, GET /d explicit",
		"report:read GET /a, GET /b",
		"report:write POST /b",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got scopes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for scope, want := range map[token.Scope][]string{
		{Name: "report:read"}:                     {"full", "read"},
		{Name: "image:read"}:                      {"full", "images", "read"},
		{Name: "monitoring:read", Explicit: true}: {},
	} {
		if got := catalog.PresetsWith(scope); !slices.Equal(got, want) {
			t.Errorf("presets with %s: got %q, want %q", scope.Name, got, want)
		}
	}
	if len(first.Presets["read"]) != 1 || len(second.Presets["read"]) != 2 {
		t.Error("merging presets changed a table's own presets")
	}
	if empty := Catalog(); len(empty.Scopes) != 0 || empty.Presets == nil {
		t.Errorf("without tables: got catalog %v, want an empty one", empty)
	}
}

// TestExplicitEverywhere checks that a scope that one table excludes from "*" is excluded at
// every configured gate, even at a gate that has only other routes of the resource.
func TestExplicitEverywhere(t *testing.T) {
	t.Parallel()
	table := Table{Routes: []Route{
		{Method: "GET", Path: "/monitoring", Scope: token.Scope{Name: "monitoring:read", Explicit: true}},
		route("GET /report report:read"),
	}}
	lines := Table{Routes: []Route{route("GET /status monitoring:read"), route("POST /status monitoring:restart"),
		route("GET /report report:read")}}
	explicit := ExplicitPrefixes(lines, table)
	tokens := newTestTokens(t)
	for _, gate := range []struct {
		name     string
		table    Table
		explicit ScopePrefixes
		want     map[string]Code
	}{
		{"gate of the table", table, explicit,
			map[string]Code{"GET /monitoring": InsufficientScope, "GET /report": ""}},
		{"other gate", lines, explicit,
			map[string]Code{"GET /status": InsufficientScope, "POST /status": InsufficientScope, "GET /report": ""}},
		{"single gate", lines, nil, map[string]Code{"GET /status": "", "POST /status": ""}},
	} {
		g := newTestGate(t, func(c *Config) { c.Routes, c.Explicit = gate.table.Routes, gate.explicit })
		for request, want := range gate.want {
			method, path, _ := strings.Cut(request, " ")
			d := decide(g, tokens,
				&Request{Method: method, Path: path, Authorization: []string{"Bearer " + tokens.good}, Now: testNow,
					ClientIP: "192.0.2.1"})
			if d.Refusal.Code != want {
				t.Errorf("%s: %s: got refusal %q, want %q", gate.name, request, d.Refusal.Code, want)
			}
		}
	}
	for _, scope := range Catalog(lines, table).Scopes {
		if scope.Explicit != explicit.with(scope.Scope) {
			t.Errorf("catalog scope %s: got explicit %t", scope.Name, scope.Explicit)
		}
	}
	if _, err := New(Config{Table: table, Explicit: ScopePrefixes{}}); err == nil {
		t.Error("New accepted an explicit scope that isn't in Config.Explicit")
	}
}
