package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// endings are the ways to end a token, each with the time from the call until the token ends.
var endings = map[string]struct {
	method, path string
	body         any
	status       int
	after        time.Duration
}{
	"deleted":  {method: http.MethodDelete, status: http.StatusNoContent},
	"revoked":  {method: http.MethodPost, path: "/revoke", status: http.StatusOK},
	"disabled": {method: http.MethodPost, path: "/disable", status: http.StatusOK},
	"rotated":  {method: http.MethodPost, path: "/rotate", body: map[string]any{"grace": "0s"}, status: http.StatusOK},
	"expired": {method: http.MethodPatch, body: map[string]any{"expires_in": 1}, status: http.StatusOK,
		after: time.Second},
}

// TestResponsesEndWithToken checks that however a token ends, its websocket and event stream
// end within a second.
func TestResponsesEndWithToken(t *testing.T) {
	t.Parallel()
	a := startTestbed(t, testbedConfig(), map[string]http.HandlerFunc{"stream": ticking})
	for kind, open := range map[string]func(*testing.T, string) (next func() error){"websocket": a.openWebsocket,
		"event stream": a.openStream} {
		for ending := range endings {
			t.Run(kind+", "+ending, func(t *testing.T) {
				// Try up to three times, because a busy machine may cause delays.
				var took time.Duration
				for range 3 {
					if took = a.end(t, open, ending); took <= time.Second {
						return
					}
				}
				t.Errorf("the response ended %v after its token", took)
			})
		}
	}
	if n := len(a.plain.requests()); n < 2*len(endings) {
		t.Errorf("the backend saw only %d requests", n)
	}
}

// end opens a response, ends its token, and returns the time until the response ends as well.
func (a *testbed) end(t *testing.T, open func(*testing.T, string) func() error, ending string) time.Duration {
	t.Helper()
	token := a.mint(map[string]any{"scopes": []string{"plain:socket", "plain:read"}})
	next := open(t, token)
	for range 3 {
		if err := next(); err != nil {
			t.Fatalf("the response ended before its token: %v", err)
		}
	}
	way := endings[ending]
	a.call(way.method, "tokens/"+tokenID(token)+way.path, way.body, way.status)
	ended := time.Now().Add(way.after)
	for next() == nil {
		if time.Since(ended) > closeTimeout {
			t.Fatalf("the response is still open %v after its token ended", time.Since(ended))
		}
	}
	return time.Since(ended)
}

// openWebsocket opens a websocket and returns a function that sends bytes and reads their
// echo.
func (a *testbed) openWebsocket(t *testing.T, token string) (next func() error) {
	t.Helper()
	conn, err := dialH1("127.0.0.1:" + a.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.close)
	request := upgrading("/plain/socket", "websocket")
	request.host, request.method, request.header[0] = gatedHost, "GET", bearerLine(token)
	if _, err := io.WriteString(conn, request.h1()); err != nil {
		t.Fatal(err)
	}
	if response := conn.readResponse("GET"); response.status != http.StatusSwitchingProtocols {
		t.Fatalf("got response %+v", response)
	}
	return func() error {
		// After the upgrade, bytes that look like a request are plain data.
		if _, err := io.WriteString(conn, smuggledRequest); err != nil {
			return err
		}
		got := make([]byte, len(smuggledRequest))
		if _, err := io.ReadFull(conn.r, got); err != nil {
			return err
		}
		if string(got) != smuggledRequest {
			t.Errorf("got echo %q", got)
		}
		return nil
	}
}

// openStream opens an event stream and returns a function that reads the next event.
func (a *testbed) openStream(t *testing.T, token string) (next func() error) {
	t.Helper()
	conn, err := dialH1("127.0.0.1:" + a.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.close)
	request := asking("stream", token)
	request.host = gatedHost
	if _, err := io.WriteString(conn, request.h1()); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(conn.r, nil)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got response %+v: %v", response, err)
	}
	return func() error {
		_, err := io.ReadFull(response.Body, make([]byte, len(tick)))
		return err
	}
}

const tick = "data: tick\n\n"

// ticking responds with an event stream.
func ticking(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, tick)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

// TestBytesBeforeUpgrade checks that the gate holds back bytes sent right after a websocket
// handshake until the backend has switched protocols. Before that, the backend would read them
// as the next request (CVE-2026-73548).
func TestBytesBeforeUpgrade(t *testing.T) {
	t.Parallel()
	asked, switching := make(chan struct{}), make(chan struct{})
	a := startTestbed(t, testbedConfig(),
		map[string]http.HandlerFunc{"late": func(w http.ResponseWriter, _ *http.Request) {
			conn, buffer, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			close(asked)
			<-switching
			_, _ = io.WriteString(conn,
				"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(conn, buffer)
		}})
	conn, err := dialH1("127.0.0.1:" + a.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	head := a.names.Replace(strings.Replace(handshake, "/plain/socket", "/plain/socket?answer=late", 1) + "13\r\n\r\n")
	if _, err := io.WriteString(conn, head+smuggledRequest); err != nil {
		t.Fatal(err)
	}
	<-asked
	a.plain.waitUntilIdle(t)
	if input := a.plain.input(); strings.Contains(input, "smuggled") {
		t.Errorf("before the switch, the backend got %q", input)
	}
	close(switching)
	if response := conn.readResponse("GET"); response.status != http.StatusSwitchingProtocols {
		t.Fatalf("got response %+v", response)
	}
	// After the switch, the backend must get all bytes as data.
	echoed := make([]byte, len(smuggledRequest))
	if _, err := io.ReadFull(conn.r, echoed); err != nil || string(echoed) != smuggledRequest {
		t.Errorf("got echo %q: %v", echoed, err)
	}
	if n := len(a.plain.requests()); n != 1 {
		t.Errorf("the backend saw %d requests", n)
	}
}

// uploadSite starts a gate with an upload route in front of a backend.
func uploadSite(t *testing.T, backend http.HandlerFunc) *caddy {
	t.Helper()
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	return startCaddy(t, globals+"http://127.0.0.1:{$HTTP} {\n"+gateBlock("route POST /up plain:upload {\nupload\n}")+
		"reverse_proxy {$UPLOADS}\n}",
		map[string]string{"UPLOADS": server.Listener.Addr().String(), "UPSTREAM": "backend-token"})
}

// TestUploadIsStreamed uploads more data than Caddy may keep in memory.
func TestUploadIsStreamed(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	got := make(chan int64, 1)
	c := uploadSite(t, func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
	})
	token := c.mint(map[string]any{"scopes": []string{"plain:upload"}})
	before := c.memory()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url("/up"),
		io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := new(http.Client).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if n := <-got; n != size || response.StatusCode != http.StatusOK {
		t.Errorf("got status %d, and the backend got %d bytes", response.StatusCode, n)
	}
	if grown := c.memory() - before; grown > size/4 {
		t.Errorf("Caddy's memory grew by %d MiB", grown>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// memory returns Caddy's peak memory use in bytes.
func (c *caddy) memory() int64 {
	c.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return kilobytes << 10
}

// TestUploadAborted closes the connection in the middle of an upload. The gate must count the
// upload once, must not retry it, and must leave nothing behind.
func TestUploadAborted(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}, 10), make(chan error, 10)
	c := uploadSite(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 4<<10))
		begun <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	token := c.mint(map[string]any{"scopes": []string{"plain:upload"}})
	goroutines, files := c.goroutines(), c.openFiles()
	conn, err := dialH1("127.0.0.1:" + c.env["HTTP"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /up HTTP/1.1\r\nHost: 127.0.0.1\r\n"+bearerLine(token)+
		"\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 64<<10)); err != nil {
		t.Fatal(err)
	}
	<-begun
	conn.close()
	if err := <-ended; err == nil {
		t.Errorf("the backend treated the upload as complete")
	}
	c.eventually("goroutines have ended", func() bool { return c.goroutines() <= goroutines })
	c.eventually("connections are closed", func() bool { return c.openFiles() <= files })
	if len(begun) > 0 {
		t.Errorf("Caddy retried the upload")
	}
	if allowed, denied := c.usage(token); allowed != 1 || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
	}
}

// TestRefusedUpload checks that curl gets a response instead of a broken connection when the
// gate refuses its upload.
func TestRefusedUpload(t *testing.T) {
	t.Parallel()
	c := uploadSite(t, func(http.ResponseWriter, *http.Request) { t.Errorf("the upload reached the backend") })
	file := c.write("large", strings.Repeat("x", 3<<20))
	for range 10 { // it is random whether a reset arrives before the response
		status, header, body := curl(t, "-H", "Expect:", "--data-binary", "@"+file, c.url("/up"))
		if status != http.StatusUnauthorized || !strings.Contains(body, "missing_token") {
			t.Errorf("got status %d: %v %s", status, header, body)
		}
	}
}

// TestOldConfigurationFinishes reloads with another store while a console is open. The console
// request must still be counted, and later events must do no harm.
func TestOldConfigurationFinishes(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	s.backend.Emit("alice", "default", "hello", "booted")
	token := s.token("--preset", "read")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	response := s.openConsole(ctx, token)
	defer func() { _ = response.Body.Close() }()

	if err := s.reload(strings.Replace(plainSite, "tokens.db", "other.db", 1)); err != nil {
		t.Fatal(err)
	}
	s.expect(token, http.StatusUnauthorized)
	fresh := s.token("--preset", "read")
	s.expect(fresh, http.StatusOK)
	s.backend.Emit("alice", "default", "hello", "still here")
	cancel()
	if _, err := io.Copy(io.Discard, response.Body); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the console ended with %v", err)
	}
	s.eventually("the console is closed at the backend", func() bool { return s.backend.Consoles() == 0 })
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	if allowed, denied := s.usage(token); allowed != 1 || denied != 0 {
		t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
	}
	s.expect(token, http.StatusOK)
	s.checkLogs(token, fresh)
}

// TestUnknownMember checks that Caddy doesn't start with a gate whose JSON has an unknown
// member.
func TestUnknownMember(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	for name, config := range map[string]string{
		"gate": `{"apps":{"api_tokens":{},"http":{"servers":{"s":{"routes":[{"handle":[` +
			`{"handler":"bearer_auth","routes":"mollymawk","scope":"x"}]}]}}}}}`,
		"app": `{"apps":{"api_tokens":{"account":{}}}}`,
	} {
		out, err := c.command("validate", "--config", c.write(name+".json", config)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "unknown option") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
