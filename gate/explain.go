package gate

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Question describes a hypothetical request for [Gate.Explain].
type Question struct {
	Method string
	// Target is the path and the optional query, as a client would send them.
	Target string
	// Text is the presented token. If it is empty, Token is presented with its current secret.
	Text  string
	Token *token.Token
	// Body is the request's body, or nil if it isn't known. Targets, if not empty, are what the
	// request acts on, instead of what the body says. They matter only if the token is bound to
	// resources.
	Body    []byte
	Targets []token.Resource
	// ClientIP is the client address. If it is the zero Addr, Explain skips the address check.
	ClientIP netip.Addr
	Now      time.Time
}

// Explanation is the outcome of a hypothetical request.
type Explanation struct {
	// Refusal is the first refusal; its Code is empty if the request would be allowed.
	Refusal Refusal
	// Token is the presented token, if there is one.
	Token tokenstore.Principal
	// Checks holds the results of the checks that could be run, in order. The first failure
	// determines the refusal, but later failures would have to be fixed too.
	Checks []CheckResult
}

// CheckResult is the outcome of one check.
type CheckResult struct {
	Name   string
	Pass   bool
	Detail string
}

// checkNames holds the names of the checks in an explanation. Checks without a name depend on
// facts that a Question lacks, such as the body length.
var checkNames = [checksEnd]string{
	checkMethod:     "method",
	checkURL:        "url",
	checkCredential: "credential",
	checkPath:       "path",
	checkToken:      "token",
	checkKind:       "kind",
	checkState:      "state",
	checkClientIP:   "client_ip",
	checkRoute:      "route",
	checkRate:       "rate_limit",
	checkScope:      "scope",
	checkResources:  "resource",
	checkAccount:    "account",
	checkQuota:      "quota",
}

// Explain returns what the gate would do with a request. It runs the same checks as
// [Gate.Decide] but continues after a failed check and counts nothing.
func (g *Gate) Explain(store Store, question Question) Explanation {
	r, readable := question.request(g.config.Prefixes)
	s := scratch{store: store, readOnly: true}
	var d Decision
	if question.Text == "" {
		d.Match = tokenstore.Match{Token: tokenstore.PrincipalOf(question.Token),
			Status: question.Token.Status(question.Now)}
	}
	var e Explanation
	for c := range checksEnd {
		name := checkNames[c]
		if name == "" || (question.Text == "" && (c == checkCredential || c == checkToken)) ||
			(c == checkClientIP && !question.ClientIP.IsValid()) {
			continue
		}
		if needsToken := c >= checkKind && c != checkRoute; needsToken && !d.Matched() {
			continue
		}
		if c == checkToken && s.code != "" && s.code != MalformedToken {
			continue
		}
		if (c == checkScope || c == checkResources) && d.Route == nil {
			continue
		}
		if c == checkResources {
			d.Refusal = g.explainTargets(&question, &r, &d.Finding)
		} else {
			g.check(c, &r, &d, &s)
		}
		if c == checkPath && !readable {
			d.Refusal = Refuse(InvalidPath)
		}
		result := CheckResult{Name: name, Pass: !d.Refused()}
		if d.Refused() {
			d.Refusal.Detail = d.Refusal.explanation(&r)
			d.Refusal.Token, d.Refusal.Limits = d.Match.Token, d.Limits
			result.Detail = d.Refusal.Problem().Detail
			if e.Refusal.Code == "" {
				e.Refusal = d.Refusal
			}
			d.Refusal = Refusal{}
		} else {
			result.Detail = d.passed(c, &r)
		}
		e.Checks = append(e.Checks, result)
	}
	e.Token = d.Match.Token
	return e
}

// explainTargets reads what the hypothetical request acts on, and returns a refusal if the token
// may not act on it. If neither the body nor the targets are known, the targets may remain
// unknown.
func (g *Gate) explainTargets(question *Question, r *Request, f *Finding) Refusal {
	if len(question.Targets) > 0 {
		f.Binding = Binding{Targets: question.Targets, Read: true}
		return f.allowTargets()
	}
	if refusal := f.allowTargets(); refusal.Code != "" || !f.Bound() || f.Route.Targets == nil {
		return refusal
	}
	if refusal := f.BindQuery(r.Query); refusal.Code != "" {
		return refusal
	}
	call := Call{Path: r.Path, Query: r.Query, ContentType: []string{"application/json"}, Body: question.Body}
	var refusal Refusal
	if invalid, ok := errors.AsType[*BodyError](g.Adapt(f.Route, &call)); ok {
		refusal = f.RefuseBody(invalid)
	} else {
		refusal = g.Bind(f, &call)
	}
	if refusal.Code == AmbiguousTarget && question.Body == nil && r.Method != http.MethodGet {
		f.Binding = Binding{}
		return Refusal{}
	}
	return refusal
}

// request converts the question to a [Request]. readable reports whether an HTTP server could
// parse the target at all.
func (question Question) request(prefixes token.Prefixes) (r Request, readable bool) {
	r = Request{Method: question.Method, ClientIP: AddressText(question.ClientIP), Now: question.Now}
	if question.Text != "" {
		r.Authorization = []string{"Bearer " + question.Text}
	}
	u, err := url.ParseRequestURI(question.Target)
	if err != nil {
		r.TokenInURL = tokenInText(prefixes, question.Target)
		return r, false
	}
	r.Path, r.Query = RawPath(u), u.RawQuery
	r.TokenInURL = URLHasToken(prefixes, u)
	return r, true
}

// explanation returns the detail for an explanation. Unlike a response, it has no header that
// lists the methods.
func (r *Refusal) explanation(request *Request) string {
	upper := strings.ToUpper(request.Method)
	switch allowed := strings.Split(r.Allow, ", "); {
	case r.Code != MethodNotAllowed, r.Detail != "":
		return r.Detail
	case upper != request.Method && slices.Contains(allowed, upper):
		return "Methods are case-sensitive: write " + upper + " instead of " + request.Method + "."
	default:
		return "This path doesn't support " + request.Method + ". It supports " + r.Allow + "."
	}
}

// passed describes the outcome of a check that passed.
func (d *Decision) passed(c check, r *Request) string {
	switch c {
	case checkMethod:
		return "The method isn't CONNECT or TRACE."
	case checkURL:
		return "The URL contains no API key."
	case checkCredential:
		return "The request has exactly one bearer token."
	case checkPath:
		return "The path is canonical."
	case checkToken:
		if d.Match.Previous {
			return "This is the previous secret of key " + d.Match.Token.ID.String() +
				", valid until " + formatTime(d.Match.PreviousValidUntil()) + "."
		}
		return "This is the current secret of key " + d.Match.Token.ID.String() + "."
	case checkKind:
		return "The key is an API key."
	case checkState:
		if d.Match.Token.ExpiresAt().IsZero() {
			return "The key is active and never expires."
		}
		return "The key is active until " + formatTime(d.Match.Token.ExpiresAt()) + "."
	case checkClientIP:
		return passedIP(&d.Match.Token, ParseAddress(r.ClientIP))
	case checkRoute:
		if d.OwnKey {
			return "The gate itself responds with facts about the key, which requires no scope."
		}
		return "The route is " + d.Route.Name() + ", which requires the scope " + d.Route.Scope.Name + "."
	case checkScope:
		return "The key has " + strings.Join(coveringGrants(d.Match.Token.Scopes, d.Route.Scope), ", ") + "."
	case checkResources:
		return d.passedResources()
	case checkAccount:
		return "The account " + d.Match.Token.Account + " is configured."
	case checkRate:
		rate, _ := d.Limits.Standing()
		return passedLimit(rate, "rate limit", d.Match.Token.RateLimit.String())
	case checkQuota:
		_, quota := d.Limits.Standing()
		return passedLimit(quota, "quota", d.Match.Token.Quota.String())
	}
	return ""
}

func passedLimit(standing token.Standing, name, limit string) string {
	if standing.Limit == 0 {
		return "The key has no " + name + "."
	}
	return strconv.FormatInt(standing.Remaining, 10) + " of " + strconv.FormatInt(standing.Limit, 10) +
		" requests left (" + name + " " + limit + ")."
}

func (d *Decision) passedResources() string {
	resources := d.Match.Token.Resources
	switch {
	case len(resources) == 0:
		return "The key isn't bound to resources."
	case d.Route.Listing != nil:
		return "The response lists only what the key may act on: " + listed(resources) + "."
	case !d.Read && d.Route.AdaptUpload != nil:
		return "The key may act only on " + listed(resources) + ". To check an upload, give its target."
	case !d.Read:
		return "The key may act only on " + listed(resources) + ". To check what the request acts on, give its body " +
			"or its target."
	}
	var targets []string
	for _, target := range d.Targets {
		targets = append(targets, target.String())
	}
	return "The request acts on " + strings.Join(targets, ", ") + ", and the key may act on " + listed(resources) + "."
}

func passedIP(token *tokenstore.Principal, ip netip.Addr) string {
	if len(token.AllowedIPs) == 0 {
		return "The key may be used from any address."
	}
	ip = ip.Unmap().WithZone("")
	i := slices.IndexFunc(token.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
	return ip.String() + " is in " + token.AllowedIPs[i].String() + "."
}

// coveringGrants returns the grants that cover the scope.
func coveringGrants(grants token.Grants, scope token.Scope) (covering []string) {
	for _, grant := range grants {
		if (token.Grants{grant}).Cover(scope) {
			covering = append(covering, grant)
		}
	}
	return covering
}

// NamedGate is a gate and its name in explanations.
type NamedGate struct {
	Name string
	// URL is where clients reach the gate, without a path, or empty if that isn't known.
	URL string
	*Gate
}

// BestMatches returns the gates that best match a request. It prefers gates with a matching
// route, then gates that support the path with other methods. If there are neither, it returns
// all gates.
func BestMatches(gates []NamedGate, method, target string) []NamedGate {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return gates
	}
	var withRoute, withPath []NamedGate
	for _, g := range gates {
		switch route, allow := g.router.find(method, RawPath(u)); {
		case route != nil:
			withRoute = append(withRoute, g)
		case allow != "":
			withPath = append(withPath, g)
		}
	}
	switch {
	case withRoute != nil:
		return withRoute
	case withPath != nil:
		return withPath
	}
	return gates
}
