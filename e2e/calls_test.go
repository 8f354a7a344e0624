package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

var generations = map[string]mollymawktest.Generation{
	"current": mollymawktest.Current,
	"2025":    mollymawktest.Generation2025,
}

// TestCalls uses curl to make every kind of call that API clients make, using the paths of
// both Mollymawk generations, against a backend of each generation.
func TestCalls(t *testing.T) {
	t.Parallel()
	for name, generation := range generations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, plainSite, mollymawktest.Options{Generation: generation})
			token := s.token("--preset", "full")
			// Use both path names for block and restart calls, regardless of the backend's
			// generation.
			for i, path := range []string{"/api/block/", "/api/volume/"} {
				s.createUnikernel(t, token, "hello")
				s.restartUnikernel(t, token, "hello", i == 0)
				s.useBlock(t, token, path)
				s.destroyUnikernel(t, token, "hello")
			}
			s.checkBackend(token)
			s.checkLogs(token)
			if allowed, denied := s.usage(token); allowed == 0 || denied != 0 ||
				int(allowed) != len(s.backend.Requests())-1 {
				// The gate probes the instance once before the first download.
				t.Errorf("the server counted %d allowed and %d denied requests, the backend saw %d", allowed, denied,
					len(s.backend.Requests()))
			}
			if s.backend.Crashes() != 0 {
				t.Errorf("%d requests that would have crashed the backend reached it", s.backend.Crashes())
			}
		})
	}
}

// call makes a call that must succeed and returns the response data.
func (s *site) call(t *testing.T, token, path string, args ...string) json.RawMessage {
	t.Helper()
	status, header, body := curl(t, append(append(bearer(token), args...), s.url(path))...)
	var envelope struct {
		Success bool
		Data    json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &envelope); err != nil || status != http.StatusOK || !envelope.Success {
		t.Fatalf("%s: got status %d: %s", path, status, body)
	}
	if header.Get("Api-Key-Expires") == "" {
		t.Errorf("%s: the response lacks Api-Key-Expires", path)
	}
	return envelope.Data
}

func (s *site) names(t *testing.T, token string) []string {
	t.Helper()
	var list struct {
		Data [][]struct{ Name string }
	}
	if err := json.Unmarshal(s.call(t, token, "/api/unikernels"), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, instance := range list.Data {
		for _, unikernel := range instance {
			names = append(names, unikernel.Name)
		}
	}
	return names
}

// createUnikernel uploads a 20 MB image.
func (s *site) createUnikernel(t *testing.T, token, name string) {
	t.Helper()
	content := make([]byte, 20_000_000)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	image := mollymawktest.Image(mollymawktest.Manifest{}, content)
	file := s.write("image.hvt", string(image))
	s.call(t, token, "/api/unikernel/create",
		"-F", "albatross_instance=default", "-F", "unikernel_name="+name,
		"-F", `unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`, "-F", "unikernel_force_create=false",
		"-F", "molly_csrf=", "-F", "deploy_mode=manual", "-F", "binary=@"+file)
	if got := s.names(t, token); len(got) != 1 || got[0] != name {
		t.Fatalf("the backend is running %v, want %s", got, name)
	}
	if got := s.backend.Unikernels("alice")[0]; got.ImageSize != int64(len(image)) {
		t.Errorf("the backend got an image of %d bytes, want %d", got.ImageSize, len(image))
	}
}

// restartUnikernel restarts a unikernel, with either query parameters or JSON as in the
// handbook.
func (s *site) restartUnikernel(t *testing.T, token, name string, query bool) {
	t.Helper()
	before := s.backend.Unikernels("alice")[0].Started
	if query {
		s.call(t, token, "/api/unikernel/restart?instance=default&unikernel="+name, "-d", "{}")
	} else {
		s.call(t, token, "/api/unikernel/restart", "-H", "Content-Type: application/json",
			"-d", `{"name":"`+name+`","albatross_instance":"default"}`)
	}
	if got := s.backend.Unikernels("alice")[0].Started; !got.After(before) {
		t.Errorf("the unikernel wasn't restarted")
	}
}

func (s *site) destroyUnikernel(t *testing.T, token, name string) {
	t.Helper()
	s.call(t, token, "/api/unikernel/destroy", "-d", `{"name":"`+name+`","albatross_instance":"default"}`)
	if got := s.names(t, token); len(got) != 0 {
		t.Errorf("the backend is still running %v", got)
	}
}

// useBlock creates, fills, reads and deletes a block device.
func (s *site) useBlock(t *testing.T, token, path string) {
	t.Helper()
	form := func(data string) []string {
		return []string{
			"-F", "albatross_instance=default", "-F", "molly_csrf=",
			"-F", `json_data={"block_name":"disk","block_size":1,"block_compressed":false}`, "-F",
			"block_data=@" + s.write("disk.img", data),
		}
	}
	s.call(t, token, path+"create", form("first")...)
	s.call(t, token, path+"upload", form("second")...)
	if data, ok := s.backend.Block("alice", "default", "disk"); !ok || string(data) != "second" {
		t.Errorf("%s: the block contains %q", path, data)
	}
	file := s.path("download.img")
	status, _, _ := curl(t,
		append(bearer(token), "-d", `{"albatross_instance":"default","block_name":"disk","compression_level":0}`,
			"-o", file, s.url(path+"download"))...)
	got, err := os.ReadFile(file)
	if err != nil || status != http.StatusOK || len(got) != 1<<20 || !bytes.HasPrefix(got, []byte("second")) {
		t.Errorf("%sdownload: got status %d, %d bytes and error %v", path, status, len(got), err)
	}
	s.call(t, token, path+"delete", "-d", `{"block_name":"disk","albatross_instance":"default"}`)
	if _, ok := s.backend.Block("alice", "default", "disk"); ok {
		t.Errorf("%s: the block wasn't deleted", path)
	}
}

// TestConsole reads an event stream and checks that it ends when the token is deleted. See
// also TestResponsesEndWithToken.
func TestConsole(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	s.backend.Emit("alice", "default", "hello", "booted")
	token := s.token("--preset", "read")

	response := s.openConsole(t.Context(), token)
	defer func() { _ = response.Body.Close() }()
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("got console content type %q", got)
	}
	events := make(chan string)
	go func() {
		defer close(events)
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			if lines.Text() != "" {
				events <- lines.Text()
			}
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case event := <-events:
			if !strings.Contains(event, want) {
				t.Errorf("the console sent %q, want %q", event, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the console didn't send %q", want)
		}
	}
	next("booted") // replayed by the backend
	s.backend.Emit("alice", "default", "hello", "still here")
	next("still here") // sent while the stream is open

	if _, stderr, code := s.run("api-token", "delete", tokenID(token), "--yes"); code != 0 {
		t.Fatalf("deleting the token: %s", stderr)
	}
	select {
	case event, open := <-events:
		if open {
			t.Errorf("the console sent %q after its token was deleted", event)
		}
	case <-time.After(time.Second):
		t.Errorf("the console is still open one second after its token was deleted")
	}
}

// TestClientGone closes a console connection from the client side.
func TestClientGone(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	s.backend.AddUnikernel("alice", "default", "hello")
	s.backend.Emit("alice", "default", "hello", "booted")
	token := s.token("--preset", "read")
	before := s.goroutines()
	ctx, cancel := context.WithCancel(t.Context())
	response := s.openConsole(ctx, token)
	cancel()
	_ = response.Body.Close()
	s.eventually("the console is closed at the backend", func() bool { return s.backend.Consoles() == 0 })
	s.eventually("its goroutines have ended", func() bool { return s.goroutines() <= before })
}
