package admin

import (
	"net/http"
	"strings"

	"github.com/mollygate/mollygate/tokenstore"
)

// route is one call of the API.
type route struct {
	method string
	path   string
	// parameters are those the query may have.
	parameters []string
	serve      func(*call) *Refusal
}

const (
	tokensPath = "/tokens"
	tokenPath  = "/tokens/{id}"
	// sessionPath is there where browsers can sign in.
	sessionPath = "/session"
)

// routes are the calls there are.
var routes = []route{
	{http.MethodGet, tokensPath, listParameters, (*call).listTokens},
	{http.MethodPost, tokensPath, nil, (*call).createToken},
	{http.MethodGet, tokenPath, nil, (*call).getToken},
	{http.MethodPatch, tokenPath, nil, (*call).editToken},
	{http.MethodDelete, tokenPath, nil, (*call).deleteToken},
	{http.MethodGet, tokenPath + "/usage", usageParameters, (*call).tokenUsage},
	{http.MethodGet, tokenPath + "/previous", nil, (*call).previousSecret},
	{http.MethodPost, tokenPath + "/rotate", nil, (*call).rotateToken},
	{http.MethodPost, tokenPath + "/revoke", nil, (*call).revokeToken},
	{http.MethodPost, tokenPath + "/disable", nil, (*call).disableToken},
	{http.MethodPost, tokenPath + "/enable", nil, (*call).enableToken},
	{http.MethodPost, "/lookup", nil, (*call).lookUpToken},
	{http.MethodGet, "/audit", auditParameters, (*call).listAudit},
	{http.MethodPost, "/introspect", nil, (*call).introspect},
	{http.MethodPost, "/explain", nil, (*call).explain},
	{http.MethodGet, "/scopes", nil, (*call).listScopes},
	{http.MethodGet, "/accounts", nil, (*call).listAccounts},
	{http.MethodGet, "/stats", nil, (*call).stats},
	{http.MethodGet, "/healthz", nil, (*call).health},
	{http.MethodPost, "/clock", nil, (*call).acceptClock},
	{http.MethodGet, "/backup", nil, (*call).backup},
	{http.MethodPost, "/import", nil, (*call).importTokens},
	{http.MethodPost, sessionPath, nil, (*call).signIn},
	{http.MethodGet, sessionPath, nil, (*call).showSession},
	{http.MethodDelete, sessionPath, nil, (*call).signOut},
	{http.MethodGet, "/openapi.json", nil, (*call).describe},
}

// route finds the request's route. If the path is known but not with this
// method, the route is nil and allow lists the methods. Paths have one spelling:
// they are compared as the client escaped them, so that neither "//" nor "%2e"
// is anything but unknown.
func (c *call) route() (found *route, allow string, refusal *Refusal) {
	pattern, segment := patternOf(c.r)
	if strings.HasPrefix(pattern, tokenPath) {
		var err error
		if c.id, err = tokenstore.ParseID(segment); err != nil {
			return nil, "", c.refuseID(segment)
		}
	}
	found, allow = findRoute(c.r.Method, pattern)
	if pattern == sessionPath && c.Bearer == nil {
		found, allow = nil, ""
	}
	if found == nil && allow == "" {
		return nil, "", refuseError(codeNotFound, "There is nothing at this path. Paths are exact: there is no slash at their end.")
	}
	return found, allow, nil
}

// routeName returns the name of the request's route, or none.
func routeName(r *http.Request) string {
	pattern, _ := patternOf(r)
	if found, _ := findRoute(r.Method, pattern); found != nil {
		return found.method + " " + found.path
	}
	if _, known := mollymawkCalls[pattern]; known && r.Method == http.MethodPost {
		return http.MethodPost + " " + pattern
	}
	return ""
}

// patternOf returns the request's path as routes have it, and what stands where
// they have an id.
func patternOf(r *http.Request) (pattern, segment string) {
	path := r.URL.EscapedPath()
	rest, ok := strings.CutPrefix(path, tokensPath+"/")
	if !ok {
		return path, ""
	}
	segment, action, deeper := strings.Cut(rest, "/")
	if deeper {
		return tokenPath + "/" + action, segment
	}
	return tokenPath, segment
}

func findRoute(method, pattern string) (found *route, allow string) {
	var methods []string
	for i := range routes {
		if routes[i].path != pattern {
			continue
		}
		if routes[i].method == method {
			return &routes[i], ""
		}
		methods = append(methods, routes[i].method)
	}
	return nil, strings.Join(methods, ", ")
}

// refuseID answers a path segment that stands where an id should and isn't one.
// It is never repeated: it may be a token, also of a form that only the store
// could tell.
func (c *call) refuseID(segment string) *Refusal {
	if _, err := c.Policy.Prefixes.Parse(segment); err == nil {
		return refuseTokenInURL()
	}
	return refuseError(codeNotFound, "No token has this id. An id is 12 characters of 0-9, A-Z, a-z.")
}
