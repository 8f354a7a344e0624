package gate

// Call is a request of an ordinary route as its backend is to get it. [Route.Adapt]
// changes what the client sent to what the backend understands.
type Call struct {
	// Query is raw.
	Query string
	// Body is empty if there is none. It must not be changed in place.
	Body []byte
}

// BodyError is what is wrong with a request's body, in words for the client: a sentence
// that quotes no more of the body than a name. The request is refused for it with
// [InvalidRequestBody], before the backend sees anything of it.
type BodyError struct{ Detail string }

// Error implements error.
func (e *BodyError) Error() string { return e.Detail }

// Adapt checks a request with its whole body, and makes of it what the backend
// understands. A nil route is none that the gate knows. Its error is a *BodyError.
func (g *Gate) Adapt(route *Route, call *Call) error {
	if err := g.CheckBody(call.Body); err != nil {
		return err
	}
	if route == nil || route.Adapt == nil {
		return nil
	}
	return route.Adapt(call)
}

// CheckBody returns a *BodyError for a body that would harm the backend.
func (g *Gate) CheckBody(body []byte) error {
	if g.config.CheckBody == nil || len(body) == 0 {
		return nil
	}
	return g.config.CheckBody(body)
}
