package gate

import "net/http"

// Call is a request of an ordinary route as its backend is to get it. [Route.Adapt]
// changes what the client sent to what the backend understands.
type Call struct {
	// Query is raw.
	Query string
	// ContentType is the values of the header, a value each line.
	ContentType []string
	// Body is empty if there is none. It must not be changed in place.
	Body []byte
	// Ask, unless it is nil, must be answered well before the call is made.
	Probe *Probe
	// Response is what is known of an answer with status 200.
	Response ResponseForm
}

// Probe is a harmless GET request that finds out whether a call would harm the backend.
type Probe struct {
	// Path and Query are the target.
	Path, Query string
	// Judge says what an answer means: why the call must not be made, or nothing. known
	// says that the answer holds for any caller, for a while. body may be cut short.
	Judge func(status int, body []byte) (refusal Refusal, known bool)
}

// ResponseForm is what is known of an answer. The zero ResponseForm is nothing.
type ResponseForm struct {
	// Unit, unless it is 0, is what the length of a whole answer in bytes is a multiple
	// of, at least once. Any other answer was cut short.
	Unit int64
	// Compress, unless it is 0, is the level (1 to 9) at which the answer is compressed
	// for the client, as zlib (RFC 1950).
	Compress int
}

// Apply gives a copy of a request to the backend this target, without a body.
func (q *Probe) Apply(r *http.Request) {
	location := *r.URL
	location.Path, location.RawPath, location.RawQuery = q.Path, "", q.Query
	r.Method, r.URL, r.RequestURI = http.MethodGet, &location, location.RequestURI()
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.Header = r.Header.Clone()
	r.Header.Del("Content-Type")
	r.Header.Del("Content-Length")
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
