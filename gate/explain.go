package gate

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// Question is a request that somebody asks about: what would become of it?
type Question struct {
	Method string
	// Target is the path, with the query if there is one, as a client would send it.
	Target string
	// Text is the presented token. If it is empty, Token is the one that is
	// presented, with its present secret.
	Text  string
	Token *token.Token
	// ClientIP may be none: then it isn't looked at where the token may be used
	// from.
	ClientIP netip.Addr
	Now      time.Time
}

// Explanation is what would become of a request and why.
type Explanation struct {
	// Refusal is the first one; its Code is empty if the request would be allowed.
	Refusal Refusal
	// Token is the presented one, if there is one.
	Token tokenstore.Principal
	// Checks are those that could be made, in their order. The first that fails
	// decides; the others would have to be fixed, too.
	Checks []CheckResult
}

// CheckResult is the outcome of one check.
type CheckResult struct {
	Name   string
	Pass   bool
	Detail string
}

// checkNames are what the checks are called in an explanation. Those without a
// name depend on what a question doesn't tell, such as the length of a body.
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
	checkAccount:    "account",
	checkQuota:      "quota",
}

// Explain returns what the gate would do with a request. It makes the checks that
// [Gate.Decide] makes, but doesn't stop at the first that fails, and counts
// nothing.
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
		if c == checkToken && s.text == "" {
			continue
		}
		if c == checkScope && d.Route == nil {
			continue
		}
		g.check(c, &r, &d, &s)
		if c == checkPath && !readable {
			d.Refusal = Refuse(InvalidPath)
		}
		result := CheckResult{Name: name, Pass: !d.Refused()}
		if d.Refused() {
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

// request returns the facts of the request that a question is about, and whether
// an HTTP server could read its target at all.
func (question Question) request(prefixes token.Prefixes) (r Request, readable bool) {
	r = Request{Method: question.Method, ClientIP: question.ClientIP, Now: question.Now}
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

// passed returns what a check that has been passed found.
func (d *Decision) passed(c check, r *Request) string {
	switch c {
	case checkMethod:
		return r.Method + " may be asked for."
	case checkURL:
		return "There is no token in the URL."
	case checkCredential:
		return "It is one bearer token."
	case checkPath:
		return "The path is spelled the one way that is accepted."
	case checkToken:
		if d.Match.Previous {
			return "It is the secret of token " + d.Match.Token.ID.String() +
				" from before its last rotation, valid until " + shown(d.Match.PreviousValidUntil) + "."
		}
		return "It is the secret of token " + d.Match.Token.ID.String() + "."
	case checkKind:
		return "It is an API token."
	case checkState:
		if d.Match.Token.ExpiresAt.IsZero() {
			return "It is active and has no end."
		}
		return "It is active until " + shown(d.Match.Token.ExpiresAt) + "."
	case checkClientIP:
		return passedIP(&d.Match.Token, r.ClientIP)
	case checkRoute:
		return "It is the route " + d.Route.Name() + ", which needs the scope " + d.Route.Scope.Name + "."
	case checkScope:
		return "The token has " + strings.Join(coveringGrants(d.Match.Token.Scopes, d.Route.Scope), ", ") + "."
	case checkAccount:
		return "The account " + d.Match.Token.Account + " is configured."
	case checkRate:
		return passedLimit(d.Limits.Rate, "rate limit", d.Match.Token.RateLimit.String())
	case checkQuota:
		return passedLimit(d.Limits.Quota, "quota", d.Match.Token.Quota.String())
	}
	return ""
}

func passedLimit(standing token.Standing, name, limit string) string {
	if standing.Limit == 0 {
		return "The token has no " + name + "."
	}
	return "Of its " + name + " " + limit + " the token has " + strconv.FormatInt(standing.Remaining, 10) + " left."
}

func passedIP(token *tokenstore.Principal, ip netip.Addr) string {
	if len(token.AllowedIPs) == 0 {
		return "The token may be used from anywhere."
	}
	ip = ip.Unmap().WithZone("")
	i := slices.IndexFunc(token.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(ip) })
	return ip.String() + " is in " + token.AllowedIPs[i].String() + "."
}

// coveringGrants returns those of the grants that cover the scope.
func coveringGrants(grants token.Grants, scope token.Scope) (covering []string) {
	for _, grant := range grants {
		if (token.Grants{grant}).Cover(scope) {
			covering = append(covering, grant)
		}
	}
	return covering
}

// Named is a gate of a configuration with the name that an explanation calls it by.
type Named struct {
	Name string
	*Gate
}

// Knowing returns the gates that know most of a route: those that have it, else
// those that have its path with other methods, else all.
func Knowing(gates []Named, method, target string) []Named {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return gates
	}
	var withRoute, withPath []Named
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
