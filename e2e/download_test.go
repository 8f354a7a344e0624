package e2e

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// randomBytes returns n random, incompressible bytes.
func randomBytes(n int) []byte {
	random := rand.NewChaCha8([32]byte{17})
	data := make([]byte, n)
	_, _ = random.Read(data)
	return data
}

// download downloads a block with curl. It returns curl's exit status, the response status,
// and the file's content.
func (s *site) download(t *testing.T, token, body string, args ...string) (exit int, status string, file []byte) {
	t.Helper()
	return downloadFrom(t, s.url(""), token, body, args...)
}

// downloadFrom is like download, but uses an origin other than the plain site.
func downloadFrom(t *testing.T, origin, token, body string, args ...string) (exit int, status string, file []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "block")
	args = append(append(args, bearer(token)...), "-sS", "-o", name, "-w", "%{http_code}", "-d", body,
		origin+"/api/block/download")
	out, err := exec.CommandContext(t.Context(), "curl", args...).Output()
	if exitErr, ok := err.(*exec.ExitError); ok {
		exit = exitErr.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	file, _ = os.ReadFile(name) // curl creates no file if it receives no data
	return exit, string(out), file
}

func downloadBody(block, level string) string {
	return fmt.Sprintf(`{"albatross_instance":"default","block_name":%q,"compression_level":%s}`, block, level)
}

func code(body []byte) string {
	var problem struct{ Code string }
	_ = json.Unmarshal(body, &problem)
	return problem.Code
}

// TestShortDownloads checks that no client mistakes a truncated download for a complete one.
// Mollymawk truncates most downloads without reporting an error.
func TestShortDownloads(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	data := randomBytes(3 << 20)
	s.backend.AddBlock("alice", "default", "v1", 3, data)
	s.backend.AddBlock("alice", "default", "used", 1, data[:1<<20])
	s.backend.AddUnikernel("alice", "default", "web", "used")
	token := s.token("--scope", "block:download")
	for name, args := range map[string][]string{"h1": nil, "h2c": {"--http2-prior-knowledge"}} {
		s.backend.SetFaults(mollymawktest.Faults{})
		if exit, status, file := s.download(t, token, downloadBody("v1", "0"), args...); exit != 0 || status != "200" ||
			!bytes.Equal(file, data) {
			t.Errorf("%s, complete download: got exit status %d, status %s and %d bytes", name, exit, status, len(file))
		}
		s.backend.SetFaults(mollymawktest.Faults{ShortDownload: mollymawktest.Random})
		short := 0
		for i := range 50 {
			level := fmt.Sprint(i % 3)
			exit, status, file := s.download(t, token, downloadBody("v1", level), args...)
			if exit == 0 {
				t.Errorf("%s, level %s: got exit status 0 with status %s and %d bytes", name, level, status, len(file))
			}
			if status == "200" {
				short++
			}
		}
		t.Logf("%s: %d of 50 downloads ended early after a 200 response, none with exit status 0", name, short)
		for want, tt := range map[string]struct {
			faults mollymawktest.Faults
			block  string
		}{
			"502 backend_incomplete": {mollymawktest.Faults{ShortDownload: mollymawktest.HeadOnly}, "v1"},
			"502 backend_broke_off":  {mollymawktest.Faults{ShortDownload: mollymawktest.NoAnswer}, "v1"},
		} {
			s.backend.SetFaults(tt.faults)
			if exit, status, file := s.download(t, token, downloadBody(tt.block, "0"), args...); exit != 0 ||
				status+" "+code(file) != want {
				t.Errorf("%s: exit %d, status %s, %.300s, want %s", name, exit, status, file, want)
			}
		}
		s.backend.SetFaults(mollymawktest.Faults{})
		for _, block := range []string{"used", "none"} {
			if exit, status, file := s.download(t, token, downloadBody(block, "0"), args...); exit != 0 ||
				status+" "+code(file) != "502 backend_incomplete" {
				t.Errorf("%s, block %s: got exit status %d, status %s: %.300s", name, block, exit, status, file)
			}
		}
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
}

// TestDownloadLevels checks that the gate compresses downloads itself, because Mollymawk
// can't.
func TestDownloadLevels(t *testing.T) {
	t.Parallel()
	s := startSite(t, webSite, mollymawktest.Options{})
	data := append(randomBytes(1<<20), make([]byte, 1<<20)...)
	s.backend.AddBlock("alice", "default", "v1", 2, data)
	token := s.token("--scope", "block:download")
	session, csrf := s.backend.Session("alice"), s.backend.CSRF("alice")
	for level := range 10 {
		exit, status, file := s.download(t, token, downloadBody("v1", fmt.Sprint(level)))
		if exit != 0 || status != "200" {
			t.Errorf("level %d: got exit status %d, status %s: %.300s", level, exit, status, file)
			continue
		}
		got := file
		if level > 0 {
			if len(file) > len(data)*3/5 {
				t.Errorf("level %d: got %d bytes, compressed from %d", level, len(file), len(data))
			}
			z, err := zlib.NewReader(bytes.NewReader(file))
			if err == nil {
				got, err = io.ReadAll(z)
			}
			if err != nil {
				t.Errorf("level %d: decompressing: %v", level, err)
			}
		}
		if !bytes.Equal(got, data) {
			t.Errorf("level %d: got %d bytes of wrong data", level, len(got))
		}
	}
	// Mollymawk's own page sends this request.
	status, _, body := curl(t, "-H", "Cookie: "+session, "-d", strings.TrimSuffix(downloadBody("v1", "0"), "}")+
		`,"molly_csrf":"`+csrf+`"}`, s.url("/api/block/download"))
	if status != http.StatusOK || body != string(data) {
		t.Errorf("by cookie: got status %d and %d bytes", status, len(body))
	}
	for _, request := range s.backend.Requests() {
		if strings.HasSuffix(request.Target, "/download") &&
			!strings.Contains(string(request.Body), `"compression_level":0`) {
			t.Errorf("the backend got %s", request.Body)
		}
	}
	before := len(s.backend.Requests())
	for _, tt := range []struct{ body, want string }{
		{downloadBody("v1", "-1"), "compression_level"}, {downloadBody("v1", "10"), "compression_level"},
		{downloadBody("v1", "1.5"), "compression_level"},
		{downloadBody("v1", `"6"`), "compression_level"}, {downloadBody("v1", "1e0"), "compression_level"},
		{downloadBody("v1", "null"), "compression_level"}, {downloadBody("v1", "5.0"), "compression_level"},
		{downloadBody("data_vol_1", "0"), "block_name"}, {downloadBody("a/b", "0"), "block_name"},
		{downloadBody("", "0"), "block_name"}, {downloadBody("-v", "0"), "block_name"},
		{downloadBody(strings.Repeat("v", 64), "0"), "block_name"},
		{`{"albatross_instance":"_","block_name":"v1","compression_level":0}`, "albatross_instance"},
		{`{"block_name":"v1","compression_level":0}`, "albatross_instance"},
		{`{"albatross_instance":"default","block_name":1,"compression_level":0}`, "block_name"}, {`[]`, "JSON object"},
		{``, "JSON object"}, {`x`, "JSON object"},
		{`{"albatross_instance":"default","block_name":"v1","compression_level":0,"compression_level":9}`, "duplicate"},
		{`{"albatross_instance":"default","block_name":"v1","compression_level":5,}`, "comma"},
	} {
		for caller, args := range map[string][]string{"token": bearer(token), "cookie": {"-H", "Cookie: " + session}} {
			status, _, body := curl(t, append(args, "-d", tt.body, s.url("/api/block/download"))...)
			if status != http.StatusBadRequest || code([]byte(body)) != "invalid_request_body" ||
				!strings.Contains(body, tt.want) {
				t.Errorf("%s by %s: status %d %.300s, want %s", tt.body, caller, status, body, tt.want)
			}
		}
	}
	if n := len(s.backend.Requests()) - before; n != 0 {
		t.Errorf("the backend saw %d requests", n)
	}
}

// TestUnknownInstance checks that the gate probes an instance before a download, because a
// download from an unknown instance crashes Mollymawk. It also checks that the gate caches the
// result for a while.
func TestUnknownInstance(t *testing.T) {
	t.Parallel()
	s := startSite(t, webSite, mollymawktest.Options{})
	s.backend.AddBlock("alice", "default", "v1", 1, randomBytes(1<<20))
	token := s.token("--scope", "block:download")
	session, csrf := s.backend.Session("alice"), s.backend.CSRF("alice")
	unknown := `{"albatross_instance":"other","block_name":"v1","compression_level":0,"molly_csrf":"` + csrf + `"}`
	for _, cookie := range []string{session, "molly_session=nobody"} {
		for range 2 {
			status, _, body := curl(t, append(bearer(token), "-d", unknown, s.url("/api/block/download"))...)
			if status != http.StatusNotFound || code([]byte(body)) != "backend_error" ||
				!strings.Contains(body, "other") || !strings.Contains(body, `"backend_code":"not_found"`) {
				t.Errorf("got status %d %s", status, body)
			}
			status, _, body = curl(t, "-H", "Cookie: "+cookie, "-d", unknown, s.url("/api/block/download"))
			if status < http.StatusBadRequest && status != http.StatusFound {
				t.Errorf("by cookie: got status %d: %s", status, body)
			}
		}
	}
	consoles := func() (n int) {
		for _, request := range s.backend.Requests() {
			if strings.Contains(request.Target, "console?instance=default&") {
				n++
			}
		}
		return n
	}
	for range 3 {
		if exit, status, file := s.download(t, token, downloadBody("v1", "0")); exit != 0 || status != "200" ||
			len(file) != 1<<20 {
			t.Errorf("got exit status %d, status %s and %d bytes", exit, status, len(file))
		}
	}
	if n := consoles(); n != 1 {
		t.Errorf("the gate probed the instance %d times, want 1", n)
	}
	if allowed, _ := s.usage(token); allowed != 7 {
		t.Errorf("the server counted %d requests, want 7", allowed)
	}
	if n := s.backend.Crashes(); n != 0 {
		t.Errorf("the backend crashed %d times", n)
	}
}
