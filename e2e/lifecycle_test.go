package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mollygate/mollygate/mollymawk/mollymawktest"
)

// TestCreatedAndDeleted checks that a new token works for the very next request, and that a
// deleted token is refused on the very next request.
func TestCreatedAndDeleted(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	for range 20 {
		token := s.token("--preset", "read")
		s.expect(token, http.StatusOK)
		if _, stderr, code := s.run("api-token", "delete", tokenID(token), "--yes"); code != 0 {
			t.Fatal(stderr)
		}
		s.expect(token, http.StatusUnauthorized)
	}
}

// expect makes a call with a token and checks the response status.
func (s *site) expect(token string, want int) {
	s.t.Helper()
	if got, _, body := curl(s.t, append(bearer(token), s.url("/api/unikernels"))...); got != want {
		s.t.Errorf("got status %d, want %d: %s", got, want, body)
	}
}

// TestReloads reloads the same configuration 50 times, with the store's path written in
// different ways. The store must stay open, and old configurations must leave nothing behind.
func TestReloads(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	if err := os.Symlink(s.dir, s.path("link")); err != nil {
		t.Fatal(err)
	}
	spellings := []string{"{$DIR}/tokens.db", "{$DIR}/link/tokens.db", "{$DIR}//tokens.db",
		"{$DIR}/link/../" + filepath.Base(s.dir) + "/tokens.db", "tokens.db"}
	reload := func(i int) {
		t.Helper()
		if err := s.reload(strings.Replace(plainSite, spellings[0], spellings[i%len(spellings)], 1)); err != nil {
			t.Fatal(err)
		}
		s.expect(token, http.StatusOK)
	}
	for i := range 5 {
		reload(i)
	}
	goroutines, files := s.goroutines(), s.openFiles()
	for i := range 50 {
		reload(i)
	}
	s.eventually("the goroutines of old configurations have ended", func() bool { return s.goroutines() <= goroutines })
	s.eventually("the files of old configurations are closed", func() bool { return s.openFiles() <= files })
	if allowed, _ := s.usage(token); allowed != 55 {
		t.Errorf("the server counted %d requests, want 55", allowed)
	}
	s.checkLogs(token)
}

// TestChangedStore reloads with a different store, then with the original one.
func TestChangedStore(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	other := strings.Replace(plainSite, "{$DIR}/tokens.db", "{$DIR}/other.db", 1)
	if err := s.reload(other); err != nil {
		t.Fatal(err)
	}
	s.expect(token, http.StatusUnauthorized)
	if err := s.reload(plainSite); err != nil {
		t.Fatal(err)
	}
	s.expect(token, http.StatusOK)
}

// TestRejectedReload checks that a rejected reload doesn't affect the running gate and its
// admin API. See also TestRefusedReloads.
func TestRejectedReload(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	s.write("foreign", "this is not a token store")
	for name, test := range map[string]struct{ config, want string }{
		"syntax": {strings.Replace(plainSite, "bearer_auth", "bearer_auht", 1), "bearer_auht"},
		"secret": {strings.Replace(plainSite, "{env.UPSTREAM}", "{env.UNSET}", 1),
			"account default: upstream_token"},
		"foreign store": {strings.Replace(plainSite, "tokens.db", "foreign", 1), "not a token store"},
		"port taken": {strings.Replace(plainSite, "{$HTTP}", mustPort(s.backend.Addr()), 1),
			"address already in use"},
		"port taken, new store": {strings.Replace(strings.Replace(plainSite, "{$HTTP}", mustPort(s.backend.Addr()), 1),
			"tokens.db", "new.db", 1), "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.reload(test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("reload: %v, want %q", err, test.want)
			}
			s.expect(token, http.StatusOK)
			fresh := s.token("--preset", "read") // through the admin API
			s.expect(fresh, http.StatusOK)
		})
	}
	if err := s.reload(plainSite); err != nil {
		t.Errorf("reloading a valid configuration: %v", err)
	}
	s.expect(token, http.StatusOK)
}

func mustPort(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// TestValidateWhileRunning validates the configuration of a Caddy that is running.
func TestValidateWhileRunning(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	start := time.Now()
	if out, err := s.command("validate", "--config", s.path("Caddyfile")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("validate took %v", time.Since(start))
	s.expect(token, http.StatusOK)

	fresh := strings.Replace(plainSite, "tokens.db", "never/made.db", 1)
	if out, err := s.command("validate", "--config", s.write("Fresh", fresh), "--adapter",
		"caddyfile").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(s.path("never")); err == nil {
		t.Errorf("validate created the store")
	}
}

// TestSecondProcess starts another Caddy on the same store. See also TestReloadToLockedStore.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	token := s.token("--preset", "read")
	second := strings.NewReplacer("admin.sock", "second.sock", "{$HTTP}", freePort(t)).Replace(plainSite)
	cmd := s.command("run", "--config", s.write("Second", second), "--adapter", "caddyfile")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("the second Caddy exited with %v", err)
	}
	for _, want := range []string{s.path("tokens.db"), "in use by process " + strconv.Itoa(s.cmd.Process.Pid),
		"caddy reload"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the error lacks %q:\n%s", want, out.String())
		}
	}
	s.expect(token, http.StatusOK)
}

// TestStoreMode checks that only the store's owner can access it.
func TestStoreMode(t *testing.T) {
	t.Parallel()
	s := startSite(t, plainSite, mollymawktest.Options{})
	info, err := os.Stat(s.path("tokens.db"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got store mode %v", info.Mode())
	}
}
