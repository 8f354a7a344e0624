package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/mollygate/mollygate/gate"
	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

// explainInput is the body of POST /explain.
type explainInput struct {
	Token   *string `json:"token"`
	TokenID *string `json:"token_id"`
	Method  *string `json:"method"`
	Path    *string `json:"path"`
	IP      *string `json:"ip"`
	Gate    *string `json:"gate"`
	// Body is the request's body, and Resources are what it acts on, as "type/name".
	Body      *string `json:"body"`
	Resources []text  `json:"resources"`
}

// explanation is the response to POST /explain.
type explanation struct {
	gateExplanation
	// OtherGates are other gates that match the route equally well but would respond
	// differently.
	OtherGates []gateExplanation `json:"other_gates"`
}

// gateExplanation describes what one gate would do.
type gateExplanation struct {
	Gate    string         `json:"gate"`
	Allowed bool           `json:"allowed"`
	Status  int            `json:"status"`
	Code    string         `json:"code"`
	TokenID textOrNull     `json:"token_id"`
	Checks  []explainCheck `json:"checks"`
}

type explainCheck struct {
	Name   string `json:"name"`
	Pass   bool   `json:"pass"`
	Detail string `json:"detail"`
}

// explainAllowed is the code for a request that would be allowed.
const explainAllowed = "ok"

// explain reports what the gates would do with a request. It changes nothing and isn't
// counted as usage.
func (c *call) explain() *Refusal {
	var in explainInput
	if refusal := c.decode(&in); refusal != nil {
		return refusal
	}
	store, refusal := c.store()
	if refusal != nil {
		return refusal
	}
	question, refusal := c.question(store, in)
	if refusal != nil {
		return refusal
	}
	gates, refusal := c.gatesFor(question, in.Gate)
	if refusal != nil {
		return refusal
	}
	out := explanation{OtherGates: []gateExplanation{}}
	for i, g := range gates {
		e := newExplanation(g.Name, g.Explain(store, question))
		switch {
		case i == 0:
			out.gateExplanation = e
		case !e.sameAs(out.gateExplanation) && !slices.ContainsFunc(out.OtherGates, e.sameAs):
			out.OtherGates = append(out.OtherGates, e)
		}
	}
	return c.respond(http.StatusOK, out)
}

// gatesFor returns the gates to query: the named gate or, without a name, all gates that
// match the route best.
func (c *call) gatesFor(question gate.Question, name *string) ([]gate.NamedGate, *Refusal) {
	if len(c.Gates) == 0 {
		return nil,
			refuseError(codeConflict, "The running configuration has no bearer_auth, so there is no gate to query.")
	}
	if name == nil {
		return gate.BestMatches(c.Gates, question.Method, question.Target), nil
	}
	var names []string
	for _, g := range c.Gates {
		if g.Name == *name {
			return []gate.NamedGate{g}, nil
		}
		names = append(names, strconv.Quote(g.Name))
	}
	return nil, refuseField("gate", "no gate has this name; the gates are "+strings.Join(names, ", "))
}

// question converts the input into a question for the gates.
func (c *call) question(store *tokenstore.Store, in explainInput) (gate.Question, *Refusal) {
	question := gate.Question{Now: store.Now()}
	switch {
	case in.Method == nil || !httpguts.ValidHeaderFieldName(*in.Method): // methods have the same syntax
		return question, refuseField("method", `is required, for example "GET"`)
	case in.Path == nil || !strings.HasPrefix(*in.Path, "/"):
		return question,
			refuseField("path", `is required, for example "/api/unikernels", with the query if there is one`)
	case (in.Token == nil) == (in.TokenID == nil):
		return question, refuseField("token", "set either token or token_id")
	}
	question.Method, question.Target = *in.Method, *in.Path
	if in.IP != nil {
		var err error
		if question.ClientIP, err = netip.ParseAddr(*in.IP); err != nil {
			return question, refuseField("ip", `must be an IP address, for example "203.0.113.7"`)
		}
	}
	if in.Body != nil {
		question.Body = []byte(*in.Body)
	}
	var refusal *Refusal
	if question.Targets, refusal = c.targets(in.Resources); refusal != nil {
		return question, refusal
	}
	if in.Token != nil {
		if *in.Token == "" {
			return question, refuseField("token", "is empty")
		}
		question.Text = *in.Token
		return question, nil
	}
	id, err := token.ParseID(*in.TokenID)
	if err != nil {
		return question, refuseField("token_id", "isn't a token ID: "+err.Error())
	}
	found, err := store.Get(id)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return question, refuseField("token_id", "no token has this ID")
	}
	if err != nil {
		return question, c.storeRefusal(err)
	}
	question.Token = found.Token
	return question, nil
}

// targets returns the named resources.
func (c *call) targets(names []text) (targets []token.Resource, refusal *Refusal) {
	catalog := c.Policy.Catalog
	checked, err := catalog.CheckResources(plain(names))
	if err != nil {
		return nil, refuseField("resources", err.Error())
	}
	for _, resource := range checked {
		if strings.HasSuffix(resource, "*") {
			return nil, refuseField("resources", "name one resource, without *")
		}
		targets = append(targets, catalog.Resource(resource))
	}
	return targets, nil
}

// sameAs reports whether two explanations are equal except for the gate's name.
func (e gateExplanation) sameAs(other gateExplanation) bool {
	other.Gate = e.Gate
	return reflect.DeepEqual(e, other)
}

func newExplanation(name string, e gate.Explanation) gateExplanation {
	out := gateExplanation{Gate: name, Allowed: true, Status: http.StatusOK, Code: explainAllowed,
		Checks: make([]explainCheck, 0, len(e.Checks))}
	if e.Refusal.Code != "" {
		out.Allowed, out.Status, out.Code = false, e.Refusal.Status, string(e.Refusal.Code)
	}
	if e.Token.Known() {
		out.TokenID = textOrNull(e.Token.ID.String())
	}
	for _, check := range e.Checks {
		out.Checks = append(out.Checks, explainCheck(check))
	}
	return out
}
