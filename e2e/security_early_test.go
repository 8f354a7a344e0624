package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// promptly is the time limit for a refusal, regardless of the size of the announced body.
const promptly = 100 * time.Millisecond

// TestSecurityEarlyRefusal connects clients that announce a body but never send it. Each must
// be refused immediately, and Caddy must soon release the client's resources even though the
// client doesn't close its connection.
func TestSecurityEarlyRefusal(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	for name, test := range map[string]struct {
		clients int
		framing string
	}{
		"1 GB":            {1000, "Content-Length: 1000000000\r\n"},
		"1 GB, expecting": {100, "Content-Length: 1000000000\r\nExpect: 100-continue\r\n"},
		"1 KB":            {100, "Content-Length: 1000\r\n"},
		"chunked":         {100, "Transfer-Encoding: chunked\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			goroutines, files := s.goroutines(), s.openFiles()
			request := "POST /api/unikernel/create HTTP/1.1\r\nHost: 127.0.0.1\r\n" + test.framing + "\r\n"

			// Use no more workers than there are processors, so that the test measures only
			// unnecessary waiting.
			queue := make(chan struct{}, test.clients)
			for range test.clients {
				queue <- struct{}{}
			}
			close(queue)
			var mu sync.Mutex
			var open []*h1Conn
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() {
					for range queue {
						conns := s.refuseEarly(t, request)
						mu.Lock()
						open = append(open, conns...)
						mu.Unlock()
					}
				})
			}
			workers.Wait()
			eventually(t, "no client holds a goroutine", func() bool { return s.goroutines() <= goroutines }, noNote{})
			eventually(t, "no client holds a connection", func() bool { return s.openFiles() <= files }, noNote{})
			for _, conn := range open {
				conn.close()
			}
			if n := len(s.backend.Requests()); n != 0 {
				t.Errorf("the backend saw %d requests", n)
			}
		})
	}
}

// refuseEarly sends a request without its body and checks that the gate refuses it promptly.
// It tries up to three times, because a busy machine delays some responses, whereas a gate
// that waits for the body would delay all of them. It returns the connections, which are still
// open on the client side.
func (s *site) refuseEarly(t *testing.T, request string) (open []*h1Conn) {
	t.Helper()
	var took time.Duration
	for range 3 {
		conn, err := dialH1("127.0.0.1:" + s.env["HTTP"])
		if err != nil {
			t.Errorf("connecting: %v", err)
			return open
		}
		open = append(open, conn)
		start := time.Now()
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Errorf("sending: %v", err)
		}
		response, err := http.ReadResponse(conn.r, nil)
		if took = time.Since(start); err != nil {
			t.Errorf("no response: %v", err)
			return open
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("got status %d", response.StatusCode)
		}
		if took <= promptly {
			return open
		}
	}
	t.Errorf("the refusal took %v", took)
	return open
}

// TestSecurityEarlyRefusalOfStreams does the same as TestSecurityEarlyRefusal on the streams
// of a single HTTP/2 connection. The connection must stay usable.
func TestSecurityEarlyRefusalOfStreams(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	host := "127.0.0.1:" + s.env["HTTP"]
	goroutines, files := s.goroutines(), s.openFiles()
	conn, err := h2{address: host}.dial(host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	const streams = 100
	slow := 0
	for i := range streams {
		start := time.Now()
		stream := uint32(2*i + 1)
		request := announced("/api/unikernel/create", gigabyte)
		request.host = host
		if err := conn.send(stream, request); err != nil {
			t.Fatal(err)
		}
		if response := conn.readResponse(stream); response.status != http.StatusUnauthorized {
			t.Fatalf("stream %d: got response %+v", stream, response)
		}
		if took := time.Since(start); took > promptly {
			slow++
			t.Logf("stream %d: the refusal took %v", stream, took)
		}
	}
	if slow > streams/20 { // a busy machine may delay a few
		t.Errorf("%d of %d refusals took more than %v", slow, streams, promptly)
	}
	// The connection itself uses some goroutines.
	s.eventually("no stream holds a goroutine", func() bool { return s.goroutines() <= goroutines+5 })
	good := wireRequest{host: host, method: "GET", target: "/api/unikernels", header: by(token)}
	if err := conn.send(2*streams+1, good); err != nil {
		t.Fatal(err)
	}
	if response := conn.readResponse(2*streams + 1); response.status != http.StatusOK {
		t.Errorf("the next request on the connection got response %+v", response)
	}
	conn.close()
	s.eventually("the connection's goroutines have ended", func() bool { return s.goroutines() <= goroutines })
	s.eventually("the connection is closed", func() bool { return s.openFiles() <= files })
}
