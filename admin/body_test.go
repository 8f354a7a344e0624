package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestBodyTimeout verifies, over HTTP/1 and HTTP/2, that a body that doesn't arrive in
// time is refused and changes nothing.
func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(f.handler)
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		for path, part := range map[string]string{
			"/tokens": goodBody[:len(goodBody)/2], "/introspect": "token=", "/tokens/000000000000/rotate": "{",
			"/import": "",
		} {
			reader, writer := io.Pipe()
			defer writer.Close()
			go func() { _, _ = io.WriteString(writer, part) }() // the rest never arrives
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, reader)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			if path == "/introspect" {
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusRequestTimeout ||
				!strings.Contains(string(text), `"code":"body_timeout"`) || response.ProtoMajor == 2 != http2 {
				t.Errorf("%s, %s: got %s with body %s, err %v", response.Proto, path, response.Status, text, err)
			}
			_ = response.Body.Close()
		}
	}
	if w := f.do(http.MethodGet, "/tokens", ""); !strings.Contains(w.Body.String(), `"data":[]`) {
		t.Errorf("got response %s", w.Body)
	}
}

// TestBodyTimeoutOfSlowBody verifies that sending single bytes doesn't extend the timeout.
func TestBodyTimeoutOfSlowBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 200 * time.Millisecond })
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn,
		"POST /tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n{")
	statusLine := make(chan string)
	go func() {
		line, _ := bufio.NewReader(conn).ReadString('\n')
		statusLine <- line
	}()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for range 2000 {
		select {
		case line := <-statusLine:
			if !strings.HasPrefix(line, "HTTP/1.1 408 ") {
				t.Errorf("got response %q", line)
			}
			return
		case <-ticker.C:
			_, _ = conn.Write([]byte(" "))
		}
	}
	t.Error("the request wasn't refused")
}

// deadlines is a ResponseWriter that records read deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// TestBodyDeadlineIsReset verifies that the deadline is reset for the next request on the
// connection, and that a request without a body doesn't set a deadline.
func TestBodyDeadlineIsReset(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for body, want := range map[string]int{goodBody: 2, "": 0} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodPost, "/tokens", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		begun := time.Now()
		f.handler.ServeHTTP(w, r)
		if len(w.set) != want {
			t.Fatalf("%q: got deadlines %v", body, w.set)
		}
		if want == 0 {
			continue
		}
		if limit := w.set[0].Sub(begun); limit < time.Minute || limit > 2*time.Minute || !w.set[1].IsZero() {
			t.Errorf("%q: got deadlines %v", body, w.set)
		}
	}
}

// TestBodyOnReusedConnection makes several calls on one connection. The later calls start
// after the first body's deadline.
func TestBodyOnReusedConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for range 3 {
		_, _ = fmt.Fprintf(conn,
			"POST /tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			len(goodBody), goodBody)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated || response.Close {
			t.Errorf("%s, close: got %v", response.Status, response.Close)
		}
		time.Sleep(150 * time.Millisecond) // longer than BodyTimeout
	}
}

// TestIncompleteBody verifies that a body shorter than its declared length isn't treated
// as empty. Over HTTP/3, reading such a body doesn't return an error.
func TestIncompleteBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _ := f.create(`{}`)
	r := httptest.NewRequest(http.MethodPost, "/tokens/"+id+"/rotate", strings.NewReader(""))
	r.ContentLength = 20
	r.Body = io.NopCloser(strings.NewReader(""))
	r.Header.Set("Content-Type", "application/json")
	f.refused(f.serve(r), 400, "invalid_json")
}
