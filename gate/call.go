package gate

import "net/http"

// Call is a buffered request for an ordinary route. [Route.Adapt] converts it to the form that
// the backend expects.
type Call struct {
	// Path is the escaped path, which must not be changed.
	Path string
	// Query is the raw query.
	Query string
	// ContentType holds the Content-Type values, one per header line.
	ContentType []string
	// Body is empty if the request has no body. It must not be modified in place.
	Body []byte
	// Probe, if not nil, must succeed before the gate makes the call.
	Probe *Probe
	// Response describes the expected 200 response.
	Response ResponseForm
}

// Probe is a harmless GET request that determines whether a call would damage the backend.
type Probe struct {
	// Path and Query are the probe's target.
	Path, Query string
	// Judge interprets the response. It returns a refusal if the call must not be made. known
	// reports whether the result applies to every caller and can be cached for a while. body
	// may be truncated.
	Judge func(status int, body []byte) (refusal Refusal, known bool)
}

// ResponseForm describes the expected response to a call. The zero ResponseForm accepts any
// response.
type ResponseForm struct {
	// Unit is a size in bytes. The length of a complete response is a positive multiple of
	// Unit; a response of any other length was truncated. If Unit is 0, a response of any
	// length is complete.
	Unit int64
	// Compress is the zlib level (RFC 1950), from 1 to 9, at which the gate compresses the
	// response for the client. 0 means no compression.
	Compress int
}

// Apply turns r, a copy of the client's request, into the probe, which has no body.
func (q *Probe) Apply(r *http.Request) {
	location := *r.URL
	location.Path, location.RawPath, location.RawQuery = q.Path, "", q.Query
	r.Method, r.URL, r.RequestURI = http.MethodGet, &location, location.RequestURI()
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.Header = r.Header.Clone()
	r.Header.Del("Content-Type")
	r.Header.Del("Content-Length")
}

// BodyError describes what is wrong with a request body. Detail is a sentence for the client
// that quotes at most a name from the body. The gate refuses the request with
// [InvalidRequestBody] before the backend receives any part of it.
type BodyError struct{ Detail string }

// Error implements error.
func (e *BodyError) Error() string { return e.Detail }

// Adapt checks a request, including its complete body, and converts it to the form that the
// backend expects. A nil route means that the request matches no route. The error is a
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
