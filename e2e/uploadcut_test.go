package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// formSite is plainSite with h2c and additional options for the gate.
func formSite(options string) string {
	site := strings.Replace(plainSite, "\tdebug\n", "\tdebug\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}\n", 1)
	return strings.Replace(site, "routes {$ROUTES:mollymawk}", "routes {$ROUTES:mollymawk}\n"+options, 1)
}

// relay forwards up to most bytes from one client (all bytes if most is negative), then closes
// both connections. It returns its port and a channel that receives the number of bytes
// forwarded.
func relay(t *testing.T, to string, most int64) (port string, sent <-chan int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	total := make(chan int64, 1)
	go func() {
		defer close(total)
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		answered := make(chan struct{})
		go func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
			close(answered)
		}()
		var source io.Reader = client
		if most >= 0 {
			source = io.LimitReader(client, most)
		}
		n, _ := io.Copy(server, source)
		// Closing both directions would cause a reset, and the server would then discard
		// unread data, perhaps the whole request.
		_ = server.(*net.TCPConn).CloseWrite()
		<-answered
		total <- n
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, total
}

// TestUploadCutOff cuts curl off at ten points in a forced create and in a block upload, as
// happens when a CI job is canceled. The unikernel must keep running. The block must be
// unchanged if the upload was spooled or hadn't reached its data.
func TestUploadCutOff(t *testing.T) {
	t.Parallel()
	for _, caller := range []string{"token", "cookie"} {
		for protocol, flags := range map[string][]string{"h1": nil, "h1 chunked": {"-H", "Transfer-Encoding: chunked"},
			"h2c": {"--http2-prior-knowledge"}} {
			for _, spooled := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, by %s, spooled %v", protocol, caller, spooled), func(t *testing.T) {
					t.Parallel()
					cutUploads(t, caller, spooled, flags)
				})
			}
		}
	}
}

func cutUploads(t *testing.T, caller string, spooled bool, flags []string) {
	option := "browser_sessions molly_session\n"
	if spooled {
		option += "spool_uploads " + t.TempDir()
	}
	s := startSite(t, formSite(option), mollymawktest.Options{})
	token := s.token("--preset", "full")
	credential := bearer(token)
	if caller == "cookie" {
		credential = []string{"-H", "Cookie: " + s.backend.Session("alice"), "-F",
			"molly_csrf=" + s.backend.CSRF("alice")}
	}
	old := bytes.Repeat([]byte("old "), 1<<18)
	s.backend.AddUnikernel("alice", "default", "web")
	image := s.write("image",
		string(mollymawktest.Image(mollymawktest.Manifest{}, bytes.Repeat([]byte("new"), 100_000))))
	data := s.write("disk.img", strings.Repeat("new ", 1<<18))
	paths := 0
	for path, args := range map[string][]string{
		"/api/unikernel/create": {"-F", "albatross_instance=default", "-F", "unikernel_name=web", "-F",
			`unikernel_config={"cpuids":[0],"memory":32}`, "-F", "unikernel_force_create=true", "-F",
			"binary=@" + image},
		"/api/block/upload": {"-F", "albatross_instance=default", "-F",
			`json_data={"block_name":"vol$N","block_size":1,"block_compressed":false}`, "-F", "block_data=@" + data},
	} {
		credential := slices.Clone(credential)
		args := append(append(credential, flags...), append(args, "-sS", "-H", "Expect:", "--max-time", "20")...)
		paths++
		n := 100 * paths
		run := func(most int64) (response, block string, sent int64) { // uploads to a new block
			n++
			block = fmt.Sprint("vol", n)
			s.backend.AddBlock("alice", "default", block, 1, old)
			port, total := relay(t, "127.0.0.1:"+s.env["HTTP"], most)
			var own []string
			for _, arg := range append(args, "http://127.0.0.1:"+port+path) {
				own = append(own, strings.ReplaceAll(arg, "vol$N", block))
			}
			out, _ := exec.Command("curl", own...).CombinedOutput()
			return string(out), block, <-total
		}
		lines := len(s.accessLog())
		ended := func() {
			lines++
			s.eventually("the request has ended", func() bool { return len(s.accessLog()) >= lines })
		}
		response, _, total := run(-1)
		ended()
		if !strings.Contains(response, `"status":200`) {
			t.Fatalf("%s, complete upload: got %s", path, response)
		}
		started := s.backend.Unikernels("alice")[0].Started
		for i := range int64(10) {
			before, end := len(s.backend.Requests()), 700+i*(total-715)/9
			response, name, _ := run(end)
			ended()
			if strings.Contains(response, `"status":200`) {
				t.Errorf("%s, cut off at %d of %d bytes: got response %s", path, end, total, response)
			}
			seen := s.backend.Requests()[before:]
			if spooled && len(seen) != 0 {
				t.Errorf("%s, cut off at %d of %d bytes: the backend saw a request", path, end, total)
			}
			for _, request := range seen {
				if request.BodyEnded && !request.BodyBroken {
					t.Errorf("%s, cut off at %d of %d bytes: the backend treated the upload as complete", path, end,
						total)
				}
			}
			if running := s.backend.Unikernels("alice"); len(running) != 1 || !running[0].Started.Equal(started) {
				t.Fatalf("%s, cut off at %d of %d bytes: running unikernels are %v", path, end, total, running)
			}
			if block, ok := s.backend.Block("alice", "default", name); !ok || len(seen) == 0 &&
				!bytes.Equal(block, old) {
				t.Errorf("%s, cut off at %d of %d bytes: the block has changed", path, end, total)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
	s.checkLogs(token)
}

// TestSlowBackend ends uploads that a backend reads slowly, by withdrawing their tokens or
// disconnecting their clients. The data that the backend receives must end with a complete
// chunk, because Mollymawk treats a truncated chunk as the end of the body.
func TestSlowBackend(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]string{"streamed": "", "spooled": "spool_uploads " + t.TempDir()} {
		for _, caller := range []string{"token", "cookie"} {
			t.Run(name+", by "+caller, func(t *testing.T) {
				t.Parallel()
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = listener.Close() })
				c := startCaddy(t, formSite("browser_sessions molly_session\n"+option),
					map[string]string{"UPSTREAM": "backend-token", "BACKEND": listener.Addr().String()})
				token := c.mint(map[string]any{"scopes": []string{"unikernel:create"}})
				credential := bearer(token)
				if caller == "cookie" {
					credential = []string{"-H", "Cookie: molly_session=x"}
				}
				image := c.write("image", strings.Repeat("image", 5<<20))
				client := exec.CommandContext(t.Context(), "curl", append(credential, "-sS", "-H", "Expect:", "-F",
					"albatross_instance=default", "-F", "unikernel_name=web",
					"-F", "unikernel_config={}", "-F", "unikernel_force_create=true", "-F", "binary=@"+image,
					c.url("/api/unikernel/create"))...)
				if err := client.Start(); err != nil {
					t.Fatal(err)
				}
				backend, err := listener.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = backend.Close() }()
				reader := bufio.NewReader(backend)
				// The gate reads only as much of the body as fits into the buffer.
				if _, err := http.ReadRequest(reader); err != nil {
					t.Fatal(err)
				}
				if caller == "token" {
					c.withdraw(token, "revoked")
				}
				_ = client.Process.Kill()
				_ = client.Wait()
				_ = backend.SetReadDeadline(time.Now().Add(10 * time.Second))
				raw, _ := io.ReadAll(reader) // the gate may leave the connection open
				switch whole, within := readChunks(string(raw)); {
				case within:
					t.Errorf("after %d bytes, the body ended within a chunk", len(raw))
				case whole != (name == "spooled"):
					t.Errorf("after %d bytes, the body is complete: %v", len(raw), whole)
				}
			})
		}
	}
}

// readChunks reports whether a chunked body (RFC 9112 section 7.1) is complete and whether it
// ends in the middle of a chunk.
func readChunks(body string) (whole, within bool) {
	for body != "" {
		line, rest, ok := strings.Cut(body, "\r\n")
		size, err := strconv.ParseInt(line, 16, 64)
		switch {
		case !ok || err != nil || int64(len(rest)) < size+2:
			return false, true
		case size == 0:
			return true, false
		}
		body = rest[size+2:]
	}
	return false, false
}
