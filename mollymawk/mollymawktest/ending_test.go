package mollymawktest

import (
	"strings"
	"testing"
)

// closeWrite closes the sending side of the connection (FIN). The client can still read
// the response.
func (c *client) closeWrite() {
	c.t.Helper()
	if err := c.conn.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// reset resets the connection (RST), as a failing client or network would.
func (c *client) reset() {
	c.t.Helper()
	if err := c.conn.SetLinger(0); err != nil {
		c.t.Fatal(err)
	}
	_ = c.conn.Close() // the reset is what matters
}

// TestBodyEndsWithConnection checks that a body with a Content-Length, or one cut inside a
// chunk, ends when the connection ends. The data received so far counts as the complete
// body.
func TestBodyEndsWithConnection(t *testing.T) {
	t.Parallel()
	const elf = `"Albatross Response Error: failure: error during ELF parsing"`
	half := forcedCreate(80000)
	for name, test := range map[string]struct {
		request string
		status  int
		data    string
		remains bool // whether hello still runs
	}{
		"JSON, complete": {
			message("POST", pathDestroy, "", withLength) + `{"name":"hello","albatross_instance":"default"}`,
			200, `"destroyed unikernel"`, false,
		},
		"JSON, incomplete": {
			message("POST", pathDestroy, "", withLength) + `{"name":"hello","albatross_ins`,
			400, `"Line 1, bytes 29-30:\\nUnexpected end of input"`, true,
		},
		"half an image": {message("POST", pathCreate, "", formType, withLength) + half, 500, elf, false},
		"half an image, inside a chunk": {
			message("POST", pathCreate, "", formType, withChunks) + chunk(half, len(half)+1), 500, elf, false,
		},
		"half an image, chunk announced": {
			message("POST", pathCreate, "", formType, withChunks) + chunk(half, len(half)) + "\r\n" + chunk("", 1), 500,
			elf, false,
		},
		"image without final boundary": {
			message("POST", pathCreate, "", formType, withLength) + strings.TrimSuffix(forcedCreate(0),
				"\r\n--"+boundary+"--\r\n"),
			200, `"created unikernel"`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, token := start(t, Options{})
			s.AddUnikernel("alice", "default", "hello")
			c := dial(t, s)
			c.send(strings.Replace(test.request, "Host: molly", bearer(token), 1))
			c.closeWrite()
			wantEnvelope(t, c.read(), test.status, "", test.data)
			c.wantClosed()
			if runs := len(s.Unikernels("alice")) == 1; runs != test.remains || s.Crashes() != 0 {
				t.Errorf("hello is running: got %t, want %t; got %d crashes, want 0", runs, test.remains, s.Crashes())
			}
			if r := waitForRequests(t, s, 1)[0]; !r.BodyBroken {
				t.Error("the body wasn't recorded as broken")
			}
		})
	}
}

// TestBodyEndsBetweenChunks checks that the end of the connection between two chunks
// doesn't end the body: the handler and albatross wait forever for the rest.
func TestBodyEndsBetweenChunks(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	s.AddUnikernel("alice", "default", "hello")
	half := forcedCreate(80000)
	for name, rest := range map[string]string{
		"after a chunk":           "",
		"after its line end":      "\r\n",
		"within a size":           "\r\n1",
		"after the last size":     "\r\n0\r\n",
		"before the last newline": "\r\n0\r\n\r",
	} {
		c := dial(t, s)
		c.send(message("POST", pathCreate, "", bearer(token), formType, withChunks) + chunk(half, len(half)) + rest)
		c.closeWrite()
		c.wantClosed() // without a response
		if len(s.Unikernels("alice")) != 1 || s.Crashes() != 0 {
			t.Errorf("%s: got %d unikernels and %d crashes, want 1 and 0",
				name, len(s.Unikernels("alice")), s.Crashes())
		}
	}
	c := dial(t, s)
	c.send(message("POST", pathDestroy, "", bearer(token), withChunks) +
		chunk(`{"name":"hello","albatross_instance":"default"}`, 47))
	c.closeWrite()
	c.wantClosed()
	if len(s.Unikernels("alice")) != 1 {
		t.Error("hello was destroyed")
	}
}

// TestTruncatedBlockUpload checks that an upload overwrites the block as data arrives, no
// matter how the upload ends.
func TestTruncatedBlockUpload(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("new", 50000)
	half := form(blockParts(jsonData("v1", 1, false), data)...)[:100000]
	for name, test := range map[string]struct {
		request  string
		responds bool
	}{
		"length":         {message("POST", pathUpload, "", formType, withLength) + half, true},
		"inside a chunk": {message("POST", pathUpload, "", formType, withChunks) + chunk(half, len(half)+100), true},
		"after a chunk": {message("POST", pathUpload, "", formType, withChunks) + chunk(half, len(half)) + "\r\n",
			false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, token := start(t, Options{})
			s.AddBlock("alice", "default", "v1", 1, []byte(strings.Repeat("old", 50000)))
			c := dial(t, s)
			c.send(strings.Replace(test.request, "Host: molly", bearer(token), 1))
			c.closeWrite()
			if test.responds {
				wantEnvelope(t, c.read(), 200, "", `"set block device"`)
			}
			c.wantClosed()
			got, ok := s.Block("alice", "default", "v1")
			if !ok || !strings.HasPrefix(data, string(got)) || len(got) < 90000 {
				t.Errorf("the block contains %d bytes starting with %.6q, want the data sent before the upload ended",
					len(got), got)
			}
		})
	}
}

// TestResetCrashes checks that a connection reset inside a body ends the body. The server
// processes the data received so far and then crashes when it responds.
func TestResetCrashes(t *testing.T) {
	t.Parallel()
	half := forcedCreate(80000)
	for name, test := range map[string]struct {
		request string
		remains bool
	}{
		"image with length": {message("POST", pathCreate, "", formType, withLength) + half, false},
		"image in chunks": {message("POST", pathCreate, "", formType, withChunks) + chunk(half, len(half)) + "\r\n",
			false},
		"JSON": {message("POST", pathDestroy, "", withLength) + "{", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, token := start(t, Options{})
			s.AddUnikernel("alice", "default", "hello")
			bystander := dial(t, s)
			c := dial(t, s)
			c.send(strings.Replace(test.request, "Host: molly", bearer(token), 1))
			eventually(t, "the request is read", func() bool {
				r := s.Requests()
				return len(r) == 1 && r[0].BodyLength > 0
			})
			c.reset()
			bystander.wantCut()
			if runs := len(s.Unikernels("alice")) == 1; runs != test.remains || s.Crashes() != 1 {
				t.Errorf("hello is running: got %t, want %t; got %d crashes, want 1", runs, test.remains, s.Crashes())
			}
		})
	}
}

// TestHarmlessResets checks that a reset after the response, or outside a body, doesn't
// crash the server.
func TestHarmlessResets(t *testing.T) {
	t.Parallel()
	s, token := start(t, Options{})
	for name, request := range map[string]string{
		"inside a head":       "POST /api/login HTTP/1.1\r\nHost",
		"between requests":    message("GET", "/style.css", ""),
		"refused before body": message("POST", pathDestroy, "", bearer("nobody"), withLength) + "{",
		"console":             message("GET", consolePath, "", bearer(token)),
	} {
		c := dial(t, s)
		c.send(request)
		if name == "between requests" || name == "refused before body" {
			c.read()
		}
		c.reset()
		eventually(t, name+" is over", func() bool {
			conns := s.Connections()
			return len(conns) > 0 && conns[len(conns)-1].Closed
		})
	}
	if n := s.Crashes(); n != 0 {
		t.Errorf("got %d crashes, want 0", n)
	}
}
