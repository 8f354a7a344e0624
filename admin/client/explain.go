package client

import (
	"context"
	"net/http"
)

// Question describes a request to explain. Either Token, which is a complete token, or
// TokenID must be set.
type Question struct {
	Token   string `json:"token,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	// IP is the client address. If it is empty, addresses aren't checked.
	IP string `json:"ip,omitempty"`
	// Gate is the name of the gate to query. If it is empty, the server queries all gates
	// that match the route.
	Gate string `json:"gate,omitempty"`
	// Body is the request's body, and Resources are what the request acts on, such as
	// "unikernel/web", instead of what the body says. They matter only if the token is bound to
	// resources.
	Body      string   `json:"body,omitempty"`
	Resources []string `json:"resources,omitempty"`
}

// Explanation describes what the gates would do with a request.
type Explanation struct {
	GateExplanation
	// OtherGates are other gates that match the route equally well but would respond
	// differently.
	OtherGates []GateExplanation `json:"other_gates"`
}

// GateExplanation describes what one gate would do with a request.
type GateExplanation struct {
	// Gate is the gate's name: the hosts and paths of its site in the configuration.
	Gate    string  `json:"gate"`
	Allowed bool    `json:"allowed"`
	Status  int     `json:"status"`
	Code    string  `json:"code"`
	Checks  []Check `json:"checks"`
}

// Check is one of the gate's checks.
type Check struct {
	Name   string `json:"name"`
	Pass   bool   `json:"pass"`
	Detail string `json:"detail"`
}

// Explain returns what the gates would do with a request.
func (c *Client) Explain(ctx context.Context, question Question) (e Explanation, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/explain", body: question}, &e)
	return e, err
}
