package gate

import "net/http"

// Call is a buffered request of an ordinary route. [Route.Adapt] turns what the client sent
// into what the backend understands.
type Call struct {
	// Query is the raw query.
	Query string
	// ContentType holds the values of the header, one per header line.
	ContentType []string
	// Body is empty if the request has none. It must not be changed in place.
	Body []byte
	// Probe, unless it is nil, must succeed before the gate makes the call.
	Probe *Probe
	// Response is what is known about a response with status 200.
	Response ResponseForm
}

// Probe is a harmless GET request that finds out whether a call would damage the backend.
type Probe struct {
	// Path and Query are the target of the probe.
	Path, Query string
	// Judge interprets a response. It returns a refusal if the call must not be made. known
	// reports whether the result is the same for any caller and can be cached for a while.
	// body may be cut short.
	Judge func(status int, body []byte) (refusal Refusal, known bool)
}

// ResponseForm describes the response a call should get. The zero ResponseForm knows nothing
// about it.
type ResponseForm struct {
	// Unit, unless it is 0, divides the length in bytes of a complete response, which is at
	// least one Unit long. A response of any other length was cut short.
	Unit int64
	// Compress, unless it is 0, is the level (1 to 9) at which the gate compresses the
	// response for the client, as zlib (RFC 1950).
	Compress int
}

// Apply turns r, a copy of the client's request, into the probe, without a body.
func (q *Probe) Apply(r *http.Request) {
	location := *r.URL
	location.Path, location.RawPath, location.RawQuery = q.Path, "", q.Query
	r.Method, r.URL, r.RequestURI = http.MethodGet, &location, location.RequestURI()
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.Header = r.Header.Clone()
	r.Header.Del("Content-Type")
	r.Header.Del("Content-Length")
}

// BodyError describes what is wrong with a request body, in a sentence for the client that
// quotes at most a name from the body. The gate refuses the request with [InvalidRequestBody]
// before the backend sees any of it.
type BodyError struct{ Detail string }

// Error implements error.
func (e *BodyError) Error() string { return e.Detail }

// Adapt checks a request with its complete body and turns it into what the backend
// understands. A nil route stands for a request that matches no route. The error is a
// *BodyError.
func (g *Gate) Adapt(route *Route, call *Call) error {
	if check := g.config.CheckBody; check != nil && len(call.Body) > 0 {
		if err := check(call.Body); err != nil {
			return err
		}
	}
	if route == nil || route.Adapt == nil {
		return nil
	}
	return route.Adapt(call)
}
