package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// waitingProxies are the ways in which Caddy's proxy keeps a request waiting while
// another is under way: for a connection, and for a backend that isn't busy. For the
// latter it waits on whatever becomes of the request.
var waitingProxies = map[string]string{
	"connection": "transport http {\nmax_conns_per_host 1\n}\n",
	"backend":    "lb_try_duration 5m\nlb_try_interval 50ms\nunhealthy_request_count 1\n",
}

// TestWaitingRequest takes a token's right away while its request waits in the proxy.
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
					gateBlock(
						"answer_timeout off\nroute GET /other plain:read\nroute GET /x plain:write\nroute POST /x plain:write\nroute DELETE /x plain:write")+"reverse_proxy "+backend.addr()+" {\n"+proxy+"}\n}",
				map[string]string{"UPSTREAM": "backend-token"})
			// Only one at a time gets to the backend, as all others wait for it.
			first := c.limited("plain:write")
			holding := ask(t.Context(), t, http.MethodPost, c.url("/x?answer=held"), first)
			c.eventually("the backend has got the first request", func() bool { return len(backend.requests()) == 1 })
			var later []func()
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				for way, lost := range lostRights {
					if lost.want == "" {
						continue
					}
					token := c.limited("plain:write")
					waiting := ask(t.Context(), t, method, c.url("/x"), token)
					c.eventually("the gate has let it pass", func() bool {
						allowed, _ := c.usage(token)
						return allowed == 1
					})
					c.takeRight(token, way)
					check := func() {
						if answer := <-waiting; answer.String() != lost.want {
							t.Errorf("%s, %s: answered %v, want %s", method, way, answer, lost.want)
						}
					}
					if name == "backend" {
						later = append(later, check)
					} else {
						check()
					}
				}
			}
			// What the backend has received whole is left to finish.
			c.takeRight(first, "revoked")
			close(release)
			if answer := <-holding; answer.String() != "200" {
				t.Errorf("what the backend had received: answered %v", answer)
			}
			for _, check := range later {
				check()
			}
			second := c.limited("plain:write")
			if answer := <-ask(t.Context(), t, http.MethodPost, c.url("/x?answer=last"),
				second); answer.String() != "200" {
				t.Errorf("afterwards: answered %v", answer)
			}
			if seen := backend.requests(); len(seen) != 2 {
				t.Errorf("the backend got %d requests, want 2: %+v", len(seen), seen)
			}
		})
	}
}

// ask sends a request, with a body if it is a POST, and gives its answer when it is there.
func ask(ctx context.Context, t *testing.T, method, url, token string) <-chan slowAnswer {
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
	answer := make(chan slowAnswer, 1)
	go func() { answer <- answerTo(new(http.Client), request) }()
	return answer
}

// TestEndedRequestIsNoFailure ends requests in ways that are no fault of the backend.
// Passive health checks must not count them: whoever may upload could take the backend
// away from everybody.
func TestEndedRequestIsNoFailure(t *testing.T) {
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
			c.takeRight(token, "revoked")
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
		c.eventually("the gate has let it pass", func() bool {
			allowed, _ := c.usage(token)
			return allowed == 1
		})
		end(request, token)
		<-request.answer
		c.eventually("the request is over", func() bool {
			return strings.Contains(c.output.String(), `"user_id":"`+tokenID(token)+`"`)
		})
		if answer := <-ask(t.Context(), t, http.MethodGet, c.url("/x"), reader); answer.String() != "200" {
			t.Errorf("%s: afterwards answered %v", name, answer)
		}
	}
}
