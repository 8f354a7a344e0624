package mollymawktest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// timeout is how long a test waits for an expected event. silence is how long it waits to
// confirm that nothing arrives.
const (
	timeout = 10 * time.Second
	silence = 60 * time.Millisecond
)

// clock is a clock that tests can advance.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// client is a raw connection to the server.
type client struct {
	t    *testing.T
	conn *net.TCPConn
	r    *bufio.Reader
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, conn: conn.(*net.TCPConn), r: bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// response is a response whose body ends after Content-Length bytes or at the end of the
// connection.
type response struct {
	status int
	head   string // raw, without the trailing empty line
	body   string
}

func (a response) header(name string) string {
	for line := range strings.SplitSeq(a.head, "\r\n") {
		if key, value, ok := strings.Cut(line, ": "); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

func (c *client) read() response {
	c.t.Helper()
	a, err := c.tryRead(timeout)
	if err != nil {
		c.t.Fatalf("reading the response: %v", err)
	}
	return a
}

func (c *client) tryRead(wait time.Duration) (response, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	defer func() { _ = c.conn.SetReadDeadline(time.Time{}) }()
	var a response
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return a, err
		}
		if line == "\r\n" {
			break
		}
		a.head += line
	}
	a.head = strings.TrimSuffix(a.head, "\r\n")
	if _, err := fmt.Sscanf(a.head, "HTTP/1.1 %d ", &a.status); err != nil {
		return a, err
	}
	var body []byte
	var err error
	if length := a.header("content-length"); length != "" {
		n, convErr := strconv.Atoi(length)
		if convErr != nil {
			return a, convErr
		}
		body = make([]byte, n)
		_, err = io.ReadFull(c.r, body)
	} else {
		body, err = io.ReadAll(c.r)
	}
	a.body = string(body)
	return a, err
}

// wantSilence fails the test if anything arrives or the connection ends.
func (c *client) wantSilence() {
	c.t.Helper()
	if a, err := c.tryRead(silence); !errors.Is(err, os.ErrDeadlineExceeded) || a.head != "" {
		c.t.Fatalf("got response %q %q, error %v, want no response", a.head, a.body, err)
	}
}

// wantClosed fails the test unless the connection ends without further data.
func (c *client) wantClosed() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(timeout))
	rest, err := io.ReadAll(c.r)
	if err != nil || len(rest) > 0 {
		c.t.Fatalf("got %q, error %v, want the end of the connection", rest, err)
	}
}

// roundTrip sends a request on a new connection and returns the response.
func roundTrip(t *testing.T, s *Server, request string) response {
	t.Helper()
	c := dial(t, s)
	c.send(request)
	return c.read()
}

// envelope returns the exact body of a response. data is JSON.
func envelope(status int, title, data string) string {
	if title == "" {
		title = strconv.Itoa(status)
	}
	return fmt.Sprintf(`{"status":%d,"title":"%s","success":%t,"data":%s}`, status, title, status == 200, data)
}

func wantEnvelope(t *testing.T, a response, status int, title, data string) {
	t.Helper()
	if want := envelope(status, title, data); a.status != status || a.body != want ||
		a.header("content-type") != "application/json" {
		t.Errorf("got %d %s %s\nwant %s", a.status, a.header("content-type"), a.body, want)
	}
}

// wantPage checks that the response is an error page with this title and text.
func wantPage(t *testing.T, a response, status int, title, text string) {
	t.Helper()
	want := fmt.Sprintf(`<p>Error %d</p><p>%s</p><p>\&quot;%s\&quot;</p>`, status, title, text)
	if a.status != status || a.header("content-type") != "text/html" || !strings.Contains(a.body, want) {
		t.Errorf("got %d %s %s\nwant %s", a.status, a.header("content-type"), a.body, want)
	}
}

func postForm(t *testing.T, s *Server, token, target string, parts ...part) response {
	t.Helper()
	return roundTrip(t, s, message(http.MethodPost, target, form(parts...), bearer(token), formType))
}

func postJSON(t *testing.T, s *Server, token, target, body string) response {
	t.Helper()
	return roundTrip(t, s, message(http.MethodPost, target, body, bearer(token)))
}

func fetch(t *testing.T, s *Server, target string, headers ...string) response {
	t.Helper()
	return roundTrip(t, s, message(http.MethodGet, target, "", headers...))
}

// start returns a server and a token that belongs to the user alice.
func start(t *testing.T, options Options) (*Server, string) {
	t.Helper()
	s := New(t, options)
	return s, s.AddToken("alice", "gate", time.Hour)
}

// eventually waits until holds returns true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// waitForRequests waits until the bodies of at least n requests have ended.
func waitForRequests(t *testing.T, s *Server, n int) (requests []Request) {
	t.Helper()
	eventually(t, "the requests have arrived", func() bool {
		requests = s.Requests()
		ended := 0
		for _, r := range requests {
			if r.BodyEnded {
				ended++
			}
		}
		return ended >= n
	})
	return requests
}

// usageCount returns how many requests were authenticated with a token, or -1 if there is
// no such token.
func usageCount(s *Server, value string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, t := s.byToken(value); t != nil {
		return int(t.usage)
	}
	return -1
}
