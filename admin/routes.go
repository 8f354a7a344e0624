package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/mollygate/mollygate/token"
)

// route is one API call.
type route struct {
	method string
	path   string
	// parameters are the query parameters that the call accepts.
	parameters []string
	serve      func(*call) *Refusal
	// maxBody is the maximum length of the body in bytes, if it is less than the package's
	// maxBody.
	maxBody int64
	// reads marks calls that change nothing even though their method isn't safe.
	reads bool
	// local marks calls that don't wait for other gates' changes.
	local bool
	// operator marks calls that exist only where all callers have full access without a token.
	operator bool
}

const (
	tokensPath = "/tokens"
	tokenPath  = "/tokens/{id}"
	// sessionPath exists only if browsers can sign in.
	sessionPath = "/session"
	// linksPath exists only if there are sessions to sign in to.
	linksPath = "/sign-in-links"
)

// routes lists all API calls.
var routes = []route{
	{method: http.MethodGet, path: tokensPath, parameters: listParameters, serve: (*call).listTokens},
	{method: http.MethodPost, path: tokensPath, serve: (*call).createToken},
	{method: http.MethodGet, path: tokenPath, serve: (*call).getToken},
	{method: http.MethodPatch, path: tokenPath, serve: (*call).editToken},
	{method: http.MethodDelete, path: tokenPath, serve: (*call).deleteToken},
	{method: http.MethodGet, path: tokenPath + "/usage", parameters: usageParameters, serve: (*call).tokenUsage},
	{method: http.MethodGet, path: tokenPath + "/previous", serve: (*call).previousSecret},
	{method: http.MethodGet, path: tokenPath + "/resources", serve: (*call).tokenResources},
	{method: http.MethodGet, path: tokenPath + "/refusals", serve: (*call).tokenRefusals},
	{method: http.MethodPost, path: tokenPath + "/rotate", serve: (*call).rotateToken},
	{method: http.MethodPost, path: tokenPath + "/revoke", serve: (*call).revokeToken},
	{method: http.MethodPost, path: tokenPath + "/disable", serve: (*call).disableToken},
	{method: http.MethodPost, path: tokenPath + "/enable", serve: (*call).enableToken},
	{method: http.MethodPost, path: "/lookup", serve: (*call).lookUpToken, reads: true},
	{method: http.MethodGet, path: "/audit", parameters: auditParameters, serve: (*call).listAudit},
	{method: http.MethodPost, path: "/introspect", serve: (*call).introspect, reads: true},
	{method: http.MethodPost, path: "/explain", serve: (*call).explain, reads: true},
	{method: http.MethodGet, path: "/scopes", serve: (*call).listScopes},
	{method: http.MethodGet, path: "/resources", parameters: resourcesParameters, serve: (*call).listResources},
	{method: http.MethodGet, path: "/accounts", serve: (*call).listAccounts},
	{method: http.MethodGet, path: "/overview", serve: (*call).overview},
	{method: http.MethodGet, path: "/events", serve: (*call).events, local: true},
	{method: http.MethodGet, path: "/nodes", serve: (*call).listNodes},
	{method: http.MethodGet, path: "/settings", serve: (*call).showSettings, local: true},
	{method: http.MethodGet, path: "/stats", serve: (*call).stats},
	{method: http.MethodGet, path: "/healthz", serve: (*call).health, local: true},
	{method: http.MethodPost, path: "/clock", serve: (*call).acceptClock, local: true},
	{method: http.MethodPost, path: "/compact", serve: (*call).compactStore, local: true},
	{method: http.MethodGet, path: "/backup", serve: (*call).backup},
	{method: http.MethodPost, path: "/restore", serve: (*call).restore, local: true, operator: true},
	{method: http.MethodPost, path: "/shared/accept", serve: (*call).acceptShared, local: true, operator: true},
	{method: http.MethodPost, path: "/confirm", serve: (*call).confirm, reads: true, local: true},
	{method: http.MethodPost, path: "/import", serve: (*call).importTokens},
	{method: http.MethodPost, path: sessionPath, serve: (*call).signIn, maxBody: maxSignIn, local: true},
	{method: http.MethodGet, path: sessionPath, serve: (*call).showSession, local: true},
	{method: http.MethodDelete, path: sessionPath, parameters: signOutParameters, serve: (*call).signOut, local: true},
	{method: http.MethodPost, path: linksPath, serve: (*call).createLink, local: true},
	{method: http.MethodDelete, path: linksPath, serve: (*call).endLinks, local: true},
	{method: http.MethodGet, path: "/openapi.json", serve: (*call).describe},
}

// route finds the request's route. If the path exists but doesn't accept the method, the
// route is nil and allow lists the accepted methods. Paths must match exactly: route
// compares them as escaped by the client, so "//" and "%2e" don't match.
func (c *call) route() (found *route, allow string, refusal *Refusal) {
	pattern, segment := patternOf(c.r)
	if strings.HasPrefix(pattern, tokenPath) {
		var err error
		if c.id, err = token.ParseID(segment); err != nil {
			return nil, "", c.refuseID(segment)
		}
	}
	found, allow = findRoute(c.r.Method, pattern)
	if pattern == sessionPath && c.Bearer == nil || pattern == linksPath && !c.hasSessions() ||
		forOperators(pattern) && c.OperatorSessions == nil {
		found, allow = nil, ""
	}
	if found == nil && allow == "" {
		return nil, "",
			refuseError(codeNotFound, "There is nothing at this path. "+
				"Paths must match exactly, without a trailing slash.")
	}
	return found, allow, nil
}

// routeName returns the name of the request's route, or "".
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

// onlyReads reports whether the request changes nothing.
func onlyReads(r *http.Request) bool {
	pattern, _ := patternOf(r)
	found, _ := findRoute(r.Method, pattern)
	return safe(r.Method) || found != nil && found.reads
}

// patternOf returns the request's path with the token's ID replaced by {id}, and the
// replaced segment.
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

// forOperators reports whether a path exists only where all callers have full access without a
// token.
func forOperators(pattern string) bool {
	return slices.ContainsFunc(routes, func(r route) bool { return r.path == pattern && r.operator })
}

// refuseID returns the refusal for a path segment that should be an ID but isn't. The
// refusal never repeats the segment, because the segment may be a token, possibly in a
// format that only the store recognizes.
func (c *call) refuseID(segment string) *Refusal {
	if _, err := c.Policy.Prefixes.Parse(segment); err == nil {
		return refuseTokenInURL()
	}
	return refuseError(codeNotFound, "No token has this ID. An ID has 12 characters from 0-9, A-Z and a-z.")
}
