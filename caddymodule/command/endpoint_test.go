package command

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

	"github.com/mollygate/mollygate/token"
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
		want          string
	}{
		{"no server", address, exitUnreachable, "Start Caddy first."},
		{"no socket", "unix/" + filepath.Join(t.TempDir(), "none.sock"), exitUnreachable, "Start Caddy first."},
		{"another server", foreign(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }),
			exitUnreachable, "isn't JSON"},
		{"a Caddy without Mollygate", foreign(http.NotFound), exitUnreachable, "does this build include Mollygate?"},
		{"a refused origin", foreign(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":"client is not allowed to access from origin"}`))
		}), exitRefused, "not allowed to access"},
		{"a redirect",
			foreign(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			}), exitUnreachable, "302"},
		{"an aborted connection",
			foreign(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), exitUnreachable, "EOF"},
		{"no port", "localhost", exitUsage, "a single port"},
		{"many ports", "localhost:2019-2020", exitUsage, "a single port"},
		{"a URL", "http://localhost:2019", exitUsage, "write, for example,"},
		{"a descriptor", "fd/3", exitUsage, "file descriptor"},
	} {
		got := runCommand(nil, "list", "--address", test.address)
		if got.code != test.code || !strings.Contains(got.err, test.want) || strings.Count(got.err, "Error") != 1 {
			t.Errorf("%s: got %+v, want exit code %d and %q", test.name, got, test.code, test.want)
		}
	}
	// If the response is lost, the command can't know whether the server created the token.
	create := []string{"create", "--name", "a", "--preset", "read", "--expires-in", "1d"}
	lost := foreign(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if got := runCommand(nil, append(create, "--address", lost)...); !strings.Contains(got.err,
		"may have been created") {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
	if got := runCommand(nil, append(create, "--address", address)...); strings.Contains(got.err,
		"may have been created") {
		t.Errorf("create: got unexpected outcome %+v", got)
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
		t.Errorf("with --config: got unexpected outcome %+v", got)
	}
	caddyfile := filepath.Join(t.TempDir(), "my.conf")
	if err := os.WriteFile(caddyfile, []byte("{\n\tadmin "+s.address()+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runCommand(nil, "list", "-o", "id", "-c", caddyfile, "-a", "caddyfile"); got.code != exitOK ||
		got.out != id+"\n" {
		t.Errorf("with --config and --adapter: got unexpected outcome %+v", got)
	}
	if got := runCommand(nil, "list", "--config", config+".none"); got.code != exitUsage ||
		!strings.Contains(got.err, "--address") {
		t.Errorf("with a missing configuration file: got unexpected outcome %+v", got)
	}

	// Connect to a unix socket. The admin option may include its permissions.
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
			t.Errorf("%s: got unexpected outcome %+v", address, got)
		}
	}
	if host != "127.0.0.1" || origin != "" {
		t.Errorf("got Host %q and Origin %q", host, origin)
	}
}

// TestCommandSendsAnOrigin checks that over TCP the command sends an Origin header, which the
// endpoint may require, and that Caddy accepts its value by default.
func TestCommandSendsAnOrigin(t *testing.T) {
	t.Parallel()
	var origin string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin = r.Header.Get("Origin")
		_, _ = w.Write([]byte(`{"data":[],"next_cursor":null}`))
	}))
	t.Cleanup(server.Close)
	if got := runCommand(nil, "list", "--address", server.Listener.Addr().String()); got.code != exitOK {
		t.Errorf("list: got unexpected outcome %+v", got)
	}
	if origin != server.URL {
		t.Errorf("got Origin %q, want %q", origin, server.URL)
	}
}

// TestCommandProcess runs Caddy if runProcess has started this process. Otherwise, it does
// nothing.
func TestCommandProcess(*testing.T) {
	if args := os.Getenv("MOLLYGATE_TEST_ARGS"); args != "" {
		os.Args = strings.Split(args, "\n")
		caddycmd.Main()
		os.Exit(0)
	}
}

// runProcess runs "caddy api-token" as a separate process in the given directory.
func runProcess(t *testing.T, dir string, env []string, in string, args ...string) outcome {
	t.Helper()
	caddy := exec.Command(os.Args[0], "-test.run=^TestCommandProcess$")
	caddy.Dir = dir
	caddy.Env = append(os.Environ(),
		"MOLLYGATE_TEST_ARGS="+strings.Join(append([]string{"caddy", "api-token"}, args...), "\n"))
	caddy.Env = append(caddy.Env, env...)
	caddy.Stdin = strings.NewReader(in)
	var out, errs bytes.Buffer
	caddy.Stdout, caddy.Stderr = &out, &errs
	if err := caddy.Run(); err != nil && caddy.ProcessState == nil {
		t.Fatal(err)
	}
	return outcome{caddy.ProcessState.ExitCode(), out.String(), errs.String()}
}

// TestCommandInCaddy checks that Caddy exits with each outcome's exit code and doesn't add
// anything to the output.
func TestCommandInCaddy(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	run := func(args ...string) outcome {
		t.Helper()
		return runProcess(t, t.TempDir(), nil, "", args...)
	}
	address := []string{"--address", s.address()}
	got := run(append([]string{"create", "--name", "soon", "--preset", "read", "--expires-in", "1d"}, address...)...)
	secret := strings.TrimSuffix(got.out, "\n")
	if got.code != exitOK || len(secret) != token.SecretTextLength {
		t.Fatalf("create: got unexpected outcome %+v", got)
	}
	for _, test := range []struct {
		args []string
		code int
		err  string
	}{
		{append([]string{"explain", "GET", "/", "--token-id", secret[4:16]}, address...), exitRefused, ""},
		{append([]string{"show", "000000000000"}, address...), exitNotFound, "Error: No token has this ID."},
		{append([]string{"show", "x"}, address...), exitNotFound, "Error: no API key has the ID"},
		{[]string{"list", "--none"}, exitUsage, "Error: unknown flag: --none\nSee 'caddy api-token list --help'.\n"},
		{[]string{"xyzzy"}, exitUsage, "Error: unknown command \"xyzzy\"\nSee 'caddy api-token --help'.\n"},
		{nil, exitOK, ""},
		{[]string{"list", "--address", "127.0.0.1:1"}, exitUnreachable, "Error: can't connect"},
	} {
		got := run(test.args...)
		if got.code != test.code || !strings.HasPrefix(got.err, test.err) ||
			strings.Count(got.err, "Error") != min(1, len(test.err)) {
			t.Errorf("%q: got %+v, want exit code %d and %q", test.args, got, test.code, test.err)
		}
	}
	if got := run("--help"); got.code != exitOK || !strings.Contains(got.out, "create") || got.err != "" {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
	if got := run("create", "--help"); got.code != exitOK || !strings.Contains(got.out, "--expires-in") ||
		got.err != "" {
		t.Errorf("create: got unexpected outcome %+v", got)
	}
}

// TestCommandRefusesAnEndpointElsewhere checks that a Caddyfile in the current directory,
// which someone else may have written, can't make a command send secrets to another machine or
// include environment values in errors.
func TestCommandRefusesAnEndpointElsewhere(t *testing.T) {
	t.Parallel()
	const hidden = "value-of-the-environment"
	for name, address := range map[string]string{
		"an address":              "192.0.2.1:2019",
		"a name":                  "evil.example:2019",
		"a name with a variable":  "{$HIDDEN}.evil.example:2019",
		"a name of this machine":  "localhost.example:2019",
		"a name's first part":     "127.0.0.1.evil.example:2019",
		"an absolute name":        "localhost.:2019",
		"another letter case":     "LOCALHOST:2019",
		"a folded letter":         "localho\u017ft:2019",
		"a number":                "127.1:2019",
		"IPv6":                    "[2001:db8::1]:2019",
		"mapped":                  "[::ffff:192.0.2.1]:2019",
		"compatible":              "[::127.0.0.1]:2019",
		"NAT64":                   "[64:ff9b::127.0.0.1]:2019",
		"a zone":                  "[::1%{$HIDDEN}]:2019",
		"TCP":                     "tcp/192.0.2.1:2019",
		"TCP over IPv6":           "tcp6/[2001:db8::1]:2019",
		"UDP":                     "udp/127.0.0.1:2019",
		"a descriptor":            "fd/3",
		"a descriptor's variable": "fd/{$HIDDEN}",
		"a network's variable":    "{$HIDDEN}/127.0.0.1:2019",
		"a network's end":         "tcp{$HIDDEN}/127.0.0.1:2019",
		"a unix network's end":    "unix{$HIDDEN}//tmp/caddy.sock",
		"a port's variable":       "127.0.0.1:{$HIDDEN}",
		"a placeholder":           "{env.HIDDEN}:2019",
		"permissions":             "unix//tmp/{$HIDDEN}.sock|{$HIDDEN}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte("{\n\tadmin "+address+"\n}\n"),
				0o600); err != nil {
				t.Fatal(err)
			}
			verbs := [][]string{{"lookup"}}
			if name == "a name" {
				verbs = [][]string{
					{"lookup"}, {"scan", "-"}, {"explain", "GET", "/", "--token-file", "-"}, {"list"},
					{"create", "--name", "a", "--expires-in", "1d", "--preset", "read"}, {"rotate", "4fQ9Zt2LkVb7"},
				}
			}
			for _, args := range verbs {
				got := runProcess(t, dir, []string{"HIDDEN=" + hidden}, commandVector, args...)
				if got.code != exitUsage || !strings.Contains(got.err, "--address") || got.out != "" {
					t.Errorf("%q: got %+v, want exit code %d", args, got, exitUsage)
				}
				if strings.Contains(got.err, hidden) || strings.Contains(got.err, commandVector[17:]) {
					t.Errorf("%q: the error shows a secret: %s", args, got.err)
				}
			}
		})
	}
}

// TestCommandFindsAnAdjacentCaddyfile checks that commands use an endpoint on this machine no
// matter how its address is written, and that errors don't contain values from the
// environment.
func TestCommandFindsAnAdjacentCaddyfile(t *testing.T) {
	t.Parallel()
	s := newCommandServer(t)
	id, secret := s.create(t, "--name", "a")
	_, port, err := net.SplitHostPort(s.address())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "caddy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.Config.Handler}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	closed := httptest.NewServer(nil)
	unused := closed.Listener.Addr().String()
	closed.Close()
	const hidden = "value-of-the-environment"
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{
		"127.0.0.1:" + port, "localhost:" + port, "tcp/127.0.0.1:" + port, "tcp4/localhost:" + port,
		"[::ffff:127.0.0.1]:" + port,
		":" + port, "0.0.0.0:" + port, "{$LOOPBACK}:" + port, "{$UNSET:127.0.0.1}:" + port,
		"unix//{$DIR}/caddy.sock", "unix/caddy.sock", "unix/caddy.sock|0200", "unix+h2c/caddy.sock",
	} {
		write("Caddyfile", "{\n\tadmin "+address+"\n}\n")
		got := runProcess(t, dir, []string{"DIR=" + dir, "LOOPBACK=127.0.0.1"}, secret, "lookup", "-o", "id")
		if got.code != exitOK || got.out != id+"\n" {
			t.Errorf("%s: got unexpected outcome %+v", address, got)
		}
	}
	for address, want := range map[string]string{unused: unused, "unix//tmp/{$HIDDEN}": "Caddyfile",
		"unix//tmp/{$HIDDEN}/" + strings.Repeat("x", 200): "Caddyfile"} {
		write("Caddyfile", "{\n\tadmin "+address+"\n}\n")
		got := runProcess(t, dir, []string{"HIDDEN=" + hidden}, secret, "lookup")
		if got.code != exitUnreachable || !strings.Contains(got.err, want) || strings.Contains(got.err, hidden) ||
			strings.Contains(got.err, secret[17:]) {
			t.Errorf("%s: got %+v, want an error that contains %q", address, got, want)
		}
	}
	// Passing a file with --config or an address with --address shows that the user trusts it.
	for _, args := range [][]string{{"--config", "Caddyfile"}, {"--address", "name.invalid:2019"}} {
		write("Caddyfile", "{\n\tadmin name.invalid:2019\n}\n")
		got := runProcess(t, dir, nil, secret, append([]string{"lookup"}, args...)...)
		if got.code != exitUnreachable || !strings.Contains(got.err, "name.invalid") {
			t.Errorf("%q: got unexpected outcome %+v", args, got)
		}
	}
	// Setting CADDY_ADMIN shows the same, if the Caddyfile contains no address.
	write("Caddyfile", ":80\n")
	if got := runProcess(t, dir, []string{"CADDY_ADMIN=name.invalid:2019"}, secret,
		"lookup"); got.code != exitUnreachable || !strings.Contains(got.err, "name.invalid") {
		t.Errorf("with CADDY_ADMIN: got unexpected outcome %+v", got)
	}
	// Errors must not quote an invalid file either.
	for _, text := range []string{"{\n\t{$HIDDEN}\n}\n", "{\n\tadmin 127.0.0.1:1 {\n\t\t{$HIDDEN}\n\t}\n}\n",
		"import {$HIDDEN}\n"} {
		write("Caddyfile", text)
		got := runProcess(t, dir, []string{"HIDDEN=" + hidden}, secret, "lookup")
		if got.code != exitUsage || !strings.Contains(got.err, "--address") || strings.Contains(got.err, hidden) {
			t.Errorf("Caddyfile %q: got unexpected outcome %+v", text, got)
		}
	}
}

// TestCommandFollowsNoRedirect checks that commands never follow redirects, because their
// requests are meant only for the endpoint.
func TestCommandFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		received := make(chan string, 10)
		elsewhere := httptest.NewServer(
			http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Method }))
		t.Cleanup(elsewhere.Close)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
		}))
		t.Cleanup(server.Close)
		for _, args := range [][]string{
			{"lookup"}, {"scan", "-"}, {"explain", "GET", "/", "--token-file", "-"}, {"list"},
			{"create", "--name", "a", "--expires-in", "1d", "--preset", "read"},
		} {
			got := runCommand(&console{in: strings.NewReader(commandVector)},
				append(args, "--address", server.Listener.Addr().String())...)
			want := exitUnreachable
			if args[0] == "scan" {
				want = exitRefused // scan has found a token
			}
			if got.code != want || strings.Contains(got.out+got.err, commandVector[17:]) {
				t.Errorf("%q, status %d: got unexpected outcome %+v", args, status, got)
			}
			select {
			case method := <-received:
				t.Errorf("%q, status %d: the command followed the redirect with a %s request", args, status, method)
			default:
			}
		}
	}
}

// TestCommandStaysOnThisMachine checks that a connection to a local endpoint never leaves this
// machine, no matter what localhost resolves to.
func TestCommandStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		network, address string
		refused          bool
	}{
		{"tcp4", "127.0.0.1:2019", false},
		{"tcp4", "127.255.0.9:2019", false},
		{"tcp6", "[::1]:2019", false},
		{"tcp4", "0.0.0.0:2019", false},
		{"tcp6", "[::]:2019", false},
		{"tcp", ":2019", false},
		{"unix", "/run/caddy.sock", false},
		{"tcp4", "192.0.2.1:2019", true},
		{"tcp6", "[2001:db8::1]:2019", true},
		{"tcp6", "[fe80::1%eth0]:2019", true},
		{"tcp4", "128.0.0.1:2019", true},
		{"tcp4", "nonsense", true},
	} {
		if err := localOnly(test.network, test.address, nil); (err != nil) != test.refused {
			t.Errorf("%s %s: got unexpected error %v", test.network, test.address, err)
		}
	}
}
