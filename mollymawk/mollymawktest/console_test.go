package mollymawktest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const consolePath = "/api/unikernel/console?unikernel=hello&instance=default"

// events returns the bytes that a console stream sends for these lines.
func events(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(`data:{"timestamp":"2026-08-21T12:00:00-00:00","line":"` + line + "\"}\n\n")
	}
	return b.String()
}

// wantNext checks that exactly these bytes arrive next.
func (c *client) wantNext(want string) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(timeout))
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		m, err := c.r.Read(got[n:])
		n += m
		if err != nil || string(got[:n]) != want[:n] {
			c.t.Fatalf("got %q, error %v\nwant %q", got[:n], err, want)
		}
	}
}

const consoleHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-frame-options: DENY\r\n" +
	"content-security-policy: frame-ancestors 'none'\r\n\r\n"

// TestConsoleHoldsHeadBack checks that the server sends nothing, not even a status line,
// before the first event.
func TestConsoleHoldsHeadBack(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Clock: newClock().Now})
	token := s.AddToken("alice", "gate", time.Hour)
	s.AddUnikernel("alice", "default", "hello")
	c := dial(t, s)
	c.send(message("GET", consolePath, "", bearer(token)))
	eventually(t, "the stream is open", func() bool { return s.Consoles() == 1 })
	c.wantSilence()
	if s.Requests()[0].Status != 0 {
		t.Error("a response was recorded before it was sent")
	}
	s.Emit("alice", "default", "hello", `say "hi"`)
	c.wantNext(consoleHead + events(`say \"hi\"`))
	s.Emit("alice", "default", "hello", "äöü\x1b")
	c.wantNext(events(`äöü\u001b`))
	if s.Requests()[0].Status != 200 {
		t.Error("no response was recorded")
	}
	// The stream stays silent when the unikernel is destroyed.
	postJSON(t, s, token, "/api/unikernel/destroy", `{"name":"hello","albatross_instance":"default"}`)
	if s.Emit("alice", "default", "hello", "gone") {
		t.Error("Emit succeeded for a destroyed unikernel")
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(silence))
	if b, err := c.r.ReadByte(); err == nil {
		t.Errorf("got byte %q, want silence", b)
	}
	_ = c.conn.Close()
	eventually(t, "the stream is closed", func() bool { return s.Consoles() == 0 })
}

func TestConsoleReplays(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Clock: newClock().Now})
	token := s.AddToken("alice", "gate", time.Hour)
	s.AddUnikernel("alice", "default", "hello")
	s.AddUnikernel("bob", "default", "hello")
	s.Emit("bob", "default", "hello", "his")
	var lines []string
	for i := range 45 {
		lines = append(lines, fmt.Sprint("line ", i))
		s.Emit("alice", "default", "hello", lines[i])
	}
	c := dial(t, s)
	c.send(message("GET", "/api/unikernel/console?instance=Default&unikernel=Hello", "", bearer(token)))
	c.wantNext(consoleHead + events(lines[5:]...))
	s.Emit("alice", "default", "hello", "live")
	c.wantNext(events("live"))
}

func TestConsoleWithoutUnikernel(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("bob", "default", "hello")
	s.Emit("bob", "default", "hello", "his")
	c := dial(t, s)
	c.send(message("GET", consolePath, "", bearer(token)))
	c.wantSilence()
	s.SetFaults(Faults{Unreachable: map[string]string{"default": "timeout"}})
	c = dial(t, s)
	c.send(message("GET", consolePath, "", bearer(token)))
	c.wantSilence()
}

// TestConsoleIgnoresNextRequest checks that the server handles no further requests on a
// stream's connection.
func TestConsoleIgnoresNextRequest(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	c := dial(t, s)
	c.send(message("GET", consolePath, "", bearer(token)) + message("GET", "/style.css", ""))
	c.wantSilence()
	if n := len(s.Requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}
