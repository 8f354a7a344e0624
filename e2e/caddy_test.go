package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/mollygate/mollygate" // makes go test's result cache depend on the binary's sources
)

// binary is the path of the Caddy under test, built from this source tree.
var binary string

// raceFlag is the build flag that enables the race detector in the Caddy under test if the
// tests also use it.
var raceFlag = "-race=false"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mollygate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "mollygate")
	build := exec.Command("go", "build", "-C", "..", raceFlag, "-o", binary, "./cmd/mollygate")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building Caddy:", err)
	} else {
		code = m.Run()
		browsers.close()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// caddy is a Caddy process under test.
type caddy struct {
	t *testing.T
	// dir contains Caddy's configuration, data and admin socket.
	dir string
	// env holds the variables that the configuration can use as {$NAME}: DIR, HTTP and HTTPS
	// (ports on 127.0.0.1), and any that the test adds.
	env map[string]string

	// program is the path of the Caddy executable.
	program string
	// attributes are process attributes, such as the user that Caddy runs as.
	attributes *syscall.SysProcAttr

	cmd    *exec.Cmd
	output *output
	exited chan struct{}
}

// newCaddy prepares a Caddy instance without starting it.
func newCaddy(t *testing.T, env map[string]string) *caddy {
	t.Helper()
	dir, err := os.MkdirTemp("", "mg-") //nolint:usetesting // short, because socket paths are limited in length
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &caddy{t: t, dir: dir, program: binary, output: new(output), env: map[string]string{
		"DIR": dir, "HTTP": freePort(t), "HTTPS": freePort(t),
	}}
	for name, value := range env {
		c.env[name] = value
	}
	return c
}

// startCaddy starts a Caddy instance with the given Caddyfile and waits until it serves
// requests.
func startCaddy(t *testing.T, caddyfile string, env map[string]string) *caddy {
	t.Helper()
	c := newCaddy(t, env)
	c.start(caddyfile)
	return c
}

func (c *caddy) start(caddyfile string) {
	c.t.Helper()
	c.launch(caddyfile)
	c.eventually("Caddy serves", func() bool {
		if c.ended() {
			c.t.Fatalf("Caddy exited:\n%s", c.output)
		}
		return c.serves()
	})
}

// serves reports whether Caddy responds and has opened its store.
func (c *caddy) serves() bool {
	response, err := c.admin().Get("http://caddy/api_tokens/v1/healthz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// ended reports whether the process has ended.
func (c *caddy) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// launch starts a Caddy instance with the given Caddyfile without waiting for it to serve.
func (c *caddy) launch(caddyfile string) {
	c.t.Helper()
	c.write("Caddyfile", caddyfile)
	c.cmd = c.command("run", "--config", c.path("Caddyfile"))
	c.cmd.Env = append(c.cmd.Env, "GORACE=exitcode=0 "+os.Getenv("GORACE")) // see checkRaces
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.cmd.SysProcAttr = c.attributes
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.exited = make(chan struct{})
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	c.t.Cleanup(c.stop)
}

// stop stops Caddy as systemd would, and checks that it exits cleanly.
func (c *caddy) stop() {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		c.t.Errorf("Caddy didn't exit")
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("Caddy exited with code %d:\n%s", code, c.output)
	}
	c.checkRaces()
	c.cmd = nil
}

// checkRaces looks for data races. It ignores two races in Caddy itself (v2.11.9). First, when
// Caddy obtains a certificate while the TLS app starts, caddytls.(*TLS).CaddyModule copies
// fields that Start is writing. Second, the proxy sends a close message on a connection while
// another goroutine copies data to it.
func (c *caddy) checkRaces() {
	c.t.Helper()
	const border = "=================="
	for part := range strings.SplitSeq(c.output.String(), border) {
		switch {
		case !strings.Contains(part, "WARNING: DATA RACE"):
		case strings.Contains(part, "caddytls.(*TLS).CaddyModule()") &&
			strings.Contains(part, "caddytls.(*TLS).Start()"),
			strings.Contains(part, "reverseproxy.writeCloseControl()") &&
				strings.Contains(part, "caddyhttp.(*hijackedConn).ReadFrom()"):
			c.t.Logf("known data race in Caddy itself:\n%s", part)
		default:
			c.t.Errorf("Caddy has a data race:\n%s", part)
		}
	}
}

// kill kills Caddy without giving it a chance to clean up.
func (c *caddy) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.exited
	c.cmd = nil
}

// command returns a caddy command that runs in the same environment as c.
func (c *caddy) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.program, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{
		"HOME=" + c.dir, "PATH=" + os.Getenv("PATH"), "XDG_DATA_HOME=" + c.path("data"),
		"XDG_CONFIG_HOME=" + c.path("config"),
		"GORACE=" + os.Getenv("GORACE"),
	}
	for name, value := range c.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// run runs a caddy command against this instance's admin endpoint and returns its output.
func (c *caddy) run(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	cmd := c.command(append(args, "--address", "unix/"+c.path("admin.sock"))...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// token creates a token. It takes the same flags as "caddy api-token create" but calls the
// admin API directly, because starting a process per token would dominate the tests' running
// time.
func (c *caddy) token(flags ...string) string {
	c.t.Helper()
	body := map[string]any{"name": "test", "expires_in": "90d"}
	for i := 0; i+1 < len(flags); i += 2 {
		member := strings.ReplaceAll(strings.TrimPrefix(flags[i], "--"), "-", "_")
		switch member {
		case "scope", "allowed_ip", "resource":
			list, _ := body[member+"s"].([]string)
			body[member+"s"] = append(list, flags[i+1])
			continue
		case "rate_limit", "quota":
			number, per, _ := strings.Cut(flags[i+1], "/")
			body[member] = map[string]any{"requests": json.Number(number),
				map[string]string{"rate_limit": "window", "quota": "period"}[member]: per}
			continue
		case "expires_at":
			delete(body, "expires_in")
		}
		body[member] = flags[i+1]
	}
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.admin().Post("http://caddy/api_tokens/v1/tokens", "application/json", bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var made struct{ Token, Detail string }
	if err := json.NewDecoder(response.Body).Decode(&made); err != nil || response.StatusCode != http.StatusCreated {
		c.t.Fatalf("creating a token: %d %v %s", response.StatusCode, err, made.Detail)
	}
	return made.Token
}

// reload loads another configuration. If that fails, the error contains Caddy's output.
func (c *caddy) reload(caddyfile string) error {
	c.t.Helper()
	c.write("Caddyfile", caddyfile)
	_, stderr, code := c.run("reload", "--config", c.path("Caddyfile"), "--force")
	if code != 0 {
		return errors.New(stderr)
	}
	return nil
}

// admin returns an HTTP client that always connects to the admin endpoint, regardless of the
// URL's host.
func (c *caddy) admin() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.path("admin.sock"))
		},
	}}
}

// getAdmin sends a GET request to the admin endpoint and returns the response body.
func (c *caddy) getAdmin(path string) string {
	c.t.Helper()
	response, err := c.admin().Get("http://caddy" + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(body)
}

// goroutines returns the number of Caddy's goroutines.
func (c *caddy) goroutines() int {
	c.t.Helper()
	_, after, _ := strings.Cut(c.getAdmin("/debug/pprof/goroutine?debug=1"), "goroutine profile: total ")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		c.t.Fatalf("reading the number of goroutines: %v", err)
	}
	return n
}

// openFiles returns the number of Caddy's open files and sockets.
func (c *caddy) openFiles() int {
	c.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(entries)
}

// usage returns a token's request counts as reported by the admin API.
func (c *caddy) usage(token string) (allowed, denied uint64) {
	c.t.Helper()
	var object struct {
		UsageCount  uint64 `json:"usage_count"`
		DeniedCount uint64 `json:"denied_count"`
	}
	if err := json.Unmarshal([]byte(c.getAdmin("/api_tokens/v1/tokens/"+tokenID(token))), &object); err != nil {
		c.t.Fatal(err)
	}
	return object.UsageCount, object.DeniedCount
}

func tokenID(token string) string { return token[4:16] }

// url returns a URL on the plain HTTP site.
func (c *caddy) url(path string) string { return "http://127.0.0.1:" + c.env["HTTP"] + path }

func (c *caddy) path(name string) string { return filepath.Join(c.dir, name) }

func (c *caddy) write(name, text string) string {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.path(name)
}

// eventually waits up to a minute for condition to hold, and reports Caddy's output if it
// doesn't.
func (c *caddy) eventually(what string, condition func() bool) {
	c.t.Helper()
	eventually(c.t, what, condition, c.output)
}

// eventually waits up to a minute for condition to hold, and reports note if it doesn't.
func eventually(t *testing.T, what string, condition func() bool, note fmt.Stringer) {
	t.Helper()
	begun := time.Now()
	for !condition() {
		waited := time.Since(begun)
		if waited > time.Minute {
			t.Fatalf("timed out waiting until %s\n%s", what, note)
		}
		// The longer it takes, the less often it is checked, because the machine may be busy.
		time.Sleep(min(10*time.Millisecond+waited/10, 200*time.Millisecond))
	}
}

// accessLog returns the access log lines written so far.
func (c *caddy) accessLog() []accessLine {
	var lines []accessLine
	for text := range strings.Lines(c.output.String()) {
		var line accessLine
		if json.Unmarshal([]byte(text), &line) == nil && strings.HasPrefix(line.Logger, "http.log.access") {
			lines = append(lines, line)
		}
	}
	return lines
}

// accessLine is one access log entry.
type accessLine struct {
	Logger  string `json:"logger"`
	UserID  string `json:"user_id"`
	Status  int    `json:"status"`
	Request struct {
		Method string `json:"method"`
		URI    string `json:"uri"`
	} `json:"request"`
}

// output collects a process's output. It can be read while the process is still writing.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Caddy's ports are below Linux's ephemeral range. Otherwise one of the thousands of client
// connections that some tests open could take the port that Caddy is about to listen on.
const firstPort, portCount = 12000, 20000

// givenPorts holds the ports that freePort has already returned.
var givenPorts sync.Map

// freePort returns a port on 127.0.0.1 that was free when checked.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(firstPort + rand.IntN(portCount))
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		if listener, err := net.Listen("tcp", ":"+port); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port found")
	return ""
}

// curl runs the installed curl and returns the status, header and body of the last response.
func curl(t *testing.T, args ...string) (status int, header http.Header, body string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", append([]string{
		"--silent", "--show-error", "--path-as-is", "--max-time", "60", "--dump-header", "/dev/stderr",
	}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("curl: %v: %s", err, stderr.String())
	}
	status, header = parseHead(t, stderr.String())
	return status, header, stdout.String()
}

// parseHead parses the last response head in curl's header dump.
func parseHead(t *testing.T, text string) (status int, header http.Header) {
	t.Helper()
	heads := strings.Split(strings.TrimSpace(text), "\r\n\r\n")
	lines := strings.Split(heads[len(heads)-1], "\r\n")
	fields := strings.Fields(lines[0])
	if len(fields) < 2 {
		t.Fatalf("curl printed no status line: %q", text)
	}
	status, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatalf("curl printed no status line: %q", lines[0])
	}
	header = make(http.Header)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return status, header
}

// bearer returns the curl arguments that send a token.
func bearer(token string) []string { return []string{"-H", "Authorization: Bearer " + token} }
