package mollymawktest

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestResponseBytes(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	want := "HTTP/1.1 400 Bad Request\r\ncontent-length: 78\r\ncontent-type: application/json\r\n" +
		"x-frame-options: DENY\r\ncontent-security-policy: frame-ancestors 'none'"
	got := fetch(t, s, "/api/login")
	if got.head != want {
		t.Errorf("got head %q\nwant %q", got.head, want)
	}
	wantEnvelope(t, got, 400, "", `"Bad HTTP request method."`)

	page := fetch(t, s, "/nowhere")
	wantPage(t, page, 400, "Page not found", "This page cannot be found.")
	if strings.Contains(strings.ToLower(page.head), "date:") ||
		strings.Contains(strings.ToLower(page.head), "server:") {
		t.Errorf("got head %q, want no Date or Server header", page.head)
	}
}

// TestWrongMethods checks that the server checks the method before authenticating the
// caller and responds to HEAD with a body.
func TestWrongMethods(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	for _, method := range []string{"HEAD", "OPTIONS", "PUT", "DELETE", "get", "GeT", "FOO", "\r\nGET"} {
		c := dial(t, s)
		c.send(message(method, "/api/unikernels", ""))
		wantEnvelope(t, c.read(), 400, "", `"Bad HTTP request method."`)
		c.send(message("GET", "/style.css", "")) // the connection stays open
		if a := c.read(); a.status != 200 {
			t.Errorf("next request after %q: got status %d, want 200", method, a.status)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	tests := []struct {
		target string
		found  bool
	}{
		{"/api/unikernels", true},
		{"/api/unikernels?x=1", true},
		{"/api/unikernels#x", true},
		{"/api/%75nikernels", true},
		{"/api%2Funikernels", true},
		{"//anything/api/unikernels", true},
		{"//user:pw@anything:80/api/unikernels", true},
		{"//[::1]:80/api/unikernels", true},
		{"///api/unikernels", true},
		{"http://molly/api/unikernels", true},
		{"x:/api/unikernels", true},
		{"/api/unikernels/", false},
		{"/API/unikernels", false},
		{"/api/%2575nikernels", false},
		{"/api/./unikernels", false},
		{"/api/x/../unikernels", false},
		{"/api//unikernels", false},
		{"/x//api/unikernels", false},
		{"api/unikernels", false},
		{"http://molly", false},
		{"*", false},
		{"/api/unikernels%", false},
		{"/api/unikernels;x", false},
		{"/api/volume/delete", false},
	}
	for _, test := range tests {
		a := fetch(t, s, test.target, bearer(token))
		if test.found && a.status != 200 {
			t.Errorf("%s: got %d %s, want 200", test.target, a.status, a.body)
		}
		if !test.found {
			wantPage(t, a, 400, "Page not found", "This page cannot be found.")
		}
	}
}

func TestQueryValue(t *testing.T) {
	t.Parallel()
	tests := []struct{ query, want string }{
		{"a=1&a=2", "1"},
		{"b=x&a=1", "1"},
		{"a=1;b=2", "1;b=2"},
		{"a=x+y%20z", "x y z"},
		{"%61=1", "1"},
		{"a=1,2,3", "1,2,3"},
		{"a=1=2", "1=2"},
		{"a", ""},
		{"a=%zz%4", "%zz%4"},
	}
	for _, test := range tests {
		if got, ok := queryValue(test.query, "a"); !ok || got != test.want {
			t.Errorf("%s: got value %q and found %t, want %q", test.query, got, ok, test.want)
		}
	}
	for _, query := range []string{"", "b=1", "A=1", "b=1;a=2"} {
		if got, ok := queryValue(query, "a"); ok {
			t.Errorf("%s: got value %q, want none", query, got)
		}
	}
}

func TestMalformedGetsNoResponse(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	const next = "GET /style.css HTTP/1.1\r\n\r\n"
	for name, text := range map[string]string{
		"no version":         "GET /style.css\r\n\r\n",
		"two spaces":         "GET  /style.css HTTP/1.1\r\n\r\n",
		"bad version":        "GET /style.css HTTP/x.1\r\n\r\n",
		"bare line feeds":    "GET /style.css HTTP/1.1\nHost: x\n\n",
		"space before colon": "GET /style.css HTTP/1.1\r\nHost : x\r\n\r\n",
		"folded header":      "GET /style.css HTTP/1.1\r\nA: x\r\n y\r\n\r\n",
		"no colon":           "GET /style.css HTTP/1.1\r\nHost\r\n\r\n",
		"two lengths":        message("POST", "/api/login", "", "Content-Length: 5", "Content-Length: 6"),
		"negative length":    message("POST", "/api/login", "", "Content-Length: -5"),
		"length list":        message("POST", "/api/login", "", "Content-Length: 5, 5"),
		"length text":        message("POST", "/api/login", "", "Content-Length: x"),
		"unknown coding":     message("POST", "/api/login", "", "Transfer-Encoding: gzip"),
		"coding list":        message("POST", "/api/login", "", "Transfer-Encoding: gzip, chunked"),
		"last coding unknown": message("POST", "/api/login", "", "Transfer-Encoding: chunked",
			"Transfer-Encoding: identity"),
		"upgrade with body": message("POST", "/api/login", "{}", "Connection: keep-alive, Upgrade",
			"Upgrade: websocket"),
		"upgrade with chunks": message("POST", "/api/login", "", "Connection: upgrade", "Transfer-Encoding: chunked"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, s)
			c.send(text + next)
			c.wantSilence()
		})
	}
}

// TestFraming checks that the server accepts the same lengths and codings as H1, including
// some that front ends may read differently.
func TestFraming(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	const empty = `"Update password: Unexpected fields. Got {}"`
	for name, text := range map[string]string{
		"length":                 message("POST", "/api/login", "", "Content-Length: 2") + "{}",
		"same length twice":      message("POST", "/api/login", "", "Content-Length: 2", "content-length: 2") + "{}",
		"length with sign":       message("POST", "/api/login", "", "Content-Length: +2") + "{}",
		"length in hex":          message("POST", "/api/login", "", "Content-Length: 0x2") + "{}",
		"length with underscore": message("POST", "/api/login", "", "Content-Length: 0_2") + "{}",
		"chunked": message("POST", "/api/login", "", "Transfer-Encoding: chunked") +
			"1\r\n{\r\n01\r\n}\r\n0\r\n\r\n",
		"chunked and length": message("POST", "/api/login", "", "Transfer-Encoding: CHUNKED", "Content-Length: 99") +
			"2\r\n{}\r\n0\r\n\r\n",
		"last coding counts": message("POST", "/api/login", "", "Transfer-Encoding: identity",
			"Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n",
	} {
		c := dial(t, s)
		c.send(text)
		got := c.read()
		if want := envelope(400, "", empty); got.body != want {
			t.Errorf("%s: got %s, want %s", name, got.body, want)
		}
		c.send(message("GET", "/style.css", ""))
		if a := c.read(); a.status != 200 {
			t.Errorf("%s: next request: got status %d, want 200", name, a.status)
		}
	}
}

// TestBareLineFeedInHeader checks that a bare line feed is part of a header's value.
func TestBareLineFeedInHeader(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	a := roundTrip(t, s, "GET /api/unikernels HTTP/1.1\r\nA: b\nAuthorization: Bearer "+token+"\r\n\r\n")
	wantEnvelope(t, a, 400, "", `"No molly-session in cookie header. User not found"`)
	if lines := s.Requests()[0].Lines; len(lines) != 1 || lines[0] != "A: b\nAuthorization: Bearer "+token {
		t.Errorf("got header lines %q, want a single line", lines)
	}
}

func TestNoInterimResponse(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	c := dial(t, s)
	c.send(message("POST", "/api/unikernel/destroy", "", bearer(token), "Expect: 100-continue", "Content-Length: 2"))
	c.wantSilence()
	c.send("{}")
	wantEnvelope(t, c.read(), 400, "", `"Couldn't find unikernel name in json"`)
}

// TestRefusalBeforeBody checks that a refusal doesn't wait for the body, which the server
// reads and discards afterwards.
func TestRefusalBeforeBody(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	c := dial(t, s)
	c.send(message("POST", "/api/unikernel/destroy", "", bearer("nobody"), "Content-Length: 1000000"))
	wantEnvelope(t, c.read(), 400, "", `"Failed to find user with token nobody"`)
	c.send(strings.Repeat("x", 1000000) + message("GET", "/api/unikernels", "", bearer(token)))
	if a := c.read(); a.status != 200 {
		t.Errorf("next request: got status %d, want 200", a.status)
	}
	first := waitForRequests(t, s, 2)[0]
	if first.BodyLength != 1000000 || first.BodySHA256 != sha256.Sum256([]byte(strings.Repeat("x", 1000000))) {
		t.Errorf("recorded %d bytes of the body, want the 1000000 bytes sent", first.BodyLength)
	}
}

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	for name, test := range map[string]struct {
		request string
		closed  bool
	}{
		"close":               {"GET /style.css HTTP/1.1\r\nConnection: close\r\n\r\n", true},
		"Close":               {"GET /style.css HTTP/1.1\r\nConnection: Close\r\n\r\n", false},
		"close in a list":     {"GET /style.css HTTP/1.1\r\nConnection: x, close\r\n\r\n", false},
		"HTTP/1.0":            {"GET /style.css HTTP/1.0\r\n\r\n", true},
		"HTTP/1.0 keep-alive": {"GET /style.css HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false},
		"unread body":         {"POST /style.css HTTP/1.1\r\nConnection: close\r\nContent-Length: 100\r\n\r\n", true},
	} {
		c := dial(t, s)
		c.send(test.request)
		if a := c.read(); a.status == 0 {
			t.Errorf("%s: got no response", name)
		}
		if test.closed {
			c.wantClosed()
			continue
		}
		c.send("GET /style.css HTTP/1.1\r\n\r\n")
		if a := c.read(); a.status != 200 {
			t.Errorf("%s: next request: got status %d, want 200", name, a.status)
		}
	}
}

// TestSmuggledRequestsAreRecorded checks that bytes that a front end treats as a body are
// recorded as a separate request.
func TestSmuggledRequestsAreRecorded(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	text := message("POST", "/api/unikernel/destroy", "", bearer(token), "Transfer-Encoding: chunked",
		"Content-Length: 60") +
		"0\r\n\r\nGET /api/unikernels?smuggled HTTP/1.1\r\nX-Token-Name: root\r\n\r\n"
	c := dial(t, s)
	c.send(text)
	if a := c.read(); a.status != 400 {
		t.Errorf("first response: got status %d, want 400", a.status)
	}
	if a := c.read(); a.status != 400 {
		t.Errorf("second response: got status %d, want 400", a.status)
	}
	requests := waitForRequests(t, s, 2)
	if len(requests) != 2 || requests[1].Target != "/api/unikernels?smuggled" || requests[1].Connection != 1 {
		t.Errorf("got requests %v, want the smuggled request as the second one", requests)
	}
	if got := requests[1].Values("x-token-name"); !slices.Equal(got, []string{"root"}) {
		t.Errorf("got X-Token-Name %q, want root", got)
	}
	conns := s.Connections()
	if len(conns) != 1 || string(conns[0].Raw) != text || conns[0].Requests != 2 || conns[0].Truncated {
		t.Errorf("got connections %+v, want one with two requests", conns)
	}
}

func TestPublicFiles(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	for path, contentType := range map[string]string{
		"/":          "text/html",
		"/sign-in":   "text/html",
		"/style.css": "text/css",
	} {
		a := fetch(t, s, path)
		if a.status != http.StatusOK || a.header("content-type") != contentType || a.body == "" {
			t.Errorf("%s: got %d %s, want 200 %s", path, a.status, a.header("content-type"), contentType)
		}
	}
	a := fetch(t, s, "/albatross/instances")
	if a.status != 302 || a.header("location") != "/select/instance?callback=%2Fdashboard" ||
		a.header("Set-Cookie") != "flash_msg=;Path=/;" {
		t.Errorf("got %s, want a redirect to the page for choosing an instance", a.head)
	}
}
