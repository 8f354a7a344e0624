package mollymawktest

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// wantCut fails the test if a response arrives. The connection may end in any way.
func (c *client) wantCut() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(timeout))
	rest, err := io.ReadAll(c.r)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		c.t.Fatal("the connection is still open, want it cut")
	}
	if len(rest) > 0 {
		c.t.Fatalf("got %q, want the end of the connection", rest)
	}
}

// TestCrashes checks that a crash cuts all connections and is counted, and that the server
// keeps its stored data.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for name, request := range crashRequests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, token := start(t, Options{})
			s.AddUnikernel("alice", "default", "hello")
			s.AddBlock("alice", "default", "v1", 1, []byte(randomText(20000)))
			bystander := dial(t, s)
			bystander.send(message("GET", "/style.css", ""))
			bystander.read()
			c := dial(t, s)
			c.send(fill(request, token, s.Session("alice"), s.CSRF("alice")))
			c.wantCut()
			bystander.wantCut()
			if n := s.Crashes(); n != 1 {
				t.Errorf("got %d crashes, want 1", n)
			}
			if a := fetch(t, s, "/api/unikernels", bearer(token)); a.status != 200 ||
				!strings.Contains(a.body, "hello") {
				t.Errorf("after the crash: got %d %s, want status 200 and hello", a.status, a.body)
			}
		})
	}
}

// TestNoCrashes checks that similar but harmless requests don't crash the server.
func TestNoCrashes(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{Memory: 1 << 20})
	s.AddUnikernel("alice", "default", "hello")
	s.AddBlock("alice", "default", "v1", 1, []byte("data"))
	session, csrf := s.Session("alice"), s.CSRF("alice")
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"NaN in a member that isn't quoted": {
			message("POST", "/api/login", `{"email":"alice@example.com","password":"mollymawk","x":NaN}`), 200},
		"NaN in an error without quotation": {message("POST", pathDestroy, `{"name":NaN}`, "$T"), 400},
		"NaN in a configuration": {
			message("POST", pathCreate, form(create([]part{{"unikernel_config", `{"cpuid":0,"memory":NaN}`}})...), "$T",
				formType), 400},
		"small exponent": {message("POST", "/api/login", `{"email":1e-999}`), 400},
		"nested": {
			message("POST", "/api/login", `{"email":`+strings.Repeat("[", 100000)+strings.Repeat("]", 100000)+`}`),
			400},
		"length that fits": {message("POST", "/api/login", `{"x":"`+strings.Repeat("x", 1<<19)+`"}`),
			400},
		"length of an upload": {
			message("POST", pathUpload, form(blockParts(jsonData("v1", 1, false), strings.Repeat("x", 1<<20))...), "$T",
				formType), 200},
		"bad token before length": {message("POST", pathDestroy, "", bearer("nobody"),
			"Content-Length: 99999999999"), 400},
		"wrong method before length": {message("GET", "/api/login", "", "Content-Length: 99999999999"), 400},
		"port of a resolver": {message("POST", "/api/unikernel/update",
			update(`"dns_liveliness":{"dns_address":"192.0.2.1:53","dns_name":"a.b"},`), "$T"), 200},
		"port without a name to resolve": {message("POST", "/api/unikernel/update",
			update(`"dns_liveliness":{"dns_address":"192.0.2.1:x"},`), "$T"), 200},
		"label in base64": {message("POST", pathCreate, withPart(encoded(
			"Content-Disposition: form-data; name=\"unikernel_name\"\r\nContent-Transfer-Encoding: base64", "aGVsbG8y"),
			create(nil)...), "$T", formType), 200},
	} {
		a := roundTrip(t, s, fill(test.request, token, session, csrf))
		if a.status != test.status || s.Crashes() != 0 {
			t.Errorf("%s: got %d %.200s and %d crashes, want status %d and 0 crashes",
				name, a.status, a.body, s.Crashes(), test.status)
		}
	}
}

// TestSecondFile checks that the server treats a second file as another create request: it
// sends the first response and crashes when it sends the second.
func TestSecondFile(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"image": message("POST", pathCreate, form(append(create(nil), part{"@binary", "again"})...), "$T", formType),
		"block": message("POST", pathUpload,
			form(append(blockParts(jsonData("v1", 1, false), "one"), part{"@block_data", "two"})...), "$T", formType),
		"image after a refusal": message("POST", pathCreate,
			form(append(create([]part{{"unikernel_name", "_"}}), part{"@binary", "again"})...), "$T", formType),
	} {
		s, token := start(t, Options{})
		s.AddBlock("alice", "default", "v1", 1, nil)
		c := dial(t, s)
		c.send(fill(request, token, "", ""))
		if a := c.read(); a.status == 0 {
			t.Errorf("%s: got no response", name)
		}
		c.wantCut()
		if n := s.Crashes(); n != 1 {
			t.Errorf("%s: got %d crashes, want 1", name, n)
		}
		if data, _ := s.Block("alice", "default", "v1"); name == "block" && string(data) != "two" {
			t.Errorf("%s: the block contains %q, want two", name, data)
		}
	}
}

// TestBodyBeyondMemory checks that a chunked body larger than the memory crashes the
// server.
func TestBodyBeyondMemory(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Memory: 1 << 20})
	c := dial(t, s)
	data := strings.Repeat("x", 1<<20+1)
	c.send(message("POST", "/api/login", "", withChunks) + chunk(data, len(data)) + "\r\n0\r\n\r\n")
	c.wantCut()
	if n := s.Crashes(); n != 1 {
		t.Errorf("got %d crashes, want 1", n)
	}
}

// TestCrashAbortsUpload checks that an upload interrupted by a crash doesn't count as
// complete.
func TestCrashAbortsUpload(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	uploading := dial(t, s)
	uploading.send(message("POST", pathCreate, "", bearer(token), formType, withLength) + forcedCreate(80000))
	eventually(t, "the upload has started", func() bool {
		r := s.Requests()
		return len(r) == 1 && r[0].BodyLength > 10000
	})
	c := dial(t, s)
	c.send(message("POST", "/api/login", `{"email":NaN}`))
	c.wantCut()
	uploading.wantCut()
	waitForRequests(t, s, 2)
	if len(s.Unikernels("alice")) != 1 || s.Crashes() != 1 {
		t.Errorf("got %d unikernels and %d crashes, want one of each", len(s.Unikernels("alice")), s.Crashes())
	}
}
