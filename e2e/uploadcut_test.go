package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// formSite is a plain site that speaks h2c too, with more options for the gate.
func formSite(options string) string {
	site := strings.Replace(plainSite, "\tdebug\n", "\tdebug\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}\n", 1)
	return strings.Replace(site, "routes {$ROUTES:mollymawk}", "routes {$ROUTES:mollymawk}\n"+options, 1)
}

// relay hands on what one client sends, up to so many bytes (negative is all), and closes
// both connections then. It returns its port, and how many bytes it has handed on.
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
		_ = server.Close()
		<-answered
		total <- n
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, total
}

// TestUploadCutOff cuts curl off at ten points of a forced create and of an upload to a
// block, as a CI job that is cancelled does. The unikernel runs on. The block is as it was
// if the upload was spooled or hadn't come to its data.
func TestUploadCutOff(t *testing.T) {
	t.Parallel()
	for _, spooled := range []bool{false, true} {
		for protocol, flags := range map[string][]string{"h1": nil, "h1 chunked": {"-H", "Transfer-Encoding: chunked"}, "h2c": {"--http2-prior-knowledge"}} {
			t.Run(fmt.Sprintf("%s, spooled %v", protocol, spooled), func(t *testing.T) {
				t.Parallel()
				cutUploads(t, spooled, flags)
			})
		}
	}
}

func cutUploads(t *testing.T, spooled bool, flags []string) {
	option := ""
	if spooled {
		option = "spool_uploads " + t.TempDir()
	}
	s := startSite(t, formSite(option), mollymawktest.Options{})
	token := s.token("--preset", "full")
	old := bytes.Repeat([]byte("old "), 1<<18)
	s.backend.AddUnikernel("alice", "default", "web")
	image := s.write("image", string(mollymawktest.Image(mollymawktest.Manifest{}, bytes.Repeat([]byte("new"), 100_000))))
	data := s.write("disk.img", strings.Repeat("new ", 1<<18))
	paths := 0
	for path, args := range map[string][]string{
		"/api/unikernel/create": {"-F", "albatross_instance=default", "-F", "unikernel_name=web", "-F", `unikernel_config={"cpuids":[0],"memory":32}`, "-F", "unikernel_force_create=true", "-F", "binary=@" + image},
		"/api/block/upload":     {"-F", "albatross_instance=default", "-F", `json_data={"block_name":"vol$N","block_size":1,"block_compressed":false}`, "-F", "block_data=@" + data},
	} {
		args := append(append(bearer(token), flags...), append(args, "-sS", "-H", "Expect:", "--max-time", "20")...)
		paths++
		n := 100 * paths
		run := func(most int64) (answer, block string, sent int64) { // to a new block
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
			s.eventually("the request is over", func() bool { return len(s.accessLog()) >= lines })
		}
		answer, _, total := run(-1)
		ended()
		if !strings.Contains(answer, `"status":200`) {
			t.Fatalf("%s, whole: %s", path, answer)
		}
		started := s.backend.Unikernels("alice")[0].Started
		for i := range int64(10) {
			before, end := len(s.backend.Requests()), 700+i*(total-715)/9
			answer, name, _ := run(end)
			ended()
			if strings.Contains(answer, `"status":200`) {
				t.Errorf("%s, cut off at %d of %d bytes: %s", path, end, total, answer)
			}
			seen := s.backend.Requests()[before:]
			if spooled && len(seen) != 0 {
				t.Errorf("%s, cut off at %d of %d bytes: the backend got a request", path, end, total)
			}
			for _, request := range seen {
				if request.BodyEnded && !request.BodyBroken {
					t.Errorf("%s, cut off at %d of %d bytes: the backend took it for the whole", path, end, total)
				}
			}
			if running := s.backend.Unikernels("alice"); len(running) != 1 || !running[0].Started.Equal(started) {
				t.Fatalf("%s, cut off at %d of %d bytes: %v", path, end, total, running)
			}
			if block, ok := s.backend.Block("alice", "default", name); !ok || len(seen) == 0 && !bytes.Equal(block, old) {
				t.Errorf("%s, cut off at %d of %d bytes: the block has changed", path, end, total)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend ended %d times", n)
	}
	s.checkLogs(token)
}
