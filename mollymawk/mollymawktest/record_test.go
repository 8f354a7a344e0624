package mollymawktest

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	const body = `{"name":"x","albatross_instance":"default"}`
	text := message("POST", "/api//x?y#z", body, "a:  b ", "A: c", bearer(token))
	c := dial(t, s)
	c.send(text)
	c.read()
	r := waitForRequests(t, s, 1)[0]
	if r.Method != "POST" || r.Target != "/api//x?y#z" || r.Proto != "HTTP/1.1" || r.Connection != 1 ||
		r.Status != 400 {
		t.Errorf("got request %+v, want the method, target, protocol, connection and status of the one sent", r)
	}
	if want := []string{"Host: molly", "a:  b ", "A: c", bearer(token), "Content-Length: 43"}; !slices.Equal(r.Lines,
		want) {
		t.Errorf("header lines: got %q, want %q", r.Lines, want)
	}
	if got := r.Values("A"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("values of A: got %q, want b and c", got)
	}
	if string(r.Body) != body || r.BodyLength != 43 || r.BodySHA256 != sha256.Sum256([]byte(body)) || !r.BodyEnded ||
		r.BodyBroken {
		t.Errorf("got request %+v, want the complete body %q", r, body)
	}
	s.Reset()
	if len(s.Requests()) != 0 || len(s.Connections()) != 1 || len(s.Connections()[0].Raw) != 0 {
		t.Errorf("after Reset: got requests %v and connections %v, want one empty connection",
			s.Requests(), s.Connections())
	}
	c.send(text)
	c.read()
	if conns := s.Connections(); string(conns[0].Raw) != text || conns[0].Requests != 1 {
		t.Errorf("after Reset: got connections %v, want one with only the second request", conns)
	}
	_ = c.conn.Close()
	eventually(t, "the connection is closed", func() bool { return s.Connections()[0].Closed })
	s.Reset()
	if n := len(s.Connections()); n != 0 {
		t.Errorf("got %d connections after Reset, want 0", n)
	}
}

// TestRecordChunks checks that Body holds chunks without their framing and that Raw
// includes the framing.
func TestRecordChunks(t *testing.T) {
	t.Parallel()
	s := New(t, Options{RawLimit: 60})
	roundTrip(t, s, message("POST", "/api/login", "", "Transfer-Encoding: chunked")+"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n")
	if r := waitForRequests(t, s, 1)[0]; string(r.Body) != "[]" {
		t.Errorf("got body %q, want []", r.Body)
	}
	if c := s.Connections()[0]; len(c.Raw) != 60 || !c.Truncated ||
		!strings.HasPrefix(string(c.Raw), "POST /api/login") {
		t.Errorf("got raw bytes %q, truncated %t, want the first 60 bytes and true", c.Raw, c.Truncated)
	}
}

func TestRecordNothing(t *testing.T) {
	t.Parallel()
	s := New(t, Options{RawLimit: -1})
	fetch(t, s, "/style.css")
	if len(s.Requests()) != 0 || len(s.Connections()) != 0 {
		t.Error("requests or connections were recorded")
	}
}

// TestRecordRefusedBody checks that a refused request's body is recorded even without
// keep-alive.
func TestRecordRefusedBody(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	roundTrip(t, s, message("POST", "/api/unikernel/destroy", "{}", "Connection: close"))
	if r := waitForRequests(t, s, 1)[0]; string(r.Body) != "{}" {
		t.Errorf("got body %q, want {}", r.Body)
	}
}
