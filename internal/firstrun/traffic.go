package firstrun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// refusedPath is a path that the first key may not use.
const refusedPath = "/api/unikernel/destroy"

// request is a request to send through the gate.
type request struct {
	method, path string
	times        int
	status       int
}

// requests returns the requests to send: 28 that succeed and 2 that the gate refuses. Those to
// a real Mollymawk change nothing.
func (b backend) requests() []request {
	refused := []request{
		{method: http.MethodPost, path: refusedPath, times: 1, status: http.StatusForbidden},
		{method: http.MethodGet, path: "/api/users", times: 1, status: http.StatusForbidden},
	}
	if !b.standIn {
		return append(refused,
			request{method: http.MethodGet, path: "/api/unikernels", times: 28, status: http.StatusOK})
	}
	return append(refused,
		request{method: http.MethodGet, path: "/api/unikernels", times: 22, status: http.StatusOK},
		request{method: http.MethodPost, path: "/api/unikernel/restart?instance=" + demoInstance + "&unikernel=" +
			demoUnikernel, times: 6, status: http.StatusOK})
}

// sendRequests sends some requests through the gate, so that there is something to see. It
// returns a description of the first unexpected response, or "".
func (r *run) sendRequests(ctx context.Context, with key) string {
	for _, q := range r.backend.requests() {
		for range q.times {
			if problem := r.send(ctx, with, q); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func (r *run) send(ctx context.Context, with key, q request) string {
	body := io.Reader(nil)
	if q.method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	call, err := http.NewRequestWithContext(ctx, q.method, r.ports.gateURL()+q.path, body)
	if err != nil {
		return err.Error()
	}
	call.Header.Set("Authorization", "Bearer "+with.secret)
	call.Header.Set("User-Agent", "mollygate-firstrun")
	response, err := http.DefaultTransport.RoundTrip(call)
	if err != nil {
		return fmt.Sprintf("%s %s failed: %v.", q.method, q.path, err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body) // only the status matters
	if response.StatusCode != q.status {
		return fmt.Sprintf("%s %s got status %d instead of %d.", q.method, q.path, response.StatusCode, q.status)
	}
	return ""
}
