package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// breakingBackend responds to the first request on each connection. After reading the second
// request, it closes the connection without a response.
type breakingBackend struct {
	net.Listener
	mu   sync.Mutex
	seen []string // method, path and idempotency keys
}

func newBreakingBackend(t *testing.T) *breakingBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &breakingBackend{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *breakingBackend) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for i := range 2 {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		b.mu.Lock()
		b.seen = append(b.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Idempotency-Key")+
			r.Header.Get("X-Idempotency-Key"))
		b.mu.Unlock()
		if i == 0 {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}

// count returns how often the backend saw a request.
func (b *breakingBackend) count(request string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, seen := range b.seen {
		if seen == request {
			n++
		}
	}
	return n
}

// TestSentOnce checks that when a reused connection breaks, Caddy doesn't resend a request
// even if the client marked it as idempotent. The backend must still receive the header with
// which the client marked it.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	backend := newBreakingBackend(t)
	c := startCaddy(t, globals+`
http://127.0.0.1:{$HTTP} {
	bearer_auth {
		route GET    /kept   a:read
		route POST   /change a:write
		route DELETE /change a:write
		route PUT    /change a:write
		route PATCH  /change a:write
		route POST   /upload a:write {
			upload
		}
		browser_sessions molly_session
	}
	reverse_proxy {$BACKEND}
}
`, map[string]string{"BACKEND": backend.Addr().String(), "UPSTREAM": "15232af5-6194-407b-818d-50267002ba07"})
	token := c.token("--scope", "*")
	n := 0
	for _, method := range []string{"POST", "DELETE", "PUT", "PATCH"} {
		for _, header := range []string{"Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY", "X-Idempotency-Key",
			"x-idempotency-key"} {
			for path, credential := range map[string]string{"/change": "Authorization: Bearer " + token,
				"/upload": "Authorization: Bearer " + token, "/login": "X-None: of them"} {
				if path == "/upload" && method != "POST" {
					continue
				}
				n++
				key := fmt.Sprint("key", n)
				// Leave an idle connection for Caddy to reuse.
				if status, _, body := curl(t, append(bearer(token), c.url("/kept"))...); status != 200 {
					t.Fatalf("got status %d: %s", status, body)
				}
				status, _, _ := curl(t, "-X", method, "-H", credential, "-H", header+": "+key, c.url(path))
				if got := backend.count(method + " " + path + " " + key); got != 1 || status != 502 {
					t.Errorf("%s %s with %s: the backend saw it %d times, the client got %d", method, path, header,
						got, status)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("the test tried only %d requests", n)
	}
}
