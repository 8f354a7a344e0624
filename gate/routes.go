package gate

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/mollygate/mollygate/token"
)

// Route is one thing a token may be allowed to do: a method and an exact path.
type Route struct {
	Method string
	// Path is canonical; a segment "*" stands for one segment that isn't empty.
	// It is also the path sent upstream, with the request's own segments for "*".
	Path string
	// Aliases are further paths that mean this route. They and its Path have no
	// "*".
	Aliases []string
	// Scope is what the token needs.
	Scope token.Scope

	// Upload routes take large bodies, which are streamed and not held.
	Upload bool
	// Stream routes may be silent for as long as they like before and while they
	// answer.
	Stream bool
	// WebSocket routes may be upgraded.
	WebSocket bool

	// Adapt checks a request and makes of it what the backend understands; nil leaves
	// all as they are. It is not called for Upload routes. Its error is a *BodyError.
	Adapt func(*Call) error
	// AdaptUpload does so for Upload routes; see [Gate.AdaptUpload]. Nil leaves the body
	// as it is.
	AdaptUpload func(*Upload) error
	// CredentialRefused tells from an answer with status 400 or more that the
	// backend refused the credential the gate gave it. body is nil if it couldn't
	// be read. A nil CredentialRefused says so of every 401.
	CredentialRefused func(status int, body []byte) bool
	// ReadError returns what the backend says in an answer with status 400 or more, or
	// false to leave the answer as it is. html reports whether the answer is an HTML
	// page. A nil ReadError knows no answer.
	ReadError func(html bool, body []byte) (ErrorText, bool)

	// What each request would have to be made for, in routes of a gate.
	name    string
	pattern bool
}

// label returns the route as errors name it: by its place, if a word of it isn't shown.
func (r *Route) label(index int, path string) string {
	if mayBeToken(r.Method) || mayBeToken(path) {
		return fmt.Sprintf("route %d", index+1)
	}
	return "route " + r.Method + " " + path
}

// Name returns "METHOD /path".
func (r *Route) Name() string {
	if r.name != "" {
		return r.name
	}
	return r.Method + " " + r.Path
}

// paths returns all paths that mean the route.
func (r *Route) paths() []string { return append([]string{r.Path}, r.Aliases...) }

// Table is the routes of a backend, with names for what they are often granted
// for.
type Table struct {
	Routes  []Route
	Presets map[string]token.Grants
	// CheckBody keeps away from the backend what would harm it: the whole body of any
	// request but those of Upload routes, from any client and to any path. Nil lets
	// all through. Its error is a *BodyError.
	CheckBody func(body []byte) error
	// Backend is the backend's name; empty if it has none.
	Backend string
	// KeyPaths are those of SessionPaths where the backend makes keys of its own, or
	// prolongs them.
	KeyPaths []string
	// SessionPaths are further paths of the backend, for browsers only. Refusals of
	// tokens there say so.
	SessionPaths []string
}

// Check returns an error that says what is wrong with a route.
func (r *Route) Check() error {
	switch methods := strings.FieldsFunc(r.Method, betweenMethods); {
	case len(methods) > 1:
		list := strings.Join(methods, ", ")
		if mayBeToken(list) {
			list = "GET, POST and so on"
		}
		return fmt.Errorf("method %s: write one route line for each method: %s", ConfigWord(r.Method), list)
	case anyMethod[strings.ToUpper(r.Method)]:
		return fmt.Errorf(
			"method %s: methods are compared as they are, so no request would match it: write one route line for each method, such as GET and POST", ConfigWord(r.Method))
	case !httpguts.ValidHeaderFieldName(r.Method): // a method is a token, too
		return fmt.Errorf("%s is not a method: write for example GET", ConfigWord(r.Method))
	case r.Method != strings.ToUpper(r.Method):
		return fmt.Errorf("method %s: methods are told apart by letter case, so write it in upper case%s",
			ConfigWord(r.Method), didYouMean(strings.ToUpper(r.Method)))
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return fmt.Errorf("method %s can't be allowed: it would let requests past the gate", r.Method)
	}
	for _, path := range r.paths() {
		if err := checkPattern(path); err != nil {
			return err
		}
		if len(r.Aliases) > 0 && strings.Contains(path, "*") {
			return fmt.Errorf("path %s: a route with aliases can't have a *", ConfigWord(path))
		}
	}
	return checkScopeName(r.Scope.Name)
}

// anyMethod is what other programs take for all methods.
var anyMethod = map[string]bool{"*": true, "ANY": true, "ALL": true, "EVERY": true}

// betweenMethods reports whether other programs separate methods by a character.
func betweenMethods(r rune) bool { return strings.ContainsRune(" ,;|/+&", r) }

// escapedSeparator is what some programs take for a slash.
var escapedSeparator = regexp.MustCompile(`(?i)%(25)*(2f|5c)`)

// parameter is a segment that stands for any in other programs: :id, {id}, {id:int}, <id>
// or [id].
var parameter = regexp.MustCompile(`^(:[A-Za-z_][A-Za-z0-9_]*[?*+]?|\{.*\}|<.*>|\[.*\])$`)

// checkPattern returns an error unless the path is canonical and each * in it is a
// segment.
func checkPattern(path string) error {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if parameter.MatchString(segment) {
			segments[i] = "*"
		}
	}
	if pattern := strings.Join(segments, "/"); pattern != path {
		return fmt.Errorf("path %s: write * for a segment that may be anything%s", ConfigWord(path),
			didYouMean(pattern))
	}
	if escape := escapedSeparator.FindString(path); escape != "" {
		return fmt.Errorf(
			"path %s holds %s: programs differ about what it means, so the gate refuses every request with one%s",
			ConfigWord(path), escape, didYouMean(suggestPath(path)))
	}
	if !canonicalPath(path) {
		if suggestion := didYouMean(suggestPath(path)); suggestion != "" {
			return fmt.Errorf("path %s is not canonical, so no request would match it%s", ConfigWord(path), suggestion)
		}
		return fmt.Errorf(
			"path %s is not canonical, so no request would match it: write it as the backend has it, beginning with /",
			ConfigWord(path))
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "*" && strings.Contains(segment, "*") {
			return fmt.Errorf("path %s: * stands for a whole segment; write * alone between slashes", ConfigWord(path))
		}
	}
	return nil
}

// didYouMean returns a question for the end of an error, or nothing if there is no
// suggestion or it may be a token.
func didYouMean(suggestion string) string {
	if suggestion == "" || mayBeToken(suggestion) {
		return ""
	}
	return "; did you mean " + suggestion + "?"
}

func checkScopeName(name string) error {
	resource, action, ok := strings.Cut(name, ":")
	valid := func(s string) bool {
		return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	}
	if !ok || !valid(resource) || !valid(action) {
		return fmt.Errorf("scope %s: write resource:action in lower case, for example report:read", ConfigWord(name))
	}
	return nil
}

// Resources is a set of resources. The resource of a scope is its name up to the
// colon.
type Resources map[string]bool

// ExplicitResources returns the resources that have a route with an explicit scope
// in any of the tables. All scopes of such a resource are explicit: no other route,
// of whichever table, may open to the grant "*" what one table withholds from it.
// So a configuration's gates and its [Catalog] must be given the same tables.
func ExplicitResources(tables ...Table) Resources {
	explicit := make(Resources)
	for _, table := range tables {
		for i := range table.Routes {
			if scope := table.Routes[i].Scope; scope.Explicit {
				explicit[resourceOf(scope.Name)] = true
			}
		}
	}
	return explicit
}

// with reports whether the scope's resource is in the set.
func (r Resources) with(scope token.Scope) bool { return r[resourceOf(scope.Name)] }

func resourceOf(scopeName string) string {
	resource, _, _ := strings.Cut(scopeName, ":")
	return resource
}

// Catalog returns what tokens can be granted on these tables. A preset that several
// tables have grants what it grants in each.
func Catalog(tables ...Table) token.Catalog {
	byName := make(map[string]*token.CatalogScope)
	explicit := ExplicitResources(tables...)
	catalog := token.Catalog{Presets: make(map[string]token.Grants)}
	for _, table := range tables {
		for i := range table.Routes {
			route := &table.Routes[i]
			scope := byName[route.Scope.Name]
			if scope == nil {
				scope = &token.CatalogScope{Scope: route.Scope}
				byName[route.Scope.Name] = scope
			}
			scope.Explicit = explicit.with(scope.Scope)
			if !slices.Contains(scope.Routes, route.Name()) {
				scope.Routes = append(scope.Routes, route.Name())
			}
		}
		for name, grants := range table.Presets {
			for _, grant := range grants {
				if !slices.Contains(catalog.Presets[name], grant) {
					catalog.Presets[name] = append(catalog.Presets[name], grant)
				}
			}
		}
	}
	for _, scope := range byName {
		slices.Sort(scope.Routes)
		catalog.Scopes = append(catalog.Scopes, *scope)
	}
	slices.SortFunc(catalog.Scopes, func(a, b token.CatalogScope) int { return cmp.Compare(a.Name, b.Name) })
	return catalog
}
