package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// waitingProxies are the ways in which Caddy's proxy makes a request wait while another is in
// progress: for a connection, or for a backend that isn't busy. In the second case, the proxy
// keeps waiting no matter what happens to the request.
var waitingProxies = map[string]string{
	"connection": "transport http {\nmax_conns_per_host 1\n}\n",
	"backend":    "lb_try_duration 5m\nlb_try_interval 50ms\nunhealthy_request_count 1\n",
}

// TestWaitingRequest withdraws a token's access while its request waits in the proxy.
func TestWaitingRequest(t *testing.T) {
	t.Parallel()
	for name, proxy := range waitingProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			backend := newGoBackend(t,
				map[string]http.HandlerFunc{"held": func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-release:
					case <-r.Context().Done():
					}
				}})
			c := startCaddy(t,
				globals+"http://127.0.0.1:{$HTTP} {\n"+
					gateBlock("answer_timeout off\nroute GET /other plain:read\nroute GET /x plain:write\n"+
						"route POST /x plain:write\nroute DELETE /x plain:write")+
					"reverse_proxy "+backend.addr()+" {\n"+proxy+"}\n}",
				map[string]string{"UPSTREAM": "backend-token"})
			// Only one request at a time reaches the backend, because the others wait for it
			// to finish.
			first := c.limited("plain:write")
			holding := ask(t.Context(), t, http.MethodPost, c.url("/x?answer=held"), first)
			c.eventually("the backend has received the first request",
				func() bool { return len(backend.requests()) == 1 })
			var later []func()
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				for way, lost := range withdrawals {
					if lost.want == "" {
						continue
					}
					token := c.limited("plain:write")
					waiting := ask(t.Context(), t, method, c.url("/x"), token)
					c.eventually("the gate has allowed the request", func() bool {
						allowed, _ := c.usage(token)
						return allowed == 1
					})
					c.withdraw(token, way)
					check := func() {
						if response := <-waiting; response.String() != lost.want {
							t.Errorf("%s, %s: got %v, want %s", method, way, response, lost.want)
						}
					}
					if name == "backend" {
						later = append(later, check)
					} else {
						check()
					}
				}
			}
			// A request that has reached the backend in full may finish.
			c.withdraw(first, "revoked")
			close(release)
			if response := <-holding; response.String() != "200" {
				t.Errorf("the request that had reached the backend got %v", response)
			}
			for _, check := range later {
				check()
			}
			second := c.limited("plain:write")
			if response := <-ask(t.Context(), t, http.MethodPost, c.url("/x?answer=last"),
				second); response.String() != "200" {
				t.Errorf("afterwards: got %v", response)
			}
			if seen := backend.requests(); len(seen) != 2 {
				t.Errorf("the backend saw %d requests, want 2: %+v", len(seen), seen)
			}
		})
	}
}

// ask sends a request, with a body if the method is POST. The returned channel receives the
// response.
func ask(ctx context.Context, t *testing.T, method, url, token string) <-chan slowResponse {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("whole")
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response := make(chan slowResponse, 1)
	go func() { response <- doRequest(new(http.Client), request) }()
	return response
}

// TestEndedRequestIsNotBackendFailure ends requests for reasons that aren't the backend's
// fault. Passive health checks must not count them as failures; otherwise a client that may
// upload could make the backend unavailable to everyone.
func TestEndedRequestIsNotBackendFailure(t *testing.T) {
	t.Parallel()
	backend := newGoBackend(t, nil)
	c := startCaddy(t, globals+"http://127.0.0.1:{$HTTP} {\nlog\n"+
		gateBlock("max_upload 1KiB\nroute GET /x plain:read\nroute POST /upload plain:upload {\nupload\n}")+
		"reverse_proxy "+backend.addr()+" {\nfail_duration 1h\nmax_fails 1\n}\n}",
		map[string]string{"UPSTREAM": "backend-token"})
	reader := c.limited("plain:read")
	for name, end := range map[string]func(s *slowRequest, token string){
		"client leaves": func(s *slowRequest, _ string) { _ = s.body.CloseWithError(io.ErrUnexpectedEOF) },
		"token is revoked": func(s *slowRequest, token string) {
			c.withdraw(token, "revoked")
			_ = s.body.Close()
		},
		"too large": func(s *slowRequest, _ string) {
			go func() {
				_, _ = io.WriteString(s.body, strings.Repeat("x", 2000))
				_ = s.body.Close()
			}()
		},
	} {
		token := c.limited("plain:upload")
		request := send(t.Context(), t, new(http.Client), "", c.url("/upload"), token, "first")
		c.eventually("the gate has allowed the request", func() bool {
			allowed, _ := c.usage(token)
			return allowed == 1
		})
		end(request, token)
		<-request.response
		c.eventually("the request has ended", func() bool {
			return strings.Contains(c.output.String(), `"user_id":"`+tokenID(token)+`"`)
		})
		if response := <-ask(t.Context(), t, http.MethodGet, c.url("/x"), reader); response.String() != "200" {
			t.Errorf("%s: afterwards got %v", name, response)
		}
	}
}
