package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mollygate/mollygate/token"
	"github.com/mollygate/mollygate/tokenstore"
)

func init() {
	registerHandler("panicking", panickingHandler)
	caddy.RegisterModule(new(panickingStore))
}

// panickingHandler is a handler behind the gate. The path selects how it fails. The request,
// and therefore the upstream token, is on its stack.
func panickingHandler(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	switch r.URL.Path {
	case "/good":
		w.WriteHeader(http.StatusNoContent)
		return nil
	case "/late":
		_, _ = io.WriteString(w, "the beginning")
		_ = http.NewResponseController(w).Flush()
	case "/held":
		w.WriteHeader(http.StatusTeapot)
	case "/aborted":
		panic(http.ErrAbortHandler) // as Caddy's abort directive does
	case "/broken":
		w.WriteHeader(http.StatusTeapot)
		panic(http.ErrAbortHandler) // as Caddy's proxy does
	case "/nil":
		w.Header()["X"] = (*http.Request)(nil).TransferEncoding
	}
	panic(errors.New("out of order: " + r.URL.Path))
}

// panickingStore is a bbolt store that panics on digest lookups while a file named "armed"
// exists next to it.
type panickingStore struct{ BoltStore }

func (*panickingStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "api_tokens.stores.panicking", New: func() caddy.Module { return new(panickingStore) }}
}

func (s *panickingStore) Open() (tokenstore.Backend, error) {
	backend, err := s.BoltStore.Open()
	return panickingBackend{backend, filepath.Join(filepath.Dir(s.path), "armed")}, err
}

type panickingBackend struct {
	tokenstore.Backend
	armed string
}

func (b panickingBackend) IDOf(digest token.Digest) (token.ID, error) {
	if _, err := os.Stat(b.armed); err == nil {
		panic(errors.New("out of order: the store"))
	}
	return b.Backend.IDOf(digest)
}

// TestPanics checks what happens when the gate or a later handler panics: the request ends
// without a response that looks complete, the gate stops forwarding it, no credential is
// logged, and Caddy still serves the next request.
func TestPanics(t *testing.T) {
	t.Parallel()
	const upstream = "the-upstream-token-5b7d4e6f"
	c := startPanicking(t, upstream)
	token := c.mint(t)
	unknown := "mmk_4fQ9Zt2LkVb7_N3sXw8RzYpQ1uJm5KcTe7GhBvDa0LfSi1S3o7D"
	armed := filepath.Join(c.dir, "armed")
	for _, test := range []struct {
		name, path, token string
		storeToo          bool
		// status is the response's status, or 0 if there is no response.
		status int
		whole  bool
		logged string
	}{
		{name: "none", path: "/good", token: token, status: 204, whole: true},
		{name: "immediately", path: "/now", token: token, logged: "out of order: /now"},
		{name: "nil pointer", path: "/nil", token: token, logged: "nil pointer dereference"},
		{name: "after the response began", path: "/late", token: token, status: 200,
			logged: "out of order: /late"},
		{name: "after the header of a buffered response", path: "/held", token: token, logged: "out of order: /held"},
		{name: "to abort the request", path: "/aborted", token: token},
		{name: "like a proxy whose backend aborted", path: "/broken", token: token, status: 418, whole: true,
			logged: `"code":"backend_error"`},
		{name: "refused", path: "/now", token: unknown, status: 401, whole: true},
		{name: "in the gate", path: "/good", token: unknown, storeToo: true, logged: "out of order: the store"},
		{name: "none, after the others", path: "/good", token: token, status: 204, whole: true},
	} {
		if test.storeToo {
			if err := os.WriteFile(armed, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		status, whole := c.get(t, test.path, test.token)
		if status != test.status || whole != test.whole {
			t.Errorf("%s: got status %d, complete %t; want %d, %t", test.name, status, whole, test.status, test.whole)
		}
		c.wait(t, "the log shows: "+test.name, func() bool { return strings.Contains(c.printed(t), test.logged) })
		if test.storeToo {
			if err := os.Remove(armed); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, secret := range []string{token, token[17:49], unknown, upstream} {
		if strings.Contains(c.printed(t), secret) {
			t.Error("the log contains a credential")
		}
	}
	if allowed := c.used(t, token); allowed != 8 {
		t.Errorf("got a usage count of %d allowed requests, want 8", allowed)
	}
}

// panickingCaddy is a separate Caddy process with the panicking modules; see TestCaddyProcess.
type panickingCaddy struct {
	dir, address string
	output       *os.File
	admin        *http.Client
}

// printed returns the process's output so far.
func (c *panickingCaddy) printed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(c.output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCaddyProcess runs Caddy if another test has started this process for that purpose.
// Otherwise, it does nothing.
func TestCaddyProcess(*testing.T) {
	if args := os.Getenv("MOLLYGATE_TEST_ARGS"); args != "" {
		os.Args = strings.Split(args, "\n")
		caddycmd.Main()
		os.Exit(0)
	}
}

func startPanicking(t *testing.T, upstream string) *panickingCaddy {
	t.Helper()
	dir, err := os.MkdirTemp("", "mg-") //nolint:usetesting // socket paths must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = output.Close() })
	c := &panickingCaddy{dir: dir, address: listener.Addr().String(), output: output,
		admin: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin.sock"))
			},
		}}}
	_ = listener.Close()
	config := fmt.Sprintf(`{
	debug
	admin unix/%[1]s/admin.sock
	api_tokens {
		store panicking %[1]s/tokens.db
		account default {
			upstream_token {env.UPSTREAM}
		}
	}
}
http://%[2]s {
	log
	route {
		bearer_auth {
			route GET /good a:b
			route GET /now a:b
			route GET /nil a:b
			route GET /late a:b
			route GET /held a:b
			route GET /aborted a:b
			route GET /broken a:b
		}
		panicking
	}
}
`, dir, c.address)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCaddyProcess$")
	cmd.Env = append(os.Environ(),
		"MOLLYGATE_TEST_ARGS="+strings.Join([]string{"caddy", "run", "--config", file}, "\n"),
		"UPSTREAM="+upstream, "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = c.output, c.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("Caddy exited with %v", err)
		}
	})
	c.wait(t, "Caddy serves requests", func() bool {
		response, err := c.admin.Get("http://caddy/api_tokens/v1/healthz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return c
}

func (c *panickingCaddy) wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what) // without the output, which may contain credentials
		}
	}
}

func (c *panickingCaddy) mint(t *testing.T) string {
	t.Helper()
	response, err := c.admin.Post("http://caddy/api_tokens/v1/tokens", "application/json",
		strings.NewReader(`{"name":"x","expires_in":"1d","scopes":["a:b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var created struct{ Token string }
	if err := json.NewDecoder(response.Body).Decode(&created); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	return created.Token
}

func (c *panickingCaddy) used(t *testing.T, token string) (allowed int) {
	t.Helper()
	response, err := c.admin.Get("http://caddy/api_tokens/v1/tokens/" + token[4:16])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var object struct {
		UsageCount int `json:"usage_count"`
	}
	if err := json.NewDecoder(response.Body).Decode(&object); err != nil {
		t.Fatal(err)
	}
	return object.UsageCount
}

// get sends a request. It returns the response's status, or 0 if there was no response, and
// reports whether the response was complete.
func (c *panickingCaddy) get(t *testing.T, path, token string) (status int, whole bool) {
	t.Helper()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", path, token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, false
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err == nil
}

var (
	_ StoreModule           = (*panickingStore)(nil)
	_ caddy.Provisioner     = (*panickingStore)(nil)
	_ caddyfile.Unmarshaler = (*panickingStore)(nil)
)
