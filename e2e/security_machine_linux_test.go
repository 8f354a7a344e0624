package e2e

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestAdminSocket checks that a unix socket, unlike a port, keeps the machine's other users
// out of Caddy's admin endpoint.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		suffix string
		mode   fs.FileMode
	}{
		"mode from operator.md": {"|0600", 0o600},
		"Caddy's own mode":      {"", 0o200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, strings.Replace(plainSite, "admin.sock", "admin.sock"+test.suffix, 1),
				mollymawktest.Options{})
			info, err := os.Stat(s.path("admin.sock"))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != test.mode {
				t.Errorf("got socket mode %v", info.Mode())
			}
			call := func(uid uint32) error {
				cmd := exec.Command("curl", "--silent", "--show-error", "--fail", "--unix-socket", s.path("admin.sock"),
					"-H", jsonType, "-d", newToken, "http://caddy/api_tokens/v1/tokens")
				if uid != 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
				}
				return cmd.Run()
			}
			before := len(s.counts())
			if os.Geteuid() == 0 { // only root can run a command as another user
				if err := os.Chmod(s.dir, 0o755); err != nil { // so that only the socket's mode can deny access
					t.Fatal(err)
				}
				const nobody, couldNotConnect = 65534, 7
				if exit, ok := errors.AsType[*exec.ExitError](call(nobody)); !ok || exit.ExitCode() != couldNotConnect {
					t.Errorf("another user's call exited with %v", exit)
				}
			}
			if after := len(s.counts()); after != before {
				t.Errorf("there are %d tokens, want %d", after, before)
			}
			if token := s.mint(map[string]any{"preset": "read"}); token == "" {
				t.Errorf("Caddy's own user can't create a token")
			}
		})
	}
}

// TestFilesHoldNoSecret checks that no file written by Caddy contains a secret, and that the
// store and its copies are accessible only to their owner.
func TestFilesHoldNoSecret(t *testing.T) {
	t.Parallel()
	s := startSite(t,
		strings.Replace(plainSite, "\tlog\n",
			"\tlog {\n\t\toutput file {$DIR}/access.log\n\t}\n\thandle_path /keys/* {\n\t\tapi_tokens_admin\n\t}\n", 1),
		mollymawktest.Options{})
	token, admin := s.token("--preset", "read"), s.token("--kind", "admin")
	s.expect(token, http.StatusOK)
	if status, _, body := curl(t, append(bearer(admin), s.url("/keys/api/v1/tokens"))...); status != http.StatusOK {
		t.Fatalf("got status %d: %s", status, body)
	}
	if status, _, _ := curl(t, s.url("/api/unikernels?access_token="+token)); status != http.StatusBadRequest {
		t.Errorf("got status %d", status)
	}
	stdout, stderr, code := s.run("api-token", "rotate", tokenID(token), "--grace", "1h")
	if code != 0 {
		t.Fatal(stderr)
	}
	rotated := strings.TrimSpace(stdout)
	s.expect(rotated, http.StatusOK)
	if _, stderr, code := s.run("api-token", "backup", s.path("copy.db")); code != 0 {
		t.Fatal(stderr)
	}
	s.stop()
	looked := make(map[string]bool)
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		looked[name] = true
		for _, secret := range []string{token, rotated, admin} {
			if strings.Contains(string(text), secret[17:25]) { // the store contains IDs and hashes
				t.Errorf("%s contains part of a secret", path)
			}
		}
		if strings.Contains(string(text), s.upstream) {
			t.Errorf("%s contains the upstream token", path)
		}
		if info, err := entry.Info(); err != nil || strings.HasSuffix(name, ".db") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokens.db", "copy.db", "access.log", "autosave.json"} {
		if !looked[name] {
			t.Errorf("the files %[2]v don't include %[1]s", name, looked)
		}
	}
	s.checkLogs(token, rotated, admin)
}

// TestDumpHoldsNoSecret checks that an aborted process's goroutine dump doesn't contain the
// token of a request in progress.
func TestDumpHoldsNoSecret(t *testing.T) {
	t.Parallel()
	backend := mollymawktest.New(t, mollymawktest.Options{})
	upstream := backend.AddToken("alice", "gate", 1e15)
	s := &site{backend: backend, upstream: upstream, caddy: startCaddy(t, plainSite, map[string]string{
		"BACKEND": backend.Addr(), "UPSTREAM": upstream, "GOTRACEBACK": "all",
	})}
	backend.AddUnikernel("alice", "default", "hello")
	backend.Emit("alice", "default", "hello", "booted")
	token := s.token("--preset", "read")
	defer s.openConsole(t.Context(), token).Body.Close()
	profile := s.getAdmin("/debug/pprof/goroutine?debug=2")
	if err := s.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	s.cmd = nil
	dump := s.output.String()
	for where, text := range map[string]string{"the profile": profile, "the dump": dump} {
		if !strings.Contains(text, "(*BearerAuth).ServeHTTP") {
			t.Errorf("%s doesn't show the request in progress, so this test checked nothing", where)
		}
	}
	checkNoSecret(t, "the profile", profile, token)
	checkNoSecret(t, "the profile", profile, upstream)
	s.checkLogs(token)
}
