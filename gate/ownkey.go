package gate

import "net/http"

// OwnKeyPath is the path at which the gate itself tells a client about the API key that it
// presents. Requests for it never reach the backend. They need no scope, but otherwise they are
// checked and counted like requests for a route.
const OwnKeyPath = "/.well-known/mollygate/key"

// ownKey is the route check for [OwnKeyPath].
func (d *Decision) ownKey(r *Request) {
	if r.Method != http.MethodGet {
		d.Refusal = refuseMethod(http.MethodGet)
		return
	}
	d.OwnKey = true
}
