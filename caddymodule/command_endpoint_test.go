package caddymodule

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/mollygate/mollygate/tokenstore"
)

func TestCommandUnreachable(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	address := closed.Listener.Addr().String()
	closed.Close()
	foreign := func(handler http.HandlerFunc) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	for _, test := range []struct {
		name, address string
		code          int
		tell          string
	}{
		{"nobody there", address, exitUnreachable, "is Caddy running?"},
		{"no socket there", "unix/" + filepath.Join(t.TempDir(), "none.sock"), exitUnreachable, "is Caddy running?"},
		{"another server", foreign(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), exitUnreachable, "isn't JSON"},
		{"a Caddy without Mollygate", foreign(http.NotFound), exitUnreachable, "is Mollygate compiled into it?"},
		{"a refused origin", foreign(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":"client is not allowed to access from origin"}`))
		}), exitRefused, "not allowed to access"},
		{"a redirect", foreign(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }), exitUnreachable, "302"},
		{"a connection that breaks off", foreign(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), exitUnreachable, "EOF"},
		{"no port", "localhost", exitUsage, "one port"},
		{"many ports", "localhost:2019-2020", exitUsage, "one port"},
		{"a URL", "http://localhost:2019", exitUsage, "write for example"},
		{"a descriptor", "fd/3", exitUsage, "file descriptor"},
	} {
		got := runCommand(nil, "list", "--address", test.address)
		if got.code != test.code || !strings.Contains(got.err, test.tell) || strings.Count(got.err, "Error") != 1 {
			t.Errorf("%s: %+v, want exit code %d and %q", test.name, got, test.code, test.tell)
		}
	}
	// Whether a token was made isn't known if the answer got lost.
	lost := foreign(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if got := runCommand(nil, "create", "--name", "a", "--address", lost); !strings.Contains(got.err, "may have been made") {
		t.Errorf("%+v", got)
	}
	if got := runCommand(nil, "create", "--name", "a", "--address", address); strings.Contains(got.err, "may have been made") {
		t.Errorf("%+v", got)
	}
}

func TestCommandFindsTheEndpoint(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, _ := s.create(t, "--name", "a")
	config := filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(config, []byte(`{"admin":{"listen":"`+s.address()+`"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runCommand(nil, "list", "-o", "id", "--config", config); got.code != exitOK || got.out != id+"\n" {
		t.Errorf("by its JSON: %+v", got)
	}
	caddyfile := filepath.Join(t.TempDir(), "my.conf")
	if err := os.WriteFile(caddyfile, []byte("{\n\tadmin "+s.address()+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runCommand(nil, "list", "-o", "id", "-c", caddyfile, "-a", "caddyfile"); got.code != exitOK || got.out != id+"\n" {
		t.Errorf("by its Caddyfile: %+v", got)
	}
	if got := runCommand(nil, "list", "--config", config+".none"); got.code != exitUsage || !strings.Contains(got.err, "--address") {
		t.Errorf("a missing file: %+v", got)
	}

	// A unix socket, with the permissions that the admin option may name.
	socket := filepath.Join(t.TempDir(), "caddy.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var host, origin string
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, origin = r.Host, r.Header.Get("Origin")
		s.Config.Handler.ServeHTTP(w, r)
	})}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	for _, address := range []string{"unix/" + socket, "unix/" + socket + "|0200"} {
		if got := runCommand(nil, "list", "-o", "id", "--address", address); got.code != exitOK || got.out != id+"\n" {
			t.Errorf("%s: %+v", address, got)
		}
	}
	if host != "127.0.0.1" || origin != "" {
		t.Errorf("Host is %q, Origin %q", host, origin)
	}
}

// On TCP the endpoint may enforce origins, so one is sent, and it is the one that
// Caddy takes by default.
func TestCommandSendsAnOrigin(t *testing.T) {
	t.Parallel()
	var origin string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin = r.Header.Get("Origin")
		_, _ = w.Write([]byte(`{"data":[],"next_cursor":null}`))
	}))
	t.Cleanup(server.Close)
	if got := runCommand(nil, "list", "--address", server.Listener.Addr().String()); got.code != exitOK {
		t.Errorf("%+v", got)
	}
	if origin != server.URL {
		t.Errorf("Origin is %q, want %q", origin, server.URL)
	}
}

// TestCommandProcess is Caddy itself, in a process of its own; see
// TestCommandInCaddy.
func TestCommandProcess(*testing.T) {
	if args := os.Getenv("MOLLYGATE_TEST_ARGS"); args != "" {
		os.Args = strings.Split(args, "\n")
		caddycmd.Main()
		os.Exit(0)
	}
}

// Caddy itself turns the outcomes into exit codes, and adds nothing to what is
// told.
func TestCommandInCaddy(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	run := func(args ...string) outcome {
		t.Helper()
		caddy := exec.Command(os.Args[0], "-test.run=^TestCommandProcess$")
		caddy.Dir = t.TempDir()
		caddy.Env = append(os.Environ(), "MOLLYGATE_TEST_ARGS="+strings.Join(append([]string{"caddy", "api-token"}, args...), "\n"))
		var out, errs bytes.Buffer
		caddy.Stdout, caddy.Stderr = &out, &errs
		if err := caddy.Run(); err != nil && caddy.ProcessState == nil {
			t.Fatal(err)
		}
		return outcome{caddy.ProcessState.ExitCode(), out.String(), errs.String()}
	}
	address := []string{"--address", s.address()}
	got := run(append([]string{"create", "--name", "soon", "--preset", "read", "--expires-in", "1d"}, address...)...)
	if secret := strings.TrimSuffix(got.out, "\n"); got.code != exitOK || len(secret) != tokenstore.SecretTextLength {
		t.Errorf("%+v", got)
	}
	for _, test := range []struct {
		args []string
		code int
		err  string
	}{
		{append([]string{"list", "--status", "expiring", "-o", "id"}, address...), exitRefused, ""},
		{append([]string{"show", "000000000000"}, address...), exitNotFound, "Error: No token has this id."},
		{append([]string{"show", "x"}, address...), exitUsage, "Error: an argument is no id"},
		{[]string{"list", "--nope"}, exitUsage, "Error: unknown flag: --nope\nSee 'caddy api-token list --help'.\n"},
		{[]string{"nope"}, exitUsage, "Error: there is no command \"nope\"\nSee 'caddy api-token --help'.\n"},
		{nil, exitUsage, "Error: a command is missing\n"},
		{[]string{"list", "--address", "127.0.0.1:1"}, exitUnreachable, "Error: no answer"},
	} {
		got := run(test.args...)
		if got.code != test.code || !strings.HasPrefix(got.err, test.err) || strings.Count(got.err, "Error") != min(1, len(test.err)) {
			t.Errorf("%q: %+v, want exit code %d and %q", test.args, got, test.code, test.err)
		}
	}
	if got := run("--help"); got.code != exitOK || !strings.Contains(got.out, "create") || got.err != "" {
		t.Errorf("%+v", got)
	}
	if got := run("create", "--help"); got.code != exitOK || !strings.Contains(got.out, "--expires-in") || got.err != "" {
		t.Errorf("%+v", got)
	}
}
