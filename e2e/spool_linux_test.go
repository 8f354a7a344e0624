package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// uploadForm is the beginning of a block upload form, up to the block's data.
const uploadForm = "--b\r\n" + named + "\"albatross_instance\"\r\n\r\ndefault\r\n--b\r\n" + named +
	"\"json_data\"\r\n\r\n" +
	`{"block_name":"vol","block_size":1,"block_compressed":false}` + "\r\n--b\r\n" + named +
	"\"block_data\"; filename=\"vol.img\"\r\n\r\n"

// formClient is a transport that sets the Content-Type header, because send doesn't.
type formClient struct{ http.RoundTripper }

func (c formClient) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	return c.RoundTripper.RoundTrip(r)
}

func newFormClient(t *testing.T) *http.Client {
	t.Helper()
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: formClient{transport}}
}

// TestSpoolFiles checks that the spool file of an upload in progress has no name and is
// readable only by Caddy's user, and that it is gone no matter how the upload ends. Caddy must
// remove what a killed process left behind, but no other files.
func TestSpoolFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"mollygate-upload-123": "left", "mollygate-upload-1x": "other",
		"mine": "other", "mollygate-upload-": "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "mollygate-upload-4"), 0o700); err != nil {
		t.Fatal(err)
	}
	names := func() (list []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			list = append(list, entry.Name())
		}
		return list
	}
	s := startSite(t, formSite("max_upload 1MiB\nspool_uploads "+dir), mollymawktest.Options{})
	want := "[mine mollygate-upload- mollygate-upload-1x mollygate-upload-4]"
	if got := fmt.Sprint(names()); got != want {
		t.Fatalf("files are %s, want %s", got, want)
	}
	spooled := func() (open int) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if target, _ := os.Readlink(file); strings.HasPrefix(target, dir) {
				open++
				if info, err := os.Stat(file); err == nil && info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v", target, info.Mode())
				}
			}
		}
		return open
	}
	s.backend.AddBlock("alice", "default", "vol", 1, nil)
	client := newFormClient(t)
	token := s.token("--preset", "full")
	for way, end := range map[string]func(r *slowRequest) string{
		"whole": func(r *slowRequest) string {
			_, _ = fmt.Fprint(r.body, "\r\n--b--\r\n")
			_ = r.body.Close()
			return "200"
		},
		"no form": func(r *slowRequest) string {
			_, _ = fmt.Fprint(r.body, "\r\n--bx")
			_ = r.body.Close()
			return "400 invalid_request_body"
		},
		"too large": func(r *slowRequest) string {
			_, _ = io.WriteString(r.body, strings.Repeat("x", 1<<20))
			return "413 body_too_large"
		},
		"broken off": func(r *slowRequest) string {
			_ = r.body.CloseWithError(errors.New("broken off"))
			return `Post "` + s.url("/api/block/upload") + `": broken off`
		},
	} {
		request := send(t.Context(), t, client, "", s.url("/api/block/upload"), token, uploadForm+"data")
		s.eventually("the upload is on disk", func() bool { return spooled() == 1 })
		if got := fmt.Sprint(names()); got != want {
			t.Errorf("%s: files are %s, want %s", way, got, want)
		}
		before := len(s.backend.Requests())
		response := end(request)
		if got := <-request.response; got.String() != response {
			t.Errorf("%s: got %v, want %s", way, got, response)
		}
		s.eventually("the file is closed", func() bool { return spooled() == 0 })
		if n := len(s.backend.Requests()) - before; (n == 1) != (way == "whole") {
			t.Errorf("%s: the backend saw %d requests", way, n)
		}
	}
	if block, _ := s.backend.Block("alice", "default", "vol"); !bytes.HasPrefix(block, []byte("data")) {
		t.Errorf("the block contains %.10q", block)
	}
	if allowed, denied := s.usage(token); allowed != 1 || denied != 3 {
		t.Errorf("the server counted %d allowed and %d denied requests", allowed, denied)
	}
}

// TestSpooledUploadEndsWithToken withdraws a token's access during an upload, or before the
// file begins. The backend must not see the request.
func TestSpooledUploadEndsWithToken(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ option, first string }{
		"spooled":      {"spool_uploads " + t.TempDir(), uploadForm + "data"},
		"fields alone": {"", uploadForm[:100]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, formSite(tt.option), mollymawktest.Options{})
			for way, lost := range withdrawals {
				if lost.want == "" || way == "narrowed" { // narrowing requires a scope that only the testbed has
					continue
				}
				token := s.limited("block:upload")
				request := send(t.Context(), t, newFormClient(t), "", s.url("/api/block/upload"), token, tt.first)
				s.waitUntilDecided(token, "/api/block/upload")
				s.withdraw(token, way)
				if response := <-request.response; response.String() != lost.want {
					t.Errorf("%s: got %v, want %s", way, response, lost.want)
				}
				if way != "deleted" {
					if allowed, denied := s.usage(token); allowed != 0 || denied != 1 {
						t.Errorf("%s: counted %d allowed and %d denied requests", way, allowed, denied)
					}
				}
			}
			if n := len(s.backend.Requests()); n != 0 {
				t.Errorf("the backend saw %d requests", n)
			}
		})
	}
}

// TestSlowFields checks that body_timeout applies to the fields before the file, but not to
// the file.
func TestSlowFields(t *testing.T) {
	t.Parallel()
	s := startSite(t, formSite("body_timeout 1s"), mollymawktest.Options{})
	s.backend.AddBlock("alice", "default", "vol", 1, nil)
	token := s.token("--preset", "full")
	request := send(t.Context(), t, newFormClient(t), "", s.url("/api/block/upload"), token, uploadForm[:100])
	if response := <-request.response; response.String() != "408 body_timeout" || len(s.backend.Requests()) != 0 {
		t.Errorf("slow fields: got %v, and the backend saw %d requests", response, len(s.backend.Requests()))
	}
	status, _, body := curl(t, append(bearer(token), "--limit-rate", "20k", "-F", "albatross_instance=default", "-F",
		`json_data={"block_name":"vol","block_size":1,"block_compressed":false}`,
		"-F", "block_data=@"+s.write("disk.img", strings.Repeat("x", 60<<10)), s.url("/api/block/upload"))...)
	if status != http.StatusOK {
		t.Errorf("slow file: got status %d: %s", status, body)
	}
}

// TestSpoolFaults checks that if the spool directory is missing or full, the client gets an
// error and the log names the directory. Once the directory is usable, uploads must work
// again.
func TestSpoolFaults(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, nil)
	dir := smallDisk(t, c, "4m")
	backend := mollymawktest.New(t, mollymawktest.Options{})
	backend.AddBlock("alice", "default", "vol", 8, nil)
	c.env["BACKEND"], c.env["UPSTREAM"] = backend.Addr(), backend.AddToken("alice", "gate", 1e15)
	spool := filepath.Join(dir, "spool")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	c.start(formSite("browser_sessions molly_session\nspool_uploads " + spool))
	callers := map[string][]string{"by token": bearer(c.token("--preset", "full")),
		"by cookie": {"-H", "Cookie: " + backend.Session("alice")}}
	upload := func(caller []string, size int) (int, http.Header, string) {
		return curl(t, append(caller, "-F", "albatross_instance=default", "-F",
			`json_data={"block_name":"vol","block_size":8,"block_compressed":false}`, "-F",
			"molly_csrf="+backend.CSRF("alice"),
			"-F", "block_data=@"+c.write("disk.img", strings.Repeat("x", size)), "-H", "Transfer-Encoding: chunked",
			c.url("/api/block/upload"))...)
	}
	refused := func(what string, caller []string, size, want int, code, cause string) {
		t.Helper()
		before := len(backend.Requests())
		status, header, body := upload(caller, size)
		if status != want || !strings.Contains(body, `"`+code+`"`) || want == 503 && header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", what, status, header, body)
		}
		if len(backend.Requests()) != before {
			t.Errorf("%s: the backend saw a request", what)
		}
		if strings.Contains(body, spool) {
			t.Errorf("%s: the client can see the directory: %s", what, body)
		}
		c.eventually("the log names the directory", func() bool {
			return strings.Contains(c.output.String(), "spool_uploads "+spool+" failed: "+cause)
		})
	}
	for name, caller := range callers {
		refused(name+", full", caller, 5<<20, 503, "overloaded", "no space left on device")
		if status, _, body := upload(caller, 1<<20); status != http.StatusOK {
			t.Errorf("%s, with free space again: got status %d: %s", name, status, body)
		}
	}
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	for name, caller := range callers {
		refused(name+", lost", caller, 1, 503, "overloaded", "no such file or directory")
	}
}

// TestSpoolOption checks that the error for an unusable spool directory names the Caddyfile
// and the line.
func TestSpoolOption(t *testing.T) {
	t.Parallel()
	c := newCaddy(t, map[string]string{"BACKEND": "127.0.0.1:1", "UPSTREAM": "backend-token"})
	file := c.write("file", "")
	for value, want := range map[string]string{
		"/nowhere": `spool_uploads: directory "/nowhere" doesn't exist: create it`,
		file:       "is not a directory",
		"/proc":    `spool_uploads: Caddy's user can't write to "/proc"`,
		"spool":    "spool_uploads: write the absolute path of one directory",
		"":         "spool_uploads: write the absolute path of one directory",
		"/tmp /x":  "spool_uploads: write the absolute path of one directory",
	} {
		c.write("Caddyfile", formSite("spool_uploads "+value))
		out, err := c.command("validate", "--config", c.path("Caddyfile")).CombinedOutput()
		if text := strings.ReplaceAll(string(out), `\"`, `"`); err == nil || !strings.Contains(text, want) ||
			!strings.Contains(text, "Caddyfile:") {
			t.Errorf("%q: %v %s", value, err, text)
		}
	}
}

// TestSpooledCustomUpload checks that spooling doesn't change uploads to other backends.
func TestSpooledCustomUpload(t *testing.T) {
	t.Parallel()
	backend := newGoBackend(t, nil)
	c := startCaddy(t,
		globals+"http://127.0.0.1:{$HTTP} {\n"+
			gateBlock("spool_uploads "+t.TempDir()+"\nroute POST /up plain:upload {\nupload\n}")+"reverse_proxy "+
			backend.addr()+"\n}",
		map[string]string{"UPSTREAM": "backend-token"})
	body := strings.Repeat("--b\r\nany", 20<<10)
	status, _, _ := curl(t, append(bearer(c.limited("plain:upload")), "-H",
		"Content-Type: multipart/form-data; boundary=b", "--data-binary", "@"+c.write("body", body), c.url("/up"))...)
	seen := backend.requests()
	if status != http.StatusOK || len(seen) != 1 || seen[0].body != body ||
		seen[0].header.Get("Content-Type") != "multipart/form-data; boundary=b" {
		t.Errorf("got status %d, and the backend saw %d requests", status, len(seen))
	}
}
