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

// Route is a method and an exact path that tokens can be allowed to use.
type Route struct {
	Method string
	// Path is the canonical path. A "*" segment matches any single non-empty segment. The gate
	// sends Path upstream, with each "*" replaced by the segment from the request.
	Path string
	// Aliases are additional paths for this route. A route with aliases can't have a "*" in
	// any of its paths.
	Aliases []string
	// Scope is the scope that a token must have.
	Scope token.Scope

	// Upload routes accept large bodies, which the gate streams instead of buffering them.
	Upload bool
	// Stream routes may be silent for any length of time, before and during the response.
	Stream bool
	// WebSocket routes allow an upgrade to the websocket protocol.
	WebSocket bool

	// Adapt checks a request and converts it to the form that the backend expects; nil leaves
	// the request unchanged. The gate doesn't call it for Upload routes. The error is a
	// *BodyError.
	Adapt func(*Call) error
	// AdaptUpload is Adapt for Upload routes; see [Gate.AdaptUpload]. Nil leaves the body
	// unchanged.
	AdaptUpload func(*Upload) error
	// Targets returns the resources that a request acts on. The gate calls it only for tokens
	// that are bound to resources, with what Adapt has returned, so that nothing else is
	// forwarded. For Upload routes, the call has no body; if they have AdaptUpload, that sets
	// [Upload.Targets] instead. Nil means that bound tokens can't use the route, unless it has a
	// Listing. The error is a *BodyError, which says why it isn't clear what the request acts on.
	Targets func(*Call) ([]token.Resource, error)
	// Listing describes the response of a route that lists resources; see [Listing].
	Listing *Listing
	// CredentialRefused reports whether a response with status 400 or more means that the
	// backend refused the gate's credential. body is nil if it couldn't be read. If
	// CredentialRefused is nil, every 401 counts as a refused credential.
	CredentialRefused func(status int, body []byte) bool
	// ReadError extracts the backend's text from a response with status 400 or more; it
	// returns false to leave the response unchanged. html reports whether the response is an
	// HTML page. Nil leaves all responses unchanged.
	ReadError func(html bool, body []byte) (ErrorText, bool)

	// Computed once for a gate's routes.
	name    string
	pattern bool
}

// label returns the route's name for error messages, or its position if the name might contain
// a token.
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

// paths returns all of the route's paths.
func (r *Route) paths() []string { return append([]string{r.Path}, r.Aliases...) }

// Table describes a backend: its routes, and presets for common sets of grants.
type Table struct {
	Routes  []Route
	Presets map[string]token.Grants
	// CheckBody rejects bodies that could damage the backend. It receives the complete body of
	// every request, whatever the path and client, except for Upload routes. Nil accepts every
	// body. The error is a *BodyError.
	CheckBody func(body []byte) error
	// Backend is the backend's name; empty if it has none.
	Backend string
	// KeyPaths are the SessionPaths where the backend creates or renews its own keys.
	KeyPaths []string
	// ResourceTypes are the types of the resources that the routes act on.
	ResourceTypes []token.ResourceType
	// SessionPaths are additional backend paths that work only in a browser. When the gate
	// refuses a token on one of them, it explains this to the client.
	SessionPaths []string
}

// Check returns an error if the route is invalid.
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
			"method %s: methods are compared literally, so no request would match it: "+
				"write one route line for each method, such as GET and POST", ConfigWord(r.Method))
	case !httpguts.ValidHeaderFieldName(r.Method): // a method is a token (RFC 9110) too
		return fmt.Errorf("%s is not a method: write an HTTP method such as GET", ConfigWord(r.Method))
	case r.Method != strings.ToUpper(r.Method):
		return fmt.Errorf("method %s: methods are case-sensitive, so write it in upper case%s",
			ConfigWord(r.Method), didYouMean(strings.ToUpper(r.Method)))
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return fmt.Errorf("method %s can't be allowed: it would let requests bypass the gate", r.Method)
	}
	for _, path := range r.paths() {
		if err := checkPattern(path); err != nil {
			return err
		}
		if path == OwnKeyPath {
			return fmt.Errorf("path %s: the gate itself responds at this path", path)
		}
		if len(r.Aliases) > 0 && strings.Contains(path, "*") {
			return fmt.Errorf("path %s: a route with aliases can't have a *", ConfigWord(path))
		}
	}
	return checkScopeName(r.Scope.Name)
}

// anyMethod holds words that other programs use for all methods.
var anyMethod = map[string]bool{"*": true, "ANY": true, "ALL": true, "EVERY": true}

// betweenMethods reports whether a character separates methods in other programs.
func betweenMethods(r rune) bool { return strings.ContainsRune(" ,;|/+&", r) }

// escapedSeparator matches escapes that some programs treat as a slash.
var escapedSeparator = regexp.MustCompile(`(?i)%(25)*(2f|5c)`)

// parameter matches wildcard segments as other programs write them: :id, {id}, {id:int}, <id>
// or [id].
var parameter = regexp.MustCompile(`^(:[A-Za-z_][A-Za-z0-9_]*[?*+]?|\{.*\}|<.*>|\[.*\])$`)

// checkPattern returns an error unless the path is canonical and each "*" is a whole segment.
func checkPattern(path string) error {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if parameter.MatchString(segment) {
			segments[i] = "*"
		}
	}
	if pattern := strings.Join(segments, "/"); pattern != path {
		return fmt.Errorf("path %s: write * for a segment that can be anything%s", ConfigWord(path),
			didYouMean(pattern))
	}
	if escape := escapedSeparator.FindString(path); escape != "" {
		return fmt.Errorf(
			"path %s contains %s, which different programs interpret differently; "+
				"the gate therefore refuses every request that contains it%s",
			ConfigWord(path), escape, didYouMean(suggestPath(path)))
	}
	if !canonicalPath(path) {
		if suggestion := didYouMean(suggestPath(path)); suggestion != "" {
			return fmt.Errorf("path %s is not canonical, so no request would match it%s", ConfigWord(path), suggestion)
		}
		return fmt.Errorf(
			"path %s is not canonical, so no request would match it: write it as the backend does, starting with /",
			ConfigWord(path))
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "*" && strings.Contains(segment, "*") {
			return fmt.Errorf("path %s: * matches a whole segment; write * alone between slashes", ConfigWord(path))
		}
	}
	return nil
}

// didYouMean returns a question to append to an error, or "" if there is no suggestion or the
// suggestion may be a token.
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

// ScopePrefixes is a set of prefixes. A scope's prefix is the part of its name before the colon.
type ScopePrefixes map[string]bool

// ExplicitPrefixes returns the prefixes of the explicit scopes in any of the tables. All scopes
// with these prefixes are explicit, so the grant "*" never covers in one table what another table
// excludes. All gates in a configuration and its [Catalog] must therefore use the same tables.
func ExplicitPrefixes(tables ...Table) ScopePrefixes {
	explicit := make(ScopePrefixes)
	for _, table := range tables {
		for i := range table.Routes {
			if scope := table.Routes[i].Scope; scope.Explicit {
				explicit[prefixOf(scope.Name)] = true
			}
		}
	}
	return explicit
}

// with reports whether the set contains the scope's prefix.
func (p ScopePrefixes) with(scope token.Scope) bool { return p[prefixOf(scope.Name)] }

func prefixOf(scopeName string) string {
	prefix, _, _ := strings.Cut(scopeName, ":")
	return prefix
}

// Catalog returns the scopes and presets defined in these tables. If several tables have a
// preset with the same name, Catalog combines their grants.
func Catalog(tables ...Table) token.Catalog {
	byName := make(map[string]*token.CatalogScope)
	explicit := ExplicitPrefixes(tables...)
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
	for _, table := range tables {
		for _, t := range table.ResourceTypes {
			known := func(c token.ResourceType) bool { return c.Name == t.Name }
			if !slices.ContainsFunc(catalog.ResourceTypes, known) {
				catalog.ResourceTypes = append(catalog.ResourceTypes, t)
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
