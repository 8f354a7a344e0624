package mollymawktest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// curl runs the system's curl, which the handbook's examples use, and returns its output.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "--max-time", "10"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running curl: %v: %s", err, stderr.String())
	}
	return string(out)
}

// TestCurl makes the calls from the handbook, adapted to what Mollymawk accepts today.
func TestCurl(t *testing.T) {
	if testing.Short() {
		t.Skip("runs curl, which waits a second for an interim response")
	}
	t.Parallel()
	s, token := start(t, Options{})
	auth, url := bearer(token), s.URL()
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "hello.hvt"), filepath.Join(dir, "disk.img")
	for file, data := range map[string][]byte{
		image: Image(Manifest{}, make([]byte, 5<<20)),
		disk:  bytes.Repeat([]byte("x"), 1<<20),
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(got, data string) {
		t.Helper()
		if got != envelope(200, "", data) {
			t.Errorf("got %s, want %s", got, data)
		}
	}
	want(curl(t, "-H", auth, "-F", "albatross_instance=default", "-F", "unikernel_name=hello",
		"-F", `unikernel_config={"typ":"solo5","cpuids":[0],"memory":32}`, "-F", "unikernel_force_create=false",
		"-F", "molly_csrf=''", "-F", "deploy_mode=manual", "-F", "binary=@"+image, url+"/api/unikernel/create"),
		`"created unikernel"`)
	if got := curl(t, "-H", auth, url+"/api/unikernels"); !strings.Contains(got, `"data":[[{"name":"hello",`) {
		t.Errorf("listing unikernels: got %s, want hello", got)
	}
	want(curl(t, "-X", "POST", "-H", auth, "-d", "{}", url+"/api/unikernel/restart?instance=default&unikernel=hello"),
		`"created unikernel"`)
	want(curl(t, "-H", auth, "-F", "albatross_instance=default", "-F", "molly_csrf=",
		"-F", `json_data={"block_name":"v1","block_size":1,"block_compressed":false}`, "-F", "block_data=@"+disk,
		url+"/api/block/create"), `"set block device"`)
	copied := filepath.Join(dir, "v1.img")
	curl(t, "-H", auth, "-d", `{"albatross_instance":"default","block_name":"v1","compression_level":0}`, "-o", copied,
		url+"/api/block/download")
	got, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte("x"), 1<<20)) {
		t.Errorf("downloading the block: got %d bytes and error %v, want 1 MiB of x", len(got), err)
	}
	want(curl(t, "-H", auth, "-d", `{"name":"hello","albatross_instance":"default"}`, url+"/api/unikernel/destroy"),
		`"destroyed unikernel"`)

	// The response to HEAD announces a body, but curl doesn't read it.
	if got := curl(t, "-I", url+"/style.css"); !strings.HasPrefix(got,
		"HTTP/1.1 400 Bad Request\r\ncontent-length: 78\r\n") {
		t.Errorf("HEAD /style.css: got %s, want status 400 and a Content-Length of 78", got)
	}
	// Sign in like a browser.
	jar := filepath.Join(dir, "jar")
	curl(t, "-c", jar, "-d", `{"email":"alice@example.com","password":"`+Password+`"}`, url+"/api/login")
	if got := curl(t, "-b", jar, url+"/dashboard"); !strings.Contains(got, `<p id="user">alice</p>`) {
		t.Errorf("GET /dashboard: got %s, want the user's name", got)
	}
}
