package gate

import (
	"strings"
	"testing"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// boundRoutes are routes whose targets are the words of the query and the body, such as
// "unikernel/web".
func boundRoutes() []Route {
	scope := token.Scope{Name: "unikernel:all"}
	targets := func(call *Call) ([]token.Resource, error) {
		words := strings.Fields(call.Query + " " + string(call.Body))
		if len(words) == 0 {
			return nil, &BodyError{Detail: "The body is missing."}
		}
		return resources(words...), nil
	}
	return []Route{
		{Method: "GET", Path: "/list", Scope: scope,
			Listing: &Listing{Type: "unikernel", Unnamed: []string{"instance"}}},
		{Method: "GET", Path: "/all", Scope: scope},
		{Method: "POST", Path: "/act", Scope: scope, Targets: targets},
		{Method: "GET", Path: "/see", Scope: scope, Targets: targets},
		{Method: "POST", Path: "/convert", Scope: scope, Targets: targets, Adapt: func(call *Call) error {
			if len(call.Body) == 0 {
				return &BodyError{Detail: "The body is empty."}
			}
			return nil
		}},
		{Method: "POST", Path: "/upload", Scope: scope, Upload: true, AdaptUpload: func(u *Upload) error {
			u.Targets = resources(u.ContentType...)
			return nil
		}},
	}
}

// bindTo returns a change that binds a token to resources.
func bindTo(resources string) func(*token.Token) {
	return func(tok *token.Token) { tok.Resources = strings.Fields(resources) }
}

func resources(texts ...string) (list []token.Resource) {
	for _, text := range texts {
		typ, name, _ := strings.Cut(text, "/")
		list = append(list, token.Resource{Type: typ, Name: name, Container: typ == "instance"})
	}
	return list
}

// TestBind checks which requests the gate allows if a token is bound to resources.
func TestBind(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, func(c *Config) { c.Routes = boundRoutes() })
	for _, tt := range []struct{ bound, request, want string }{
		{"", "GET /all", ""},
		{"", "GET /list", ""},
		{"", "POST /act", ""},
		{"unikernel/web", "GET /all", "403 resource_not_allowed"},
		{"unikernel/web", "GET /list", ""},
		{"unikernel/web block/db", "GET /list", ""},
		{"instance/a", "GET /list", "403 resource_not_allowed"},
		{"instance/a unikernel/web", "GET /list", "403 resource_not_allowed"},
		{"unikernel/web", "POST /act unikernel/web", ""},
		{"unikernel/web", "POST /act unikernel/web unikernel/web2", "403 resource_not_allowed unikernel/web2"},
		{"unikernel/web", "POST /act instance/a", "403 resource_not_allowed"},
		{"unikernel/web", "POST /act", "400 ambiguous_target"},
		{"unikernel/web", "POST /upload instance/a unikernel/web", ""},
		{"unikernel/web", "POST /upload unikernel/api", "403 resource_not_allowed unikernel/api"},
		{"unikernel/web", "POST /upload", "403 resource_not_allowed"},
	} {
		tokens := newTestTokens(t)
		text := tokens.add(t, "mmk", "bound0000000", bindTo(tt.bound))
		words := strings.Fields(tt.request)
		method, path, named := words[0], words[1], words[2:]
		d := decide(g, tokens, request(text, func(r *Request) { r.Method, r.Path = method, path }))
		refusal := d.Refusal
		switch {
		case d.Refused():
		case path == "/upload":
			u := Upload{ContentType: named}
			if err := g.AdaptUpload(d.Route, &u); err != nil {
				t.Fatal(err)
			}
			refusal = d.BindUpload(&u)
		default:
			refusal = g.Bind(&d.Finding, &Call{Body: []byte(strings.Join(named, " "))})
		}
		got := refusalText(refusal)
		if refusal.Resource != "" {
			got += " " + refusal.Resource
		}
		if got != tt.want {
			t.Errorf("bound to %q: %s: got %q, want %q", tt.bound, tt.request, got, tt.want)
		}
		if patterns := d.Patterns(); refusal.Code == "" && tt.bound != "" && path != "/list" &&
			strings.Join(patterns, " ") != tt.bound {
			t.Errorf("bound to %q: %s: got patterns %v", tt.bound, tt.request, patterns)
		}
		if filter, keep := d.ListFilter(); !d.Refused() && ((filter != nil) != (path == "/list" && tt.bound != "") ||
			keep != nil && (!keep("web") || keep("web2"))) {
			t.Errorf("bound to %q: %s: got filter %v", tt.bound, tt.request, filter)
		}
	}
}

// TestBindQuery checks that a repeated query parameter is refused only if the token is bound.
func TestBindQuery(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, func(c *Config) { c.Routes = boundRoutes() })
	for query, want := range map[string]string{
		"": "", "a=1&b=2": "", "a=1&": "", "&&a=1": "", "a=1&a=1": "400 ambiguous_target",
		"a&A=2":     "400 ambiguous_target",
		"a=1&%61=2": "400 ambiguous_target", "%zz=1&%zz=2": "400 ambiguous_target",
	} {
		tokens := newTestTokens(t)
		text := tokens.add(t, "mmk", "bound0000000", bindTo("unikernel/web"))
		for _, text := range []string{text, tokens.good} {
			d := decide(g, tokens, request(text, func(r *Request) { r.Method, r.Path = "POST", "/act" }))
			if text == tokens.good {
				want = ""
			}
			if got := refusalText(d.BindQuery(query)); got != want {
				t.Errorf("%s: got %q, want %q", query, got, want)
			}
		}
	}
}

// TestRecheckResources changes a token's resources while a request is being sent.
func TestRecheckResources(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, func(c *Config) { c.Routes = boundRoutes() })
	for _, tt := range []struct {
		before, after, path string
		// bind is set if the targets have been read before the change.
		bind bool
		want string
	}{
		{"", "unikernel/web", "/act", true, "403 resource_not_allowed"},
		{"", "unikernel/web", "/act", false, ""}, // what the request acts on is still to be read
		{"", "unikernel/web", "/list", true, "403 resource_not_allowed"},
		{"unikernel/web", "unikernel/api", "/list", true, "403 resource_not_allowed"},
		{"unikernel/web", "unikernel/web", "/list", true, ""},
		{"unikernel/web", "unikernel/api", "/act", true, "403 resource_not_allowed"},
		{"unikernel/web", "unikernel/we*", "/act", true, ""},
		{"unikernel/web", "", "/act", true, ""},
	} {
		tokens := newTestTokens(t)
		text := tokens.add(t, "mmk", "bound0000000", bindTo(tt.before))
		method := "POST"
		if tt.path == "/list" {
			method = "GET"
		}
		d := decide(g, tokens, request(text, func(r *Request) { r.Method, r.Path = method, tt.path }))
		if tt.bind {
			if refusal := g.Bind(&d.Finding, &Call{Body: []byte("unikernel/web")}); refusal.Code != "" {
				t.Fatal(refusal.Code)
			}
		}
		match := d.Match
		changed := tokens.known[d.Match.Digest].token.Clone()
		changed.Resources = strings.Fields(tt.after)
		match.Token = tokenstore.PrincipalOf(changed)
		refusal := g.RecheckMatch(&d.Finding, &match, request("", nil).ClientIP, testNow)
		if got := refusalText(refusal); got != tt.want {
			t.Errorf("%s, %q changed to %q: got %q, want %q", tt.path, tt.before, tt.after, got, tt.want)
		}
	}
}

// TestExplainResources checks that an explanation agrees with Bind if it knows what the request
// acts on, and says what to give if it doesn't.
func TestExplainResources(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, func(c *Config) { c.Routes = boundRoutes() })
	tokens := newTestTokens(t)
	bound := tokens.add(t, "mmk", "bound0000000", bindTo("unikernel/web"))
	for _, tt := range []struct {
		text, method, target, body string
		targets                    []token.Resource
		code                       Code
		says                       string
	}{
		{tokens.good, "POST", "/act", "", nil, "", "isn't bound"},
		{bound, "POST", "/act", "", nil, "", "give its body or its target"},
		{bound, "POST", "/act", "unikernel/web", nil, "", "acts on unikernel/web, and the key"},
		{bound, "POST", "/act", "unikernel/api", nil, ResourceNotAllowed, "may not act on unikernel/api"},
		{bound, "POST", "/act?unikernel/api", "", nil, ResourceNotAllowed, "may not act on unikernel/api"},
		{bound, "POST", "/act", " ", nil, AmbiguousTarget, "The body is missing"},
		{bound, "POST", "/act", "", resources("block/db"), ResourceNotAllowed, "block/db"},
		{bound, "GET", "/see", "", nil, AmbiguousTarget, "The body is missing"},
		{bound, "GET", "/see?unikernel/web", "", nil, "", "acts on unikernel/web, and the key"},
		{bound, "POST", "/convert", "", nil, "", "give its body or its target"},
		{bound, "POST", "/convert", "unikernel/api", nil, ResourceNotAllowed, "may not act on unikernel/api"},
		{bound, "POST", "/upload", "", nil, "", "an upload, give its target"},
		{bound, "POST", "/upload", "", resources("unikernel/web"), "", "acts on unikernel/web"},
		{bound, "GET", "/list", "", nil, "", "lists only what the key may act on: unikernel/web"},
		{bound, "GET", "/all", "", nil, ResourceNotAllowed, "can't be limited"},
	} {
		question := Question{Method: tt.method, Target: tt.target, Text: tt.text, Targets: tt.targets, Now: testNow}
		if tt.body != "" {
			question.Body = []byte(tt.body)
		}
		e := g.Explain(tokens, question)
		detail := ""
		for _, c := range e.Checks {
			if c.Name == "resource" {
				detail = c.Detail
			}
		}
		if e.Refusal.Code != tt.code || !strings.Contains(detail, tt.says) {
			t.Errorf("%s %s %q %v: got code %q, detail %q", tt.method, tt.target, tt.body, tt.targets, e.Refusal.Code,
				detail)
		}
	}
}
