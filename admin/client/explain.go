package client

import (
	"context"
	"net/http"
)

// Question is a request that is to be explained. Either Token, the whole of one,
// or TokenID is set.
type Question struct {
	Token   string `json:"token,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	// IP is the client's address; empty isn't looked at.
	IP string `json:"ip,omitempty"`
	// Gate is the name of the gate that is asked; empty means all that know the route.
	Gate string `json:"gate,omitempty"`
}

// Explanation is what would become of a request.
type Explanation struct {
	GateExplanation
	// OtherGates are the further gates that know as much of the route and would
	// answer otherwise.
	OtherGates []GateExplanation `json:"other_gates"`
}

// GateExplanation is what would become of a request at one gate.
type GateExplanation struct {
	// Gate is the gate's place in the configuration, which names it: the hosts and paths
	// of its site.
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

// Explain asks what the gate would do with a request.
func (c *Client) Explain(ctx context.Context, question Question) (e Explanation, err error) {
	err = c.value(ctx, call{method: http.MethodPost, path: "/explain", body: question}, &e)
	return e, err
}
